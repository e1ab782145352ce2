# SPDX-License-Identifier: Apache-2.0
"""A ledger as a file: held by one process, never made anew where there was one, and marked so that it can't go back."""

import fcntl
import os
import sqlite3
from io import FileIO
from pathlib import Path

import msgspec

from skyglow_client.gate import schema
from skyglow_client.gate.chain import Entry
from skyglow_shared.errors import LedgerBusyError, LedgerError
from skyglow_shared.files import write_atomically

RESTORE = "restore it from the latest backup"


def hold(path: Path) -> FileIO:
    """Hold the ledger at `path` alone until what is returned is closed; LedgerBusyError if another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    lock = FileIO(descriptor, "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise LedgerBusyError("another process holds this ledger; wait for it to end, or stop it") from None
    return lock


def mark(lock: FileIO, seq: int, head: str) -> None:
    """Note the last entry beside the ledger."""
    os.pwrite(lock.fileno(), f"{seq:020d} {head}\n".encode(), 0)


def marked(lock: FileIO) -> tuple[int, str] | None:
    """Number and hash of the entry that was noted, or None if there never was one."""
    seq, _, head = os.pread(lock.fileno(), 128, 0).decode("ascii", "replace").strip().partition(" ")
    return (int(seq), head) if seq.isdecimal() else None


def create(path: Path, lock: FileIO, first: Entry) -> None:
    """Make a ledger under another name, then give it its own: there is never half a ledger.

    Raises
    ------
    LedgerError
        There was one before.
    """
    if os.pread(lock.fileno(), 1, 0):
        raise LedgerError(f"{path.name} was here before and is missing; {RESTORE}, for it holds what was spent")
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.executescript(schema.TABLES)
        connection.execute(schema.INSERT, msgspec.structs.astuple(first))
    finally:
        connection.close()
    write_atomically(path, new.read_bytes(), mode=0o600)
    new.unlink()


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger's database as durably as SQLite can; LedgerError or sqlite3.Error if it is not a sound one."""
    place = f"{path.resolve().as_uri()}?mode=rw"  # never make a new one in place of one that went missing
    connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("PRAGMA application_id").fetchone() != (schema.APPLICATION,):
            raise LedgerError(f"{path.name} is empty or not a skyglow ledger; {RESTORE}")
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise LedgerError(f"{path.name} is damaged; {RESTORE}")
        for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute(schema.DECISIONS)
        connection.execute(schema.ALLOCATIONS)
        connection.execute(schema.COHORTS)
        _renew(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _renew(connection: sqlite3.Connection) -> None:
    """Forget the heads that version 0.1 kept of other suppliers' ledgers: without signatures they prove nothing."""
    columns = [name for (_, name, *_) in connection.execute("PRAGMA table_info(witnessed)")]
    if columns == ["supplier", "entries", "digest"]:
        connection.executescript(f"BEGIN; DROP TABLE witnessed; {schema.WITNESSED}; COMMIT")
