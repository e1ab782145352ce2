# SPDX-License-Identifier: Apache-2.0
"""The supplier's account of everything that left or was about to: durable, append-only, hash-chained.

One SQLite file (WAL, synchronous FULL). `entries` is the chain (see `gate.chain`); triggers forbid changing or deleting
its rows. Entries store privacy events, not epsilons, so that a better accountant improves old accounts. Beside the
chain stand the studies, the charged rounds, their sealed replies byte for byte, and the secret of each round that is
charged but not yet sealed: which homes it samples. It is erased when the reply is sealed; an epoch's with its last one.

Whoever opens a ledger holds it alone, by a lock on ``ledger.sqlite.lock``. That file also keeps a mark of the last
entry, so that a ledger that went missing, or was put back to an earlier state, is noticed: it would forget what was
spent. What the time is, is for the ledger to say, not for the machine's clock alone: see `gate.clock`.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from io import FileIO
from pathlib import Path

import msgspec

from skyglow_client.gate import chain, ledger_file, schema
from skyglow_client.gate.chain import Entry, Kind
from skyglow_client.gate.clock import believed, check_date, stamp, utc_now
from skyglow_client.gate.ledger_file import RESTORE
from skyglow_shared import audit
from skyglow_shared.errors import FormatError, LedgerError
from skyglow_shared.privacy.accounting import Cost, Event, adaptive_cost, study_cost
from skyglow_shared.study import digest_of


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """An open ledger; make one with `open_ledger`."""

    connection: sqlite3.Connection
    lock: FileIO
    clock: Callable[[], datetime] = utc_now

    def close(self) -> None:
        """Close the file and let others have it; closing twice is closing once."""
        self.connection.close()
        self.lock.close()

    @property
    def head(self) -> str:
        """Hash of the last entry: the state of the whole ledger in 64 characters."""
        return str(self.rows("SELECT hash FROM entries ORDER BY seq DESC LIMIT 1")[0][0])

    @property
    def decided(self) -> str:
        """Hash of the last entry that a person made: while it stays, so does all that counts in the window."""
        return str(self.rows(schema.LAST_BY_A_PERSON)[0][0])

    @property
    def confirmed(self) -> datetime:
        """The time at which a person last confirmed the date, or else that of the first entry."""
        return datetime.fromisoformat(self.rows(schema.LAST_CONFIRMED)[0][0])

    def now(self) -> datetime:
        """The time: by the clock, but never before the last entry; ClockError if the clock is too far after it."""
        last = self.rows("SELECT time FROM entries ORDER BY seq DESC LIMIT 1")[0][0]
        return believed(self.clock(), datetime.fromisoformat(last))

    def accept_clock(self, today: date) -> None:
        """Take the clock's time for true from here on, whatever was believed before: a person's act.

        Parameters
        ----------
        today : date
            The date, as the person knows it from elsewhere.

        Raises
        ------
        ClockError
            The clock says another date.
        """
        time = self.clock()
        check_date(time, today)
        with self.transaction():
            self._append("clock", time, {"date": str(today)})

    def head_at(self, entries: int) -> str:
        """Digest (hex) of the chain when it had so many entries, or nothing if it never had; one look-up by key."""
        rows = self.rows("SELECT hash FROM entries WHERE seq = ?", entries) if 0 < entries < 2**63 else []
        return str(rows[0][0]) if rows else ""

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
        rows = self.rows(schema.DECISION, digest)
        return str(rows[0][0]) if rows else ""

    def charge(self, key: str, request: str, secret: bytes, body: object, *, epoch: str = "") -> None:
        """Append a charge and keep its round's sampling secret, and its epoch's if it is of one: one durable step."""
        with self.transaction():
            self.chain_on("charge", body)
            self.connection.execute("INSERT INTO charges VALUES (?, ?)", (key, request))
            self.connection.execute("INSERT INTO pending VALUES (?, ?)", (key, secret))
            if epoch:
                self.connection.execute("INSERT OR IGNORE INTO allocations VALUES (?, ?)", (epoch, secret))

    def charged(self, key: str) -> str | None:
        """Digest of the request that a round was charged for, or None if it was not charged."""
        rows = self.rows("SELECT request FROM charges WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def charged_keys(self, study: str) -> set[str]:
        """Every round of a study that was charged."""
        return {
            str(key)
            for (key,) in self.rows("SELECT key FROM charges WHERE key >= ? AND key < ?", study + "/", study + "0")
        }

    def secret(self, key: str) -> bytes:
        """The sampling secret of a round that is charged and not yet sealed."""
        rows = self.rows("SELECT secret FROM pending WHERE key = ?", key)
        if not rows:
            raise LedgerError(f"the ledger has no sampling secret for a charged round; {RESTORE}")
        return bytes(rows[0][0])

    def seal(self, key: str, reply: bytes, body: object, *, over: str = "") -> None:
        """Keep a reply byte for byte, append the entry that says so, erase its round's secret and a past epoch's."""
        with self.transaction():
            self.chain_on("seal", body)
            self.connection.execute("INSERT INTO sealed VALUES (?, ?)", (key, reply))
            self.connection.execute("DELETE FROM pending WHERE key = ?", (key,))
            self.connection.execute("DELETE FROM allocations WHERE epoch = ?", (over,))
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
        return Cost(cost.epsilon_lower, adaptive_cost(charged.values(), delta), delta)

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
        entries = self.entries()
        head = chain.verify(entries)
        sealed = self.connection.execute("SELECT key, reply FROM sealed")
        standing = self.rows("SELECT place, state FROM exchanges")
        chain.verify_beside(
            entries,
            charges=dict(self.rows("SELECT key, request FROM charges")),
            replies={key: hashlib.sha256(reply).hexdigest() for key, reply in sealed},
            pending={str(key) for (key,) in self.rows("SELECT key FROM pending")},
            states={place: hashlib.sha256(state).hexdigest() for place, state in standing},
            studies={digest: digest_of(study) for digest, study in self.studies().items()},
        )
        return head

    def export(self, path: Path) -> None:
        """Write the chain as JSON lines: events and digests, neither secrets nor replies.

        Raises
        ------
        FormatError
            The file would take the place of the ledger, or of what stands beside it.
        """
        own, wanted = Path(self.rows("PRAGMA database_list")[0][2]), path.resolve()
        if wanted.parent == own.parent and wanted.name.startswith(own.name):
            raise FormatError("an export may not take the ledger's own place; give it another name")
        audit.write(path, self.entries())

    def check_mark(self) -> None:
        """LedgerError if the last entry that was marked is not in the ledger any more."""
        marked = ledger_file.marked(self.lock)
        if marked is not None and self.head_at(marked[0]) != marked[1]:
            raise LedgerError(
                f"the ledger is older than it was: entry {marked[0]} is gone, and with it what was charged; {RESTORE}. "
                "See docs/reference/supplier-policy.md if there is none"
            )

    def chain_on(self, kind: Kind, body: object) -> None:
        """Append an entry of now, within a transaction; ClockError if it cannot be said when now is."""
        self._append(kind, self.now(), body)

    def _append(self, kind: Kind, time: datetime, body: object) -> None:
        seq, previous = self.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")[0]
        entry = chain.link(seq + 1, kind, stamp(time), body, previous)
        self.connection.execute(schema.INSERT, msgspec.structs.astuple(entry))

    def rows(self, query: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        """What a query gives; LedgerError if the file cannot be read."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger cannot be read ({type(error).__name__}); {RESTORE}") from None

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
        ledger_file.mark(self.lock, seq, head)


def open_ledger(path: Path, *, clock: Callable[[], datetime] = utc_now) -> Ledger:
    """Open a ledger, making it first where there never was one, verify it and hold it alone.

    Raises
    ------
    LedgerBusyError
        Another process holds it.
    LedgerError
        It is missing, corrupt, truncated, changed, older than it was, or another program's file.
    """
    path = path.resolve()  # the lock is on the file itself, by whatever name it is opened
    lock = ledger_file.hold(path)
    try:
        if not path.exists():
            ledger_file.create(path, lock, chain.link(1, "genesis", stamp(clock()), {"format": 1}, ""))
        connection = ledger_file.connect(path)
        try:
            ledger = Ledger(connection, lock, clock)
            ledger.verify()
            ledger.check_mark()
        except BaseException:
            connection.close()
            raise
    except BaseException as error:
        lock.close()
        if not isinstance(error, sqlite3.Error | msgspec.MsgspecError | KeyError | TypeError):
            raise
        raise LedgerError(f"{path.name} is not a readable ledger ({type(error).__name__}); {RESTORE}") from None
    return ledger
