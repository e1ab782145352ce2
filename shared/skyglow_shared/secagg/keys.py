# SPDX-License-Identifier: Apache-2.0
"""Keys: X25519 agreement, HKDF-SHA256 derivation, AES-256-GCM, HMAC-SHA256, commitments. Each key has one use."""

import hashlib
import hmac
from typing import Annotated, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from skyglow_shared.errors import PeerError, ProtocolError

KEY_BYTES, TAG_BYTES = 32, 16
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

#: Uses of keys.
CHANNEL = "channel between"
PAIR = "attempt of"
MASK = "mask between"
SELF = "mask of"
RECOVERY = "recovery of the masks of"

_COMMITMENT = b"skyglow-secagg-commitment-v2\0"
_INFO = b"skyglow-secagg-key-v2\0"
_NONCE = bytes(12)  # each key encrypts once: it is derived for one attempt, one sender and one recipient


class PairKeys(NamedTuple):
    """Four keys of two suppliers: one for what each encrypts for the other, their mask's, and that of survivor sets."""

    from_first: bytes
    from_second: bytes
    mask: bytes
    confirming: bytes


def public_key(secret: bytes) -> bytes:
    """The X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, other: bytes) -> bytes:
    """The X25519 shared secret with the holder of a public key; ProtocolError if that key is degenerate."""
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise ProtocolError("an advertised key is degenerate: everybody would know the secret; drop it") from None


def derive(secret: bytes, session: bytes, use: str, *names: str) -> bytes:
    """A 32-byte key for one use between or by the named suppliers, in one attempt."""
    return _derived(secret, session, use, names, KEY_BYTES)


def pair_keys(secret: bytes, advertised: bytes, first: str, second: str) -> PairKeys:
    """The keys of one attempt that two suppliers, in the roster's order, derive from what they agreed on once.

    `advertised` is the digest of all of the attempt's advertisements.
    """
    content = _derived(secret, advertised, PAIR, (first, second), 4 * KEY_BYTES)
    return PairKeys(*(content[start : start + KEY_BYTES] for start in range(0, len(content), KEY_BYTES)))


def self_mask_key(seed: bytes, session: bytes, name: str) -> bytes:
    """The key of the mask that a supplier adds for itself."""
    return derive(seed, session, SELF, name)


def commitment(secret: bytes, session: bytes, use: str, *names: str) -> bytes:
    """SHA-256 that pins a secret and its use; it hides it too, for a secret has 256 bits of entropy."""
    return hashlib.sha256(_COMMITMENT + msgspec.msgpack.encode((session, use, names, secret))).digest()


def confirmation(key: bytes, sender: str, body: bytes) -> bytes:
    """HMAC-SHA256 by which `sender` tells the one other holder of a key that it saw the same survivor set."""
    return hmac.digest(key, msgspec.msgpack.encode((sender, body)), "sha256")


def _derived(secret: bytes, salt: bytes, use: str, names: tuple[str, ...], size: int) -> bytes:
    info = _INFO + msgspec.msgpack.encode((use, names))
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two authenticators are the same, in a time that does not say where they differ."""
    return hmac.compare_digest(one, other)


def encrypt(key: bytes, content: bytes) -> bytes:
    """Encrypt under a key that is used for nothing else, ever."""
    return AESGCM(key).encrypt(_NONCE, content, None)


def decrypt(key: bytes, content: bytes, *, sender: str) -> bytes:
    """Decrypt what `sender` encrypted; PeerError if it was changed on the way, or is another attempt's."""
    try:
        return AESGCM(key).decrypt(_NONCE, content, None)
    except InvalidTag:
        raise PeerError(
            f"what {sender} shared was changed on the way, is not of this attempt, or {sender} was shown other keys",
            peer=sender,
        ) from None
