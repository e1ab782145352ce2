# SPDX-License-Identifier: Apache-2.0
"""Keys of an attempt: X25519 agreement, HKDF-SHA256 derivation, AES-256-GCM for the shares. Each key has one use."""

import hashlib

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from skyglow_shared.errors import PeerError, ProtocolError

KEY_BYTES = 32

DELIVERY = "shares for"
_PAIR = "mask between"
_SELF = "mask of"

_COMMITMENT = b"skyglow-secagg-seed-v1\0"
_INFO = b"skyglow-secagg-key-v1\0"
_NONCE = bytes(12)  # each key encrypts once: it is derived for one attempt, one sender and one recipient


def private_key(secret: bytes) -> X25519PrivateKey:
    """The X25519 key of 32 secret bytes: as dear as an agreement, so it is made once for all of a step's."""
    return X25519PrivateKey.from_private_bytes(secret)


def public_key(secret: bytes) -> bytes:
    """The X25519 public key of 32 secret bytes."""
    return private_key(secret).public_key().public_bytes_raw()


def agree(secret: X25519PrivateKey, other: bytes) -> bytes:
    """The X25519 shared secret with the holder of a public key; ProtocolError if that key is degenerate."""
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise ProtocolError("an advertised key is degenerate: everybody would know the secret; drop it") from None


def derive(secret: bytes, session: bytes, use: str, *names: str) -> bytes:
    """A 32-byte key for one use between or by the named suppliers, in one attempt."""
    info = _INFO + msgspec.msgpack.encode((use, names))
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=session, info=info).derive(secret)


def pair_mask_key(secret: X25519PrivateKey, other: bytes, session: bytes, first: str, second: str) -> bytes:
    """The key of the mask that `first` adds and `second` subtracts: both of them, and nobody else, can derive it."""
    return derive(agree(secret, other), session, _PAIR, first, second)


def self_mask_key(seed: bytes, session: bytes, name: str) -> bytes:
    """The key of the mask that a supplier adds for itself."""
    return derive(seed, session, _SELF, name)


def commitment(seed: bytes, session: bytes, name: str) -> bytes:
    """SHA-256 that pins a seed; it hides it too, for a seed has 256 bits of entropy."""
    return hashlib.sha256(_COMMITMENT + msgspec.msgpack.encode((session, name, seed))).digest()


def encrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    """Encrypt under a key that is used for nothing else, ever."""
    return AESGCM(key).encrypt(_NONCE, content, bound_to)


def decrypt(key: bytes, content: bytes, bound_to: bytes, *, sender: str) -> bytes:
    """Decrypt what `sender` encrypted; PeerError if it was changed on the way, or is another attempt's."""
    try:
        return AESGCM(key).decrypt(_NONCE, content, bound_to)
    except InvalidTag:
        raise PeerError(
            f"what {sender} shared was changed on the way, or is not of this attempt", peer=sender
        ) from None
