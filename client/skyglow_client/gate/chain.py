# SPDX-License-Identifier: Apache-2.0
"""The chain of a ledger: entries of which each one's hash covers the one before."""

from collections.abc import Iterable
from typing import Literal

from skyglow_shared import audit
from skyglow_shared.audit import Entry
from skyglow_shared.errors import LedgerError

__all__ = ["Entry", "Kind", "link", "verify"]

#: ``refusal`` is a person's decision, which also withdraws an approval; a gate's own refusals change nothing.
Kind = Literal["genesis", "proposal", "approval", "refusal", "charge", "seal"]


def link(seq: int, kind: Kind, body: object, previous: str) -> Entry:
    """Make the entry that follows the one whose hash is `previous`; the first follows the empty text."""
    return audit.link(audit.LEDGER, seq, kind, body, previous)


def verify(entries: Iterable[Entry]) -> str:
    """Recompute a chain and return the hash of its last entry; LedgerError where it is broken or has no beginning."""
    whole = list(entries)
    if not whole:
        raise LedgerError("the ledger has no entries; restore it from a backup")
    misplaced = [seq for seq, entry in enumerate(whole, start=1) if (entry.kind == "genesis") != (seq == 1)]
    broken = [seq for seq in (audit.broken_at(audit.LEDGER, whole), *misplaced) if seq]
    if broken:
        first = min(broken)
        raise LedgerError(f"the ledger's chain is broken at entry {first}; release nothing, restore it from a backup")
    return whole[-1].hash
