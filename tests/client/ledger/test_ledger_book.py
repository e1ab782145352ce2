# SPDX-License-Identifier: Apache-2.0
"""An open ledger: what it writes, erases, adds up and hands out, and what else than its chain it verifies."""

import json
import os
import shutil
import sqlite3
from dataclasses import dataclass

import pytest

from skyglow_client.gate.exchanges import keep, witnessed
from skyglow_client.gate.ledger import open_ledger
from skyglow_shared.errors import LedgerError
from skyglow_shared.privacy.accounting import Event, adaptive_cost, study_cost


@dataclass
class State:
    """Stands in for where a round of secure aggregation stands."""

    number: int

    def encode(self):
        return bytes([self.number])


def test_the_chain_is_known_at_every_length_it_had(used):
    ledger = open_ledger(used)
    assert [ledger.head_at(n) for n in range(1, 5)] == [entry.hash for entry in ledger.entries()]
    assert [ledger.head_at(n) for n in (-1, 0, 5, 2**62, 2**64)] == [""] * 5
    plan = ledger.rows("EXPLAIN QUERY PLAN SELECT hash FROM entries WHERE seq = 3")
    assert "USING INTEGER PRIMARY KEY" in str(plan)
    ledger.close()


@pytest.mark.parametrize("statement", ["UPDATE entries SET kind = 'seal'", "DELETE FROM entries"])
def test_entries_cannot_be_changed(book, statement):
    ledger = open_ledger(book.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        ledger.connection.execute(statement)
    ledger.close()


def test_a_write_that_fails_leaves_nothing_half_done(book):
    ledger = open_ledger(book.path)
    book.charge(ledger)
    head = ledger.head
    with pytest.raises(LedgerError, match="nothing was released"):
        book.charge(ledger)
    assert ledger.head == head == ledger.verify()
    ledger.close()


def test_the_ledger_is_durable_before_it_returns(book):
    ledger = open_ledger(book.path)
    settings = {
        name: ledger.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    ledger.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_a_sealed_rounds_secret_is_erased(book):
    secret = os.urandom(32)
    ledger = open_ledger(book.path)
    ledger.charge("k", "r", secret, {"key": "k", "study": "s", "event": book.event, "request": "r"})
    assert any(secret in file.read_bytes() for file in book.path.parent.iterdir())
    book.seal(ledger, "k")
    assert not any(secret in file.read_bytes() for file in book.path.parent.iterdir())
    with pytest.raises(LedgerError, match="secret"):
        ledger.secret("k")
    ledger.close()


def test_only_its_owner_can_read_it(used):
    assert all(file.stat().st_mode & 0o077 == 0 for file in used.parent.iterdir())


def test_one_study_is_composed_by_pld_and_several_by_renyi(book):
    ledger = open_ledger(book.path)
    event = Event(**book.event)
    assert ledger.spent(1e-6).epsilon_upper == 0
    book.charge(ledger, "a/0", "a")
    book.charge(ledger, "a/1", "a")
    assert ledger.spent(1e-6) == study_cost([event, event], 1e-6)
    book.charge(ledger, "b/0", "b")
    assert ledger.spent(1e-6).epsilon_upper == adaptive_cost([[event, event], [event]], 1e-6)
    assert ledger.spent(1e-6, since="2999").epsilon_upper == 0
    ledger.close()


def test_the_export_holds_the_chain_and_no_secret(used, tmp_path, book):
    ledger = open_ledger(used)
    ledger.export(tmp_path / "chain.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "chain.jsonl").read_text().splitlines()]
    assert [line["hash"] for line in lines] == [entry.hash for entry in ledger.entries()]
    assert lines[1]["body"]["event"] == book.event
    assert b"s" * 32 not in (tmp_path / "chain.jsonl").read_bytes()
    ledger.close()


def test_where_secure_aggregation_stands_is_verified_too(book):
    """A state put back would let a round that was unmasked be unmasked once more: its digest is in the chain."""
    ledger = open_ledger(book.path)
    for n in range(2):
        keep(ledger, f"study/training/0/{n}/advertise", b"reply", place="study/training/0", state=State(n), heads={})
    ledger.verify()
    ledger.close()
    for statement in (
        "UPDATE exchanges SET state = x'00'",
        "DELETE FROM exchanges",
        "INSERT INTO exchanges SELECT 'study/training/1', state FROM exchanges",
    ):
        shutil.copy(book.path, book.path.with_name("copy"))
        book.tamper(book.path.with_name("copy"), statement)
        with pytest.raises(LedgerError, match="secure aggregation"):
            open_ledger(book.path.with_name("copy"))


def test_a_ledger_of_an_older_version_is_opened(used):
    """Version 0.1 had no index of decisions, no digests of states, and heads of peers without signatures."""
    connection = sqlite3.connect(used)
    connection.executescript(
        "DROP INDEX decisions; DROP TABLE witnessed;"
        "CREATE TABLE witnessed (supplier TEXT PRIMARY KEY, entries INTEGER NOT NULL, digest TEXT NOT NULL) STRICT;"
        "INSERT INTO witnessed VALUES ('aa', 3, 'bb'); INSERT INTO exchanges VALUES ('study/training/0', x'00')"
    )
    connection.close()
    for _ in range(2):
        ledger = open_ledger(used)
        assert ledger.decision("study") == ""
        assert witnessed(ledger) == {}
        ledger.close()


def test_closing_twice_is_closing_once(book):
    ledger = open_ledger(book.path)
    ledger.close()
    ledger.close()
    open_ledger(book.path).close()
