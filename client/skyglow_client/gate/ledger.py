# SPDX-License-Identifier: Apache-2.0
"""The supplier's account of everything that left or was about to: durable, append-only, hash-chained.

One SQLite file (WAL, synchronous FULL). `entries` is the chain: each row's hash covers the row before it, and triggers
forbid changing or deleting rows. Entries store privacy events, not epsilons, so that a better accountant improves old
accounts. Beside the chain, `rounds` keeps every sealed reply byte for byte, and the secret of a round that is charged
but not yet sealed: which homes it samples. The secret is erased when the reply is sealed.

Whoever opens a ledger holds it alone (a lock on a file beside it) until it is closed.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from skyglow_shared.errors import LedgerBusyError, LedgerError
from skyglow_shared.files import write_atomically

Kind = Literal["genesis", "proposal", "approval", "refusal", "charge", "seal"]
_DOMAIN = b"skyglow-ledger-v1\0"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, time TEXT NOT NULL, body BLOB NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS studies (digest TEXT PRIMARY KEY, study BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rounds (key TEXT PRIMARY KEY, request TEXT NOT NULL, secret BLOB, reply BLOB) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_kind ON entries (kind, seq);
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
_REQUESTS = "SELECT key, request FROM rounds"
_REPLIES = "SELECT key, reply FROM rounds WHERE reply IS NOT NULL"


class Entry(msgspec.Struct, frozen=True):
    """One link of the chain. `body` is canonical JSON."""

    seq: int
    kind: str
    time: str
    body: bytes
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """An open ledger; make one with `open_ledger`."""

    connection: sqlite3.Connection
    lock: int

    def close(self) -> None:
        """Close the file and let others have it."""
        self.connection.close()
        os.close(self.lock)

    @property
    def head(self) -> str:
        """Hash of the last entry: the state of the whole ledger in 64 characters."""
        row = self.connection.execute("SELECT hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return str(row[0])

    def entries(self, *kinds: Kind) -> Iterator[Entry]:
        """The chain in order, or its entries of some kinds."""
        wanted = f"WHERE kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        for row in self.connection.execute(f"SELECT * FROM entries {wanted} ORDER BY seq", kinds):  # noqa: S608 - marks only
            yield Entry(*row)

    def append(self, kind: Kind, body: object) -> None:
        """Append an entry durably."""
        with self._transaction():
            self._append(kind, body)

    def add_study(self, digest: str, canonical: bytes, kind: Kind, body: object) -> None:
        """Append an entry and keep the study's canonical bytes beside it."""
        with self._transaction():
            self.connection.execute("INSERT OR IGNORE INTO studies VALUES (?, ?)", (digest, canonical))
            self._append(kind, body)

    def study(self, digest: str) -> bytes | None:
        """Canonical bytes of a study seen before, or None."""
        row = self.connection.execute("SELECT study FROM studies WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def studies(self) -> list[tuple[str, bytes]]:
        """Digest and canonical bytes of every study seen, oldest first."""
        rows = self.connection.execute("SELECT digest, study FROM studies ORDER BY rowid")
        return [(str(identity), bytes(study)) for identity, study in rows]

    def charge(self, key: str, request: str, secret: bytes, body: object) -> None:
        """Append a charge and keep its round's sampling secret: one durable step."""
        with self._transaction():
            self._append("charge", body)
            self.connection.execute("INSERT INTO rounds VALUES (?, ?, ?, NULL)", (key, request, secret))

    def charged(self, key: str) -> str | None:
        """Digest of the request that a round was charged for, or None if it was not charged."""
        row = self.connection.execute("SELECT request FROM rounds WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def secret(self, key: str) -> bytes:
        """The sampling secret of a round that is charged and not yet sealed."""
        row = self.connection.execute("SELECT secret FROM rounds WHERE key = ?", (key,)).fetchone()
        if row is None or row[0] is None:
            raise LedgerError("the ledger has no sampling secret for a charged round; restore it from a backup")
        return bytes(row[0])

    def seal(self, key: str, reply: bytes, body: object) -> None:
        """Keep a reply byte for byte, append the entry that says so and erase the round's secret: one durable step."""
        with self._transaction():
            self._append("seal", body)
            self.connection.execute("UPDATE rounds SET reply = ?, secret = NULL WHERE key = ?", (reply, key))

    def sealed(self, key: str) -> bytes | None:
        """The sealed reply of a round, or None."""
        row = self.connection.execute("SELECT reply FROM rounds WHERE key = ?", (key,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def verify(self) -> str:
        """Recompute the whole chain and the digest of every sealed reply; return the head, or raise LedgerError."""
        previous, count = "", 0
        for count, entry in enumerate(self.entries(), start=1):
            if entry.seq != count or entry.previous != previous or entry.hash != _hash(entry):
                raise LedgerError(f"the ledger's chain is broken at entry {count}; stop, and restore it from a backup")
            previous = entry.hash
        if count == 0 or self._recorded("charge", "request") != dict(self.connection.execute(_REQUESTS)):
            raise LedgerError("the ledger lacks entries or rounds that it should have; restore it from a backup")
        replies = {key: hashlib.sha256(reply).hexdigest() for key, reply in self.connection.execute(_REPLIES)}
        if self._recorded("seal", "reply") != replies:
            raise LedgerError("a sealed reply is not the one the ledger records; stop, and restore it from a backup")
        return previous

    def export(self, path: Path) -> None:
        """Write the chain as JSON lines: events and digests, neither secrets nor replies."""
        plain = ({**msgspec.structs.asdict(entry), "body": msgspec.Raw(entry.body)} for entry in self.entries())
        lines = [msgspec.json.encode(entry) for entry in plain]
        write_atomically(path, b"\n".join(lines) + b"\n")

    def _recorded(self, kind: Kind, field: str) -> dict[str, str]:
        bodies = (msgspec.json.decode(entry.body) for entry in self.entries(kind))
        return {body["key"]: body[field] for body in bodies}

    def _append(self, kind: Kind, body: object) -> None:
        row = self.connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (row[0] + 1, row[1]) if row else (1, "")
        content = msgspec.json.encode(body, order="sorted")
        time = datetime.now(UTC).isoformat(timespec="seconds")
        row = (seq, kind, time, content, previous, _hash(Entry(seq, kind, time, content, previous, "")))
        self.connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            message = (
                f"the ledger could not be written ({type(error).__name__}); nothing was released; check disk and file"
            )
            raise LedgerError(message) from None
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise


def open_ledger(path: Path) -> Ledger:
    """Open a ledger, making it first where there is none, and hold it alone.

    Raises
    ------
    LedgerBusyError
        Another process holds it.
    LedgerError
        It is corrupt, truncated or not a ledger.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LedgerBusyError("another process holds this ledger; wait for it to end, or stop it") from None
    try:
        ledger = Ledger(_connect(path), lock)
        if ledger.connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None:
            ledger.append("genesis", {"format": 1})
        ledger.verify()
    except sqlite3.Error as error:
        os.close(lock)
        raise LedgerError(f"{path.name} is not a readable ledger ({error}); restore it from a backup") from None
    except BaseException:
        os.close(lock)
        raise
    return ledger


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.executescript(_SCHEMA)
    path.chmod(0o600)
    return connection


def _hash(entry: Entry) -> str:
    content = msgspec.msgpack.encode((entry.seq, entry.kind, entry.time, entry.body, entry.previous))
    return hashlib.sha256(_DOMAIN + content).hexdigest()
