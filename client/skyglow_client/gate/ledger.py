# SPDX-License-Identifier: Apache-2.0
"""The supplier's account of everything that left or was about to: durable, append-only, hash-chained.

One SQLite file (WAL, synchronous FULL). `entries` is the chain (see `gate.chain`); triggers forbid changing or deleting
its rows. Entries store privacy events, not epsilons, so that a better accountant improves old accounts. Beside the
chain stand the studies, the charged rounds, their sealed replies byte for byte, and the secret of each round that is
charged but not yet sealed: which homes it samples. The secret is erased when the reply is sealed.

Whoever opens a ledger holds it alone, by a lock on ``ledger.sqlite.lock``. That file also keeps a mark of the last
entry, so that a ledger that went missing, or was put back to an earlier state, is noticed: it would forget what was
spent.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skyglow_client.gate import chain, schema
from skyglow_client.gate.chain import Entry, Kind
from skyglow_shared.errors import LedgerBusyError, LedgerError
from skyglow_shared.files import write_atomically
from skyglow_shared.privacy.accounting import Cost, Event, adaptive_cost, study_cost
from skyglow_shared.study import digest_of

_RESTORE = "restore it from the latest backup"


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
        return str(self.rows("SELECT hash FROM entries ORDER BY seq DESC LIMIT 1")[0][0])

    def head_at(self, entries: int) -> bytes | None:
        """Digest of the chain when it had so many entries (32 bytes), or None if it never had; one look-up by key."""
        rows = self.rows("SELECT hash FROM entries WHERE seq = ?", entries) if 0 < entries < 2**63 else []
        return bytes.fromhex(rows[0][0]) if rows else None

    def entries(self, *kinds: Kind) -> list[Entry]:
        """The chain in order, or its entries of some kinds."""
        wanted = f"WHERE kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        return [Entry(*row) for row in self.rows(f"SELECT * FROM entries {wanted} ORDER BY seq", *kinds)]  # noqa: S608 - marks only

    def append(self, kind: Kind, body: object) -> None:
        """Append an entry durably."""
        with self.transaction():
            self.chain_on(kind, body)

    def propose(self, digest: str, canonical: bytes, signature: bytes, body: object) -> None:
        """Keep a study and the office's signature over it, and append the entry that says so."""
        with self.transaction():
            self.connection.execute("INSERT INTO studies VALUES (?, ?, ?)", (digest, canonical, signature))
            self.chain_on("proposal", body)

    def study(self, digest: str) -> bytes | None:
        """Canonical bytes of a proposed study, or None."""
        rows = self.rows("SELECT study FROM studies WHERE digest = ?", digest)
        return bytes(rows[0][0]) if rows else None

    def studies(self) -> dict[str, bytes]:
        """Canonical bytes of every proposed study by digest, oldest first."""
        return dict(self.rows("SELECT digest, study FROM studies ORDER BY rowid"))

    def decision(self, digest: str) -> str:
        """A person's last decision on a study: ``approval``, ``refusal``, or empty."""
        for entry in reversed(self.entries("approval", "refusal")):
            if msgspec.json.decode(entry.body)["study"] == digest:
                return entry.kind
        return ""

    def charge(self, key: str, request: str, secret: bytes, body: object) -> None:
        """Append a charge and keep its round's sampling secret: one durable step."""
        with self.transaction():
            self.chain_on("charge", body)
            self.connection.execute("INSERT INTO charges VALUES (?, ?)", (key, request))
            self.connection.execute("INSERT INTO pending VALUES (?, ?)", (key, secret))

    def charged(self, key: str) -> str | None:
        """Digest of the request that a round was charged for, or None if it was not charged."""
        rows = self.rows("SELECT request FROM charges WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def charged_keys(self) -> set[str]:
        """Every round that was charged."""
        return {str(key) for (key,) in self.rows("SELECT key FROM charges")}

    def secret(self, key: str) -> bytes:
        """The sampling secret of a round that is charged and not yet sealed."""
        rows = self.rows("SELECT secret FROM pending WHERE key = ?", key)
        if not rows:
            raise LedgerError(f"the ledger has no sampling secret for a charged round; {_RESTORE}")
        return bytes(rows[0][0])

    def seal(self, key: str, reply: bytes, body: object) -> None:
        """Keep a reply byte for byte, append the entry that says so and erase the round's secret: one durable step."""
        with self.transaction():
            self.chain_on("seal", body)
            self.connection.execute("INSERT INTO sealed VALUES (?, ?)", (key, reply))
            self.connection.execute("DELETE FROM pending WHERE key = ?", (key,))
        self.forget()

    def forget(self) -> None:
        """Empty the write-ahead log, which still holds what was erased."""
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def sealed(self, key: str) -> bytes | None:
        """The sealed reply of a round, or None."""
        rows = self.rows("SELECT reply FROM sealed WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    def charges(self, *, since: str = "") -> dict[str, list[Event]]:
        """Events charged at or after a time (UTC, ISO 8601), by study."""
        charged: dict[str, list[Event]] = {}
        for entry in self.entries("charge"):
            if entry.time >= since:
                body = msgspec.json.decode(entry.body)
                charged.setdefault(body["study"], []).append(msgspec.convert(body["event"], Event))
        return charged

    def spent(self, delta: float, *, since: str = "") -> Cost:
        """What all charges together cost: by PLD if they are of one study, by the Rényi total if of several.

        Studies after the first may have been chosen in the light of earlier results, for which PLD is not a guarantee.
        """
        charged = self.charges(since=since)
        events = [event for events in charged.values() for event in events]
        cost = study_cost(events, delta)
        if len(charged) < 2:
            return cost
        return Cost(cost.epsilon_lower, adaptive_cost(events, delta), delta)

    def verify(self) -> str:
        """Recompute the whole chain and compare with it all that stands beside it.

        Returns
        -------
        str
            The head.

        Raises
        ------
        LedgerError
            Something was changed, lost or added.
        """
        head = chain.verify(self.entries())
        charged, replies = self._recorded("charge", "request"), self._recorded("seal", "reply")
        if charged != dict(self.rows("SELECT key, request FROM charges")):
            raise LedgerError(f"the ledger's rounds are not those its chain records; release nothing, {_RESTORE}")
        sealed = {key: hashlib.sha256(reply).hexdigest() for key, reply in self.rows("SELECT key, reply FROM sealed")}
        if replies != sealed:
            raise LedgerError(f"a sealed reply is not the one the chain records; release nothing, {_RESTORE}")
        if {key for (key,) in self.rows("SELECT key FROM pending")} != set(charged) - set(replies):
            raise LedgerError(f"the ledger lacks the secret of a charged round, or keeps one too many; {_RESTORE}")
        proposed = {str(msgspec.json.decode(entry.body)["study"]) for entry in self.entries("proposal")}
        studies = self.studies()
        if proposed != set(studies) or any(digest_of(study) != digest for digest, study in studies.items()):
            raise LedgerError(f"a study is not the one that was proposed; release nothing, {_RESTORE}")
        return head

    def export(self, path: Path) -> None:
        """Write the chain as JSON lines: events and digests, neither secrets nor replies."""
        plain = ({**msgspec.structs.asdict(entry), "body": msgspec.Raw(entry.body)} for entry in self.entries())
        write_atomically(path, b"".join(msgspec.json.encode(entry) + b"\n" for entry in plain))

    def check_mark(self) -> None:
        """LedgerError if the last entry that was marked is not in the ledger any more."""
        seq, _, marked = os.pread(self.lock, 128, 0).decode("ascii", "replace").strip().partition(" ")
        if not seq.isdecimal():
            return
        rows = self.rows("SELECT hash FROM entries WHERE seq = ?", int(seq))
        if not rows or rows[0][0] != marked:
            raise LedgerError(
                f"the ledger is older than it was: entry {int(seq)} is gone, and with it what was charged; {_RESTORE}. "
                "See docs/reference/supplier-policy.md if there is none"
            )

    def _recorded(self, kind: Kind, field: str) -> dict[str, str]:
        bodies = [msgspec.json.decode(entry.body) for entry in self.entries(kind)]
        return {body["key"]: body[field] for body in bodies}

    def chain_on(self, kind: Kind, body: object) -> None:
        """Append an entry, within a transaction."""
        seq, previous = self.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")[0]
        _insert(self.connection, chain.link(seq + 1, kind, body, previous))

    def rows(self, query: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        """What a query gives; LedgerError if the file cannot be read."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger cannot be read ({type(error).__name__}); {_RESTORE}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durably; LedgerError if it cannot be written."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            name = type(error).__name__
            message = f"the ledger could not be written ({name}); nothing was released; check disk space and rights"
            raise LedgerError(message) from None
        seq, head = self.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")[0]
        os.pwrite(self.lock, f"{seq:020d} {head}\n".encode(), 0)


def open_ledger(path: Path) -> Ledger:
    """Open a ledger, making it first where there never was one, verify it and hold it alone.

    Raises
    ------
    LedgerBusyError
        Another process holds it.
    LedgerError
        It is missing, corrupt, truncated, changed, older than it was, or another program's file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LedgerBusyError("another process holds this ledger; wait for it to end, or stop it") from None
    try:
        return _open(path, lock)
    except BaseException:
        os.close(lock)
        raise


def _open(path: Path, lock: int) -> Ledger:
    if not path.exists():
        if os.pread(lock, 1, 0):
            raise LedgerError(f"{path.name} was here before and is missing; {_RESTORE}, for it holds what was spent")
        _create(path)
    connection = None
    try:
        place = f"{path.resolve().as_uri()}?mode=rw"  # never make a new one in place of one that went missing
        connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
        if connection.execute("PRAGMA application_id").fetchone() != (schema.APPLICATION,):
            raise LedgerError(f"{path.name} is empty or not a skyglow ledger; {_RESTORE}")
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise LedgerError(f"{path.name} is damaged; {_RESTORE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        ledger = Ledger(connection, lock)
        ledger.verify()
        ledger.check_mark()
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error | msgspec.MsgspecError | KeyError | TypeError):
            raise
        raise LedgerError(f"{path.name} is not a readable ledger ({type(error).__name__}); {_RESTORE}") from None
    return ledger


def _create(path: Path) -> None:
    """Make a ledger under another name, then give it its own: there is never half a ledger."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.executescript(schema.TABLES)
        _insert(connection, chain.link(1, "genesis", {"format": 1}, ""))
    finally:
        connection.close()
    write_atomically(path, new.read_bytes(), mode=0o600)
    new.unlink()


def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(entry))
