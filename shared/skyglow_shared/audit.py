# SPDX-License-Identifier: Apache-2.0
"""The books of both sides, in one format: entries of which each one's hash covers the one before, as JSON lines.

A supplier's book is its ledger (see `skyglow_client.gate.ledger`): what was charged, approved and sealed. The office's
is what it received: a ``study`` entry for each study it asked with, then a ``reply`` entry for each signed reply.
Both name a reply by the SHA-256 of its very bytes, so what left one side can be found on the other.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from skyglow_shared.errors import FormatError, LedgerError
from skyglow_shared.files import write_atomically

LEDGER = b"skyglow-ledger-v1\0"
OFFICE = b"skyglow-office-book-v1\0"

#: The step of a `Received` that is an approval and no round's reply.
APPROVAL = "approval"


class Entry(msgspec.Struct, frozen=True):
    """One link of a chain. `body` is canonical JSON, `time` is UTC."""

    seq: int
    kind: str
    time: str
    body: bytes
    previous: str
    hash: str


class Received(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of an office's ``reply`` entry: which reply of which supplier, the digest of its bytes, their number.

    `phase` is empty and `step` is ``approval`` for the approval of a study.
    """

    study: str
    phase: str
    round: int
    attempt: int
    step: str
    supplier: str
    reply: str
    size: int

    @property
    def key(self) -> str:
        """The identity of the step, as ledgers write it."""
        return "/".join(str(part) for part in (self.study, self.phase, self.round, self.attempt, self.step))


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of an office's ``study`` entry: the digest and the canonical bytes, which are text."""

    study: str
    canonical: str


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seq: int
    kind: str
    time: str
    body: msgspec.Raw
    previous: str
    hash: str


def reply_digest(reply: bytes) -> str:
    """SHA-256 (hex) of a sealed reply: its name in both books."""
    return hashlib.sha256(reply).hexdigest()


def link(domain: bytes, seq: int, kind: str, body: object, previous: str) -> Entry:
    """Make the entry, of now, that follows the one whose hash is `previous`; the first follows the empty text."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(seq, kind, time, msgspec.json.encode(body, order="sorted"), previous, "")
    return msgspec.structs.replace(entry, hash=entry_hash(domain, entry))


def entry_hash(domain: bytes, entry: Entry) -> str:
    """SHA-256 (hex) of an entry and, through `previous`, of all before it."""
    content = msgspec.msgpack.encode((entry.previous, entry.seq, entry.kind, entry.time, entry.body))
    return hashlib.sha256(domain + content).hexdigest()


def broken_at(domain: bytes, entries: Iterable[Entry]) -> int:
    """Number of the first entry that is not what the one before leads to, or 0 where the whole chain holds."""
    previous = ""
    for seq, entry in enumerate(entries, start=1):
        if entry.seq != seq or entry.previous != previous or entry.hash != entry_hash(domain, entry):
            return seq
        previous = entry.hash
    return 0


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a chain as JSON lines, whole or not at all."""
    plain = ({**msgspec.structs.asdict(entry), "body": msgspec.Raw(entry.body)} for entry in entries)
    write_atomically(path, b"".join(msgspec.json.encode(entry) + b"\n" for entry in plain))


def read(path: Path, domain: bytes) -> list[Entry]:
    """Read a chain and recompute it.

    Raises
    ------
    FormatError
        The file cannot be read as one.
    LedgerError
        An entry was changed, lost, added or moved.
    """
    try:
        lines = msgspec.json.Decoder(_Line).decode_lines(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path.name} is not an exported book ({type(error).__name__}); export it again"
        raise FormatError(message) from None
    entries = [Entry(line.seq, line.kind, line.time, bytes(line.body), line.previous, line.hash) for line in lines]
    if not entries:
        raise FormatError(f"{path.name} holds no entries; export it again")
    if seq := broken_at(domain, entries):
        raise LedgerError(f"{path.name} is broken at entry {seq}, or is not the book it is taken for; ask for it again")
    return entries
