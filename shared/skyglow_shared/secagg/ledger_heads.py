# SPDX-License-Identifier: Apache-2.0
"""Suppliers as one another's witnesses that no ledger went back: the office is not asked to be believed.

A supplier advertises the head of its ledger under its signature. Once its vector is in a sum, the others keep that
head. They refuse one that is behind it, and in the next attempt send it back to its supplier, encrypted: a ledger that
was put back and has grown since does not hold it. The signature that comes with it is the supplier's own, so nobody can
make a head up. It is verified when a head and a ledger disagree; while they agree, it proves nothing that is not known.
A ledger that was refused leaves nothing behind that the right one would be refused for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from skyglow_shared import signing
from skyglow_shared.errors import PeerError, RollbackError, SignatureError

ADVERTISEMENT = b"skyglow-secagg-advertisement-v1\0"
MOST_ENTRIES = 2**62

#: Gives the digest that an own ledger's chain had when it had so many entries, or nothing if it never had.
DigestAt = Callable[[int], str]

_ENTRIES_BYTES, _DIGEST_BYTES, _SIGNATURE_BYTES = 8, 32, 64
SEEN_BYTES = _ENTRIES_BYTES + 2 * _DIGEST_BYTES + _SIGNATURE_BYTES
_NEVER = bytes(SEEN_BYTES)


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a ledger stands: how many entries it has, and the digest (hex) that chains them."""

    entries: int
    digest: str


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head as its supplier advertised it.

    Attributes
    ----------
    head : Head
    keys : bytes
        Digest of all else that it advertised then.
    signature : bytes
        Its supplier's, over both.
    """

    head: Head
    keys: Annotated[bytes, msgspec.Meta(min_length=_DIGEST_BYTES, max_length=_DIGEST_BYTES)]
    signature: Annotated[bytes, msgspec.Meta(min_length=_SIGNATURE_BYTES, max_length=_SIGNATURE_BYTES)]

    def body(self) -> bytes:
        """What is signed."""
        return msgspec.msgpack.encode((self.keys, self.head.entries, self.head.digest))

    def verify(self, public_key: str, *, what: str) -> None:
        """SignatureError unless the supplier of that Ed25519 key signed it."""
        signing.verify(public_key, ADVERTISEMENT, self.body(), self.signature, what=what)


@dataclass(frozen=True, slots=True)
class Witness:
    """What a supplier knows of ledgers, its own and others'.

    Attributes
    ----------
    seen : mapping of Seen
        The last head of each of the others that it has seen one of, by name.
    digest_at : callable
        Of its own ledger.
    """

    seen: Mapping[str, Seen]
    digest_at: DigestAt


def pack(seen: Seen | None) -> bytes:
    """A head, or that none was ever seen, in `SEEN_BYTES` bytes."""
    if seen is None:
        return _NEVER
    entries = seen.head.entries.to_bytes(_ENTRIES_BYTES, "little")
    return entries + bytes.fromhex(seen.head.digest) + seen.keys + seen.signature


def unpack(content: bytes) -> Seen | None:
    """What `pack` made into bytes."""
    if content == _NEVER:
        return None
    entries, rest = int.from_bytes(content[:_ENTRIES_BYTES], "little"), content[_ENTRIES_BYTES:]
    head = Head(entries, rest[:_DIGEST_BYTES].hex())
    return Seen(head, rest[_DIGEST_BYTES : 2 * _DIGEST_BYTES], rest[2 * _DIGEST_BYTES :])


def check_others(seen: Mapping[str, Seen], now: Mapping[str, Seen], public_keys: Mapping[str, str]) -> None:
    """Compare the heads that suppliers advertise with those seen of them before.

    Raises
    ------
    PeerError
        A ledger has fewer entries than it had, or as many and others: it was put back or rewritten. Nothing is sent to
        an attempt with that supplier.
    SignatureError
        The same, but its supplier did not sign that: the office changed what it advertised.
    """
    for name, one in now.items():
        before = seen.get(name, one).head
        if one.head.entries < before.entries or (one.head.entries == before.entries and one.head != before):
            one.verify(public_keys[name], what=f"the advertisement of {name}")
            raise PeerError(
                f"the ledger of {name} is behind what it was, or was rewritten; ask its privacy officer", peer=name
            )


def check_own(claims: Mapping[str, Seen | None], digest_at: DigestAt, public_key: str) -> None:
    """Compare an own ledger with what the others say that they saw of it.

    Raises
    ------
    RollbackError
        It never had a head that it was advertised to have: it was put back, whatever has been added to it since.
    PeerError
        Somebody shows a head that the ledger does not hold and that this supplier never signed.
    """
    foreign = _foreign(claims, digest_at)
    if signed := proofs(claims, digest_at, public_key):
        raise RollbackError(
            f"this supplier's ledger is older than {' and '.join(signed)} saw it, or another; "
            "nothing leaves before the right one is restored (see docs/reference/supplier-policy.md)"
        )
    for name in foreign:
        raise PeerError(
            f"{name} shows a head of this supplier's ledger that this supplier never signed; go on without {name}",
            peer=name,
        )


def proofs(claims: Mapping[str, Seen | None], digest_at: DigestAt, public_key: str) -> dict[str, Seen]:
    """Those of the claims about an own ledger that it does not hold, and that its supplier signed nevertheless."""
    return {name: seen for name, seen in _foreign(claims, digest_at).items() if _is_signed(seen, public_key)}


def _foreign(claims: Mapping[str, Seen | None], digest_at: DigestAt) -> dict[str, Seen]:
    return {name: seen for name, seen in claims.items() if seen and digest_at(seen.head.entries) != seen.head.digest}


def _is_signed(seen: Seen, public_key: str) -> bool:
    try:
        seen.verify(public_key, what="a head")
    except SignatureError:
        return False
    return True
