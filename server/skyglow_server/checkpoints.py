# SPDX-License-Identifier: Apache-2.0
"""What the office has received, durably, before it acts on it.

A checkpoint is the suppliers' signed replies themselves. The coordinator's state is a pure fold over them, so resuming
after a crash is reading them again; and the office's record of what left each supplier is the very bytes. They lie in
one SQLite file of the office's folder, or in a PostgreSQL database (`skyglow_server.links.postgres`).
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from skyglow_server import settings
from skyglow_shared import locks
from skyglow_shared.errors import DatabaseError, FormatError, RunError

FILE = "checkpoints.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    study TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL, step TEXT NOT NULL,
    replies BLOB NOT NULL, PRIMARY KEY (study, phase, round, attempt, step)
) STRICT
"""
_INSERT = """
INSERT INTO replies (study, phase, round, attempt, step, replies) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_PRIMARY = 0xFF  # of a result code, what it is without its details

#: Runs one statement, values in place of its question marks, durably; gives its cursor.
Execute = Callable[[str, Sequence[object]], Any]


class Place(NamedTuple):
    """Which step of which attempt at which round."""

    study: str
    phase: str
    round: int
    attempt: int = 0
    step: str = "share"


class Database(Protocol):
    """Where replies lie, in a table `replies` whose `rowid` grows; what it has to complain of are skyglow's errors."""

    def made(self) -> bool:
        """Whether there is anything to look into."""

    def opened(self) -> AbstractContextManager[Execute]:
        """Give what runs statements."""

    def alone(self, study: str) -> AbstractContextManager[None]:
        """Hold a study for this process; RunError if another process has it."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The replies of every completed step of every round of every study, in an SQLite file or another database."""

    database: Database

    @classmethod
    def in_file(cls, path: Path) -> "Checkpoints":
        """Those in an SQLite file, made where there is none."""
        return cls(SqliteFile(path))

    def load(self, place: Place) -> dict[str, bytes] | None:
        """Return the replies of a completed step by supplier, or None if it is not complete.

        Raises
        ------
        FormatError
            The database, or what it holds for this step, cannot be read.
        DatabaseError
            It is away.
        """
        query = "SELECT replies FROM replies WHERE (study, phase, round, attempt, step) = (?, ?, ?, ?, ?)"
        with self.database.opened() as execute:
            row = execute(query, place).fetchone()
        try:
            return None if row is None else msgspec.msgpack.decode(row[0], type=dict[str, bytes])
        except (msgspec.MsgspecError, TypeError) as error:
            raise _unusable(error) from None

    def save(self, place: Place, replies: Mapping[str, bytes]) -> None:
        """Store a completed step durably.

        Raises
        ------
        RunError
            It is stored already.
        FormatError, DatabaseError
            The database cannot be written.
        """
        row = (*place, msgspec.msgpack.encode(dict(replies)))
        with self.database.opened() as execute:
            if not execute(_INSERT, row).rowcount:
                raise RunError("this step is already stored; is the study running twice on this database?")

    def places(self, study: str) -> list[Place]:
        """Every step of a study that is stored, in the order in which it was.

        Raises
        ------
        FormatError, DatabaseError
            The database cannot be read.
        """
        query = "SELECT study, phase, round, attempt, step FROM replies WHERE study = ? ORDER BY rowid"
        with self.database.opened() as execute:
            return [Place(*row) for row in execute(query, (study,))]

    def check(self) -> None:
        """FormatError or DatabaseError unless the database can be used now."""
        self.places("")

    def alone(self, study: str) -> AbstractContextManager[None]:
        """Hold a study, by its digest, while it runs: two processes, or two offices, never run one study on a database.

        Raises
        ------
        RunError
            Another process has it.
        """
        return self.database.alone(study)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """Replies in one file."""

    path: Path

    def made(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    @contextmanager
    def opened(self) -> Iterator[Execute]:
        """Open the file, made where there is none.

        Raises
        ------
        DatabaseError
            There is no room for it, or no right to write it.
        FormatError
            SQLite has anything else against it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                yield connection.execute
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _NO_ROOM:
                name = getattr(error, "sqlite_errorname", "")
                message = (
                    f"{self.path.name} cannot be written ({name}); make room on its disk, and see who may write it"
                )
                raise DatabaseError(message) from None
            raise _unusable(error) from None

    def alone(self, study: str) -> AbstractContextManager[None]:
        """Hold the file: an office runs one study at a time."""
        del study
        self.path.parent.mkdir(parents=True, exist_ok=True)
        message = "another process runs a study on this office's folder; wait for it, or stop it"
        return locks.alone(self.path.with_name("run.lock"), message)


def of_office(folder: Path, url: str = "") -> Checkpoints:
    """The checkpoints of an office: at a URL, or where its settings say, or in its folder.

    Raises
    ------
    FormatError
        The settings or the URL cannot be used.
    RunError
        What speaks to the database is not installed.
    """
    if not url and (folder / settings.FILE).exists():
        url = settings.load(folder).database
    if not url:
        return Checkpoints.in_file(folder / FILE)
    from skyglow_server.links.postgres import Postgres  # noqa: PLC0415 - needs the extra `postgres`

    return Checkpoints(Postgres(url))


def _unusable(error: Exception) -> FormatError:
    kind = type(error).__name__
    return FormatError(f"the checkpoints cannot be used ({kind}); restore {FILE} or the database, or start a new run")
