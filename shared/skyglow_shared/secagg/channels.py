# SPDX-License-Identifier: Apache-2.0
"""Channels: what two suppliers agree on once a study, and derive the keys of every attempt between them from.

A supplier draws one X25519 key for a study and signs it with its pinned identity. The key travels in each of its
advertisements, so there is no step of its own for it: who sees a key for the first time verifies and agrees, and
afterwards remembers that it did. A supplier that was started anew, or lost its memory, draws another key; its peers
then verify and agree again. Nothing is ever sent under a channel's secret itself, only under keys derived from it for
one attempt and one use.
"""

from functools import lru_cache

import msgspec

from skyglow_shared import signing
from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import Randomness
from skyglow_shared.secagg import keys
from skyglow_shared.secagg.keys import Digest, Signature
from skyglow_shared.secagg.state import Secret
from skyglow_shared.signing import Identity

CHANNEL = b"skyglow-secagg-channel-v1\0"

_PRIME = 2**255 - 19
_UNUSED_BIT = 1 << 255
_ORDER_EIGHT = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_SMALL_ORDER = {0, 1, _PRIME - 1, *_ORDER_EIGHT}


class ChannelKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A supplier's X25519 public key for one study, with its Ed25519 signature over that, its name and the study."""

    key: Digest
    signature: Signature


class Channel(Secret, frozen=True):
    """A supplier's own end: the secret half, and what it shows of it."""

    secret: Digest
    shown: ChannelKey


def open_channel(study: str, name: str, identity: Identity, randomness: Randomness) -> Channel:
    """Draw a supplier's key for a study and sign it."""
    secret = randomness.stream("secure aggregation channel", study, name).read(keys.KEY_BYTES)
    return Channel(secret, show(study, name, keys.public_key(secret), identity))


def show(study: str, name: str, key: bytes, identity: Identity) -> ChannelKey:
    """A public key as its supplier shows it in one study: signed by its identity."""
    return ChannelKey(key, identity.sign(CHANNEL, _body(study, name, key)))


@lru_cache(maxsize=4096)
def verify(study: str, name: str, public_key: str, shown: ChannelKey) -> None:
    """Check a key that a supplier shows; one that was right is remembered, by all that the check depends on.

    Raises
    ------
    ProtocolError
        It is degenerate: what is agreed on with it, everybody knows.
    SignatureError
        It is not signed by that Ed25519 key, or for another study or name.
    """
    if is_degenerate(shown.key):
        raise ProtocolError(f"a key that {name} advertises is degenerate; drop it")
    signing.verify(public_key, CHANNEL, _body(study, name, shown.key), shown.signature, what=f"the key of {name}")


@lru_cache(maxsize=4096)
def agreed(secret: bytes, study: str, own: tuple[str, bytes], other: tuple[str, bytes]) -> bytes:
    """The secret of a pair, 32 bytes; remembered in the memory of the process and nowhere else.

    Parameters
    ----------
    secret : bytes
        Of the own end.
    study : str
    own, other : tuple of str and bytes
        Name and public key of each end; the other's must be verified.
    """
    ends = (text for name, key in sorted((own, other)) for text in (name, key.hex()))
    return keys.derive(keys.agree(secret, other[1]), study.encode(), keys.CHANNEL, *ends)


def is_degenerate(public_key: bytes) -> bool:
    """Whether an X25519 public key is one of the few of small order, with which every secret agrees on zeros.

    Notes
    -----
    The u-coordinates of order 1, 2, 4 and 8 on the curve and its twist (RFC 7748, section 6.1 and 7), in any encoding.
    """
    return (int.from_bytes(public_key, "little") % _UNUSED_BIT) % _PRIME in _SMALL_ORDER


def _body(study: str, name: str, key: bytes) -> bytes:
    return msgspec.msgpack.encode((study, name, key))
