# SPDX-License-Identifier: Apache-2.0
"""Keys: X25519 agreement, AES-256-GCM, and derivation, codes and commitments by SHAKE256. Each key has one use.

SHAKE256 is a sponge: over a key, and then what it is asked for, it is a pseudo-random function of that, as KMAC is
(NIST SP 800-185), and needs none of the nesting of HMAC. What it reads begins with the use's name and the key, both of
one length, and goes on with a message that says by itself where it ends.
"""

import hmac
import struct
from hashlib import shake_256
from typing import Annotated, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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

_DERIVED = b"skyglow-secagg-key-v3\0"
_CODE = b"skyglow-secagg-code-v3\0"
_four = struct.Struct(4 * f"{KEY_BYTES}s").unpack
_packed = msgspec.msgpack.Encoder().encode
_NONCE = bytes(12)  # each key encrypts once: it is derived for one attempt, one sender and one recipient


class Pinned(NamedTuple):
    """A key that follows from a secret, and the commitment to that secret."""

    key: bytes
    commitment: bytes


class PairKeys(NamedTuple):
    """Of two suppliers: a key for what each encrypts for the other, their mask's secret, a key for survivor sets."""

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
    return PairKeys(*_four(_derived(secret, advertised, PAIR, (first, second), 4 * KEY_BYTES)))


def pinned(secret: bytes, session: bytes, use: str, *names: str) -> Pinned:
    """What follows from a secret that is committed to: a key for the one use, and what pins both.

    The commitment hides them, too: the secret has 256 bits of entropy.
    """
    content = _derived(secret, session, use, names, 2 * KEY_BYTES)
    return Pinned(content[:KEY_BYTES], content[KEY_BYTES:])


def confirmations(key: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The codes by which two suppliers tell each other that they saw the same survivor set: the first's, the second's.

    Which of them is the first, the roster's order says; `key` is theirs alone.
    """
    content = shake_256(_CODE + key + body).digest(2 * KEY_BYTES)
    return content[:KEY_BYTES], content[KEY_BYTES:]


def _derived(secret: bytes, session: bytes, use: str, names: tuple[str, ...], size: int) -> bytes:
    return shake_256(_DERIVED + secret + _packed((session, use, names))).digest(size)


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
