# SPDX-License-Identifier: Apache-2.0
"""What the office has received, durably, before it acts on it.

A checkpoint is the suppliers' signed replies themselves. The coordinator's state is a pure fold over them, so resuming
after a crash is reading them again; and the office's record of what left each supplier is the very bytes.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from skyglow_shared.errors import FormatError, RunError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    study TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL, step TEXT NOT NULL,
    replies BLOB NOT NULL, PRIMARY KEY (study, phase, round, attempt, step)
) STRICT
"""


class Place(NamedTuple):
    """Which step of which attempt at which round."""

    study: str
    phase: str
    round: int
    attempt: int = 0
    step: str = "share"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The replies of every completed step of every round of every study, in one SQLite file."""

    path: Path

    def load(self, place: Place) -> dict[str, bytes] | None:
        """Return the replies of a completed step by supplier, or None if it is not complete.

        Raises
        ------
        FormatError
            The file, or what it holds for this step, cannot be read.
        """
        query = "SELECT replies FROM replies WHERE (study, phase, round, attempt, step) = (?, ?, ?, ?, ?)"
        with self._opened() as connection:
            row = connection.execute(query, place).fetchone()
            return None if row is None else msgspec.msgpack.decode(row[0], type=dict[str, bytes])

    def save(self, place: Place, replies: Mapping[str, bytes]) -> None:
        """Store a completed step durably.

        Raises
        ------
        RunError
            It is stored already.
        FormatError
            The file cannot be written.
        """
        row = (*place, msgspec.msgpack.encode(dict(replies)))
        with self._opened() as connection, connection:
            try:
                connection.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise RunError("this step is already stored; is the study running twice on this folder?") from None

    def places(self, study: str) -> list[Place]:
        """Every step of a study that is stored, in the order in which it was.

        Raises
        ------
        FormatError
            The file cannot be read.
        """
        query = "SELECT study, phase, round, attempt, step FROM replies WHERE study = ? ORDER BY rowid"
        with self._opened() as connection:
            return [Place(*row) for row in connection.execute(query, (study,))]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Give a connection; whatever SQLite or the decoder has against the file becomes a FormatError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                yield connection
        except (sqlite3.Error, msgspec.MsgspecError, TypeError) as error:
            kind = type(error).__name__
            message = f"{self.path.name} cannot be used as a checkpoint file ({kind}); restore it or start a new run"
            raise FormatError(message) from None
