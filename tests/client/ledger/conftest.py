# SPDX-License-Identifier: Apache-2.0
"""A ledger of its own for each test, and one that is in use."""

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from skyglow_client.gate.ledger import Ledger, open_ledger


@dataclass(frozen=True)
class Book:
    """Where a ledger is kept, and the hands that write into it or spoil it."""

    path: Path
    event: ClassVar = {"noise_multiplier": 5.0, "sampling_rate": 0.5, "count": 1, "numbers": 23}

    def charge(self, ledger: Ledger, key: str = "study/training/0", study: str = "study") -> None:
        ledger.charge(key, "r", b"s" * 32, {"key": key, "study": study, "event": self.event, "request": "r"})

    def seal(self, ledger: Ledger, key: str = "study/training/0") -> None:
        ledger.seal(key, b"reply", {"key": key, "reply": hashlib.sha256(b"reply").hexdigest()})

    def tamper(self, path: Path, *statements: str) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in ("DROP TRIGGER entries_stay", "DROP TRIGGER entries_last", *statements):
                connection.execute(statement)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "ledger.sqlite")


@pytest.fixture
def used(book: Book) -> Path:
    """A closed ledger with one sealed and one pending round."""
    with closing(open_ledger(book.path)) as ledger:
        book.charge(ledger)
        book.seal(ledger)
        book.charge(ledger, "study/training/1")
    return book.path
