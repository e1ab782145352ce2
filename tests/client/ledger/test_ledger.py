# SPDX-License-Identifier: Apache-2.0
"""The supplier's account: whatever happens to file or process, nothing charged is forgotten or charged twice."""

import signal
import sqlite3
import subprocess
import sys

import pytest

from skyglow_client.gate import gate as gates
from skyglow_client.gate.ledger import open_ledger
from skyglow_shared.errors import LedgerBusyError, LedgerError, SkyglowError
from skyglow_shared.messages import RoundRequest, Share, open_request
from skyglow_shared.privacy import sampling


def test_what_was_charged_is_there_after_reopening(used):
    ledger = open_ledger(used)
    assert ledger.charged("study/training/0") == "r"
    assert ledger.sealed("study/training/0") == b"reply"
    assert ledger.secret("study/training/1") == b"s" * 32
    assert ledger.sealed("study/training/1") is None
    assert [entry.kind for entry in ledger.entries()] == ["genesis", "charge", "seal", "charge"]
    assert ledger.verify() == ledger.head
    ledger.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), '5.0', '9.0') AS BLOB) WHERE seq = 2",
        "UPDATE entries SET time = '2020-01-01T00:00:00+00:00' WHERE seq = 2",
        "UPDATE entries SET kind = 'proposal' WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 4",
        "DELETE FROM entries",
        "DELETE FROM charges WHERE key = 'study/training/1'",
        "DELETE FROM pending",
        "DELETE FROM sealed",
        "UPDATE sealed SET reply = x'00'",
        "UPDATE charges SET request = 'other'",
        "INSERT INTO pending VALUES ('study/training/0', x'00')",
        "INSERT INTO studies VALUES ('aa', x'7b7d', x'00')",
        "DROP TABLE sealed",
    ],
)
def test_any_change_is_noticed(used, statement, book):
    book.tamper(used, statement)
    with pytest.raises(LedgerError, match=r"backup"):
        open_ledger(used)


def test_a_consistent_rollback_is_noticed(used, book):
    """Someone takes the last charge away from every table: the chain holds, but the mark beside it does not."""
    book.tamper(
        used,
        "DELETE FROM entries WHERE seq = 4",
        "DELETE FROM charges WHERE key = 'study/training/1'",
        "DELETE FROM pending",
    )
    with pytest.raises(LedgerError, match="older than it was"):
        open_ledger(used)


def test_an_old_copy_is_noticed(book, tmp_path):
    ledger = open_ledger(book.path)
    book.charge(ledger)
    ledger.close()
    old = book.path.read_bytes()
    ledger = open_ledger(book.path)
    book.seal(ledger)
    ledger.close()
    book.path.write_bytes(old)
    with pytest.raises(LedgerError, match="older than it was"):
        open_ledger(book.path)


def test_a_missing_ledger_is_not_made_anew(used):
    used.unlink()
    with pytest.raises(LedgerError, match="missing"):
        open_ledger(used)
    assert not used.exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_corrupt_file_is_refused_and_left_alone(book, content):
    book.path.write_bytes(content)
    with pytest.raises(LedgerError, match="backup"):
        open_ledger(book.path)
    assert book.path.read_bytes() == content


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(used, share):
    content = used.read_bytes()
    used.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LedgerError, match="backup"):
        open_ledger(used)


def test_every_torn_page_is_noticed(used):
    content = used.read_bytes()
    for page in range(len(content) // 4096):
        used.write_bytes(content[: page * 4096] + bytes(4096) + content[(page + 1) * 4096 :])
        with pytest.raises(LedgerError):
            open_ledger(used)


def test_another_programs_database_is_refused_and_left_alone(book):
    connection = sqlite3.connect(book.path)
    connection.execute("CREATE TABLE entries (seq)")
    connection.commit()
    connection.close()
    before = book.path.read_bytes()
    with pytest.raises(LedgerError, match="not a skyglow ledger"):
        open_ledger(book.path)
    assert book.path.read_bytes() == before


HOLD = """
import sys
from pathlib import Path
from skyglow_client.gate.ledger import open_ledger
ledger = open_ledger(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_never_hold_one_ledger(book):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(book.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LedgerBusyError):
            open_ledger(book.path)
        other.kill()
    open_ledger(book.path).close()  # a killed process holds nothing


CRASH = """
import os, signal, sys
from pathlib import Path
from skyglow_client.gate import gate
from skyglow_client.supplier import Supplier
def killed(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(gate, sys.argv[2], killed)
Supplier.open(Path(sys.argv[1]), "north").handle(Path(sys.argv[3]).read_bytes())
"""


def test_a_kill_between_charge_and_seal_is_completed_under_the_same_charge(town, tmp_path, monkeypatch):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
    request = town.request(study)
    (tmp_path / "request").write_bytes(request)
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH, str(town.folder), "noised", str(tmp_path / "request")], check=False
    )
    assert crashed.returncode == -signal.SIGKILL
    sampled = []
    real = sampling.poisson_sample
    monkeypatch.setattr(sampling, "poisson_sample", lambda secret, *rest: sampled.append(secret) or real(secret, *rest))
    message = open_request(request, town.office.public_key)
    assert isinstance(message, RoundRequest)
    with town.open() as supplier:
        ledger = supplier.gate.ledger
        assert len(ledger.entries("charge")) == 1
        assert not ledger.entries("seal")
        secret = ledger.secret(gates.round_key(message))
        reply = supplier.handle(request)
        assert isinstance(town.read(reply), Share)
        assert sampled == [secret]
        assert len(ledger.entries("charge")) == len(ledger.entries("seal")) == 1
        assert supplier.handle(request) == reply
    assert sampled == [secret], "a sealed share is never computed afresh"


def test_a_disk_that_is_full_releases_nothing(town):
    """The seal cannot be written: no share leaves; once it can, the same charge is completed."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        request = town.request(study)
        ledger = supplier.gate.ledger
        ledger.connection.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.sealed BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        refusal = town.ask(supplier, request)
        assert refusal.code == 50
        ledger.connection.execute("DROP TRIGGER full")
        assert isinstance(town.ask(supplier, request), Share)
        assert len(ledger.entries("charge")) == 1


def test_errors_of_the_ledger_name_no_study_and_no_data(used, book):
    book.tamper(used, "DELETE FROM pending")
    with pytest.raises(SkyglowError) as error:
        open_ledger(used)
    assert "study/" not in str(error.value)
