# SPDX-License-Identifier: Apache-2.0
"""The chain of a ledger: entries of which each one's hash covers the one before."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from skyglow_shared import audit
from skyglow_shared.audit import Entry
from skyglow_shared.errors import LedgerError

__all__ = ["Entry", "Kind", "link", "verify"]

#: ``refusal`` is a person's decision, which also withdraws an approval; a gate's own refusals change nothing. ``clock``
#: is a person's word for the date.
Kind = Literal["genesis", "proposal", "approval", "refusal", "clock", "charge", "seal"]

_STOP = "release nothing, restore it from the latest backup"
_FIELDS = {"charge": ("key", "request"), "seal": ("key", "reply"), "proposal": ("study", "study")}


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
    studies : mapping of str to str
        Digest of what is kept, by the digest it is kept under.

    Raises
    ------
    LedgerError
        Something was changed, lost or added.
    """
    recorded: dict[str, dict[str, str]] = {"charge": {}, "seal": {}, "proposal": {}}
    for entry in entries:
        if entry.kind in _FIELDS:
            body, (key, value) = msgspec.json.decode(entry.body), _FIELDS[entry.kind]
            recorded[entry.kind][body[key]] = body[value]
    if recorded["charge"] != charges:
        raise LedgerError(f"the ledger's rounds are not those its chain records; {_STOP}")
    if recorded["seal"] != replies:
        raise LedgerError(f"a sealed reply is not the one the chain records; {_STOP}")
    if set(pending) != set(charges) - set(replies):
        raise LedgerError(f"the ledger lacks the secret of a charged round, or keeps one too many; {_STOP}")
    if recorded["proposal"] != studies:
        raise LedgerError(f"a study is not the one that was proposed; {_STOP}")
