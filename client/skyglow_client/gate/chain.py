# SPDX-License-Identifier: Apache-2.0
"""The chain of a ledger: entries of which each one's hash covers the one before."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from skyglow_shared.errors import LedgerError

#: ``refusal`` is a person's decision, which also withdraws an approval; a gate's own refusals change nothing.
Kind = Literal["genesis", "proposal", "approval", "refusal", "charge", "seal"]
_DOMAIN = b"skyglow-ledger-v1\0"


class Entry(msgspec.Struct, frozen=True):
    """One link of the chain. `body` is canonical JSON, `time` is UTC."""

    seq: int
    kind: str
    time: str
    body: bytes
    previous: str
    hash: str


def link(seq: int, kind: Kind, body: object, previous: str) -> Entry:
    """Make the entry that follows the one whose hash is `previous`; the first follows the empty text."""
    content = msgspec.json.encode(body, order="sorted")
    entry = Entry(seq, kind, datetime.now(UTC).isoformat(timespec="seconds"), content, previous, "")
    return msgspec.structs.replace(entry, hash=_hash(entry))


def verify(entries: Iterable[Entry]) -> str:
    """Recompute a chain and return the hash of its last entry; LedgerError where it is broken or has no beginning."""
    previous, seq = "", 0
    for seq, entry in enumerate(entries, start=1):
        whole = entry.seq == seq and entry.previous == previous and entry.hash == _hash(entry)
        if not whole or (entry.kind == "genesis") != (seq == 1):
            raise LedgerError(f"the ledger's chain is broken at entry {seq}; release nothing, restore it from a backup")
        previous = entry.hash
    if seq == 0:
        raise LedgerError("the ledger has no entries; restore it from a backup")
    return previous


def _hash(entry: Entry) -> str:
    content = msgspec.msgpack.encode((entry.previous, entry.seq, entry.kind, entry.time, entry.body))
    return hashlib.sha256(_DOMAIN + content).hexdigest()
