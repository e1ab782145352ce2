# SPDX-License-Identifier: Apache-2.0
"""The chain of a ledger: entries of which each one's hash covers the one before."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from skyglow_shared import audit
from skyglow_shared.audit import Entry
from skyglow_shared.errors import LedgerError

__all__ = ["Entry", "Kind", "link", "verify", "verify_beside"]

#: ``refusal`` is a person's decision, which also withdraws an approval; a gate's own refusals change nothing. ``clock``
#: is a person's word for the date.
Kind = Literal["genesis", "proposal", "approval", "refusal", "clock", "charge", "seal"]

Body = TypeVar("Body")

_STOP = "release nothing, restore it from the latest backup"


class _Charge(msgspec.Struct):
    key: str
    request: str


class _Seal(msgspec.Struct):
    key: str
    reply: str
    state: str = ""  # of a step of secure aggregation; version 0.1 did not record it

    @property
    def place(self) -> str:
        """The round that the key is of, over all its attempts."""
        return "/".join(self.key.split("/")[:3])


class _Proposal(msgspec.Struct):
    study: str


def link(seq: int, kind: Kind, time: str, body: object, previous: str) -> Entry:
    """Make the entry that follows the one whose hash is `previous`; the first follows the empty text."""
    entry = Entry(seq, kind, time, msgspec.json.encode(body, order="sorted"), previous, "")
    return msgspec.structs.replace(entry, hash=audit.entry_hash(audit.LEDGER, entry))


def verify(entries: Iterable[Entry]) -> str:
    """Recompute a chain and return the hash of its last entry; LedgerError where it is broken or has no beginning."""
    whole = list(entries)
    if not whole:
        raise LedgerError("the ledger has no entries; restore it from a backup")
    misplaced = [seq for seq, entry in enumerate(whole, start=1) if (entry.kind == "genesis") != (seq == 1)]
    broken = [seq for seq in (audit.broken_at(audit.LEDGER, whole), *misplaced) if seq]
    if broken:
        first = min(broken)
        raise LedgerError(f"the ledger's chain is broken at entry {first}; {_STOP}")
    return whole[-1].hash


def verify_beside(
    entries: Iterable[Entry],
    *,
    charges: Mapping[str, str],
    replies: Mapping[str, str],
    pending: Collection[str],
    states: Mapping[str, str],
    studies: Mapping[str, str],
) -> None:
    """Compare with a sound chain what stands beside it.

    Parameters
    ----------
    entries : iterable of Entry
    charges : mapping of str to str
        Digest of the request by charged round.
    replies : mapping of str to str
        SHA-256 (hex) of the sealed reply by round and step.
    pending : collection of str
        Rounds whose sampling secret is kept.
    states : mapping of str to str
        SHA-256 (hex) of where secure aggregation stands, by round.
    studies : mapping of str to str
        Digest of what is kept, by the digest it is kept under.

    Raises
    ------
    LedgerError
        Something was changed, lost or added.
    """
    bodies: dict[str, list[bytes]] = {"charge": [], "seal": [], "proposal": []}
    for entry in entries:
        if entry.kind in bodies:
            bodies[entry.kind].append(entry.body)
    if {one.key: one.request for one in _decoded(bodies["charge"], _Charge)} != charges:
        raise LedgerError(f"the ledger's rounds are not those its chain records; {_STOP}")
    seals = list(_decoded(bodies["seal"], _Seal))
    if {one.key: one.reply for one in seals} != replies:
        raise LedgerError(f"a sealed reply is not the one the chain records; {_STOP}")
    last = {one.place: one.state for one in seals if one.state}
    if last != {place: states.get(place) for place in last} or not set(states) <= {one.place for one in seals}:
        raise LedgerError(f"a round of secure aggregation does not stand where the chain records it; {_STOP}")
    if set(pending) != set(charges) - set(replies):
        raise LedgerError(f"the ledger lacks the secret of a charged round, or keeps one too many; {_STOP}")
    if {one.study: one.study for one in _decoded(bodies["proposal"], _Proposal)} != studies:
        raise LedgerError(f"a study is not the one that was proposed; {_STOP}")


def _decoded(bodies: Iterable[bytes], record: type[Body]) -> Iterable[Body]:
    return map(msgspec.json.Decoder(record).decode, bodies)
