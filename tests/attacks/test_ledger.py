# SPDX-License-Identifier: Apache-2.0
"""Attacks on the account of what was spent: old copies, edits, two holders, crowds, clocks."""

import dataclasses
import datetime
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from skyglow_client.gate.clock import utc_now
from skyglow_shared.errors import LedgerBusyError, LedgerError, SkyglowError
from skyglow_shared.messages import Refusal, Share
from skyglow_shared.privacy.accounting import adaptive_cost
from skyglow_shared.study import digest

#: Enough for one study of training, calibration and tables, not for two.
BUDGET = 2.0

OPEN = """
import sys
from pathlib import Path
from skyglow_client.supplier import Supplier
Supplier.open(Path(sys.argv[1]), "north")
"""

#: Two processes, each the office's link for a study of its own: propose it, approve it, ask its rounds, between the
#: other's turns. Prints the rule that stopped each, or nothing.
TWO_LINKS = """
import os, random, sys, time
from pathlib import Path
from skyglow_client.supplier import Supplier
from skyglow_shared.errors import LedgerBusyError, SkyglowError

def with_supplier(work):
    while True:
        try:
            with Supplier.open(Path(sys.argv[1]), "north") as supplier:
                return work(supplier)
        except LedgerBusyError:
            time.sleep(random.uniform(0, 0.02))

def push(folder):
    with_supplier(lambda supplier: supplier.handle((folder / "proposal").read_bytes()))
    try:
        with_supplier(lambda supplier: supplier.approve(folder.name))
    except SkyglowError as error:
        (folder / "stopped").write_text(error.rule)
    for file in sorted(folder.glob("round-*")):
        (folder / f"reply-{file.name}").write_bytes(with_supplier(lambda supplier: supplier.handle(file.read_bytes())))

children = []
for folder in sys.argv[2:]:
    children.append(os.fork())
    if not children[-1]:
        push(Path(folder))
        os._exit(0)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def saved(town, to, *, pattern="ledger.sqlite"):
    to.mkdir(exist_ok=True)
    for file in town.folder.glob(pattern):
        shutil.copy2(file, to / file.name)


def restore(town, saved_in):
    for file in town.folder.glob("ledger.sqlite-*"):
        file.unlink()
    for file in saved_in.iterdir():
        shutil.copy2(file, town.folder / file.name)


def test_a_ledger_file_put_back_to_an_earlier_state(town, tmp_path):
    """An old copy of the ledger brings spent budget back: the supplier notices, and does not start."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
    saved(town, tmp_path / "old")
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.request(study)), Share)
    restore(town, tmp_path / "old")
    with pytest.raises(LedgerError, match="older than it was"):
        town.open()


def test_a_ledger_that_goes_missing(town):
    """The ledger's file is deleted, so that a fresh one has the whole budget: the supplier does not start."""
    with town.open() as supplier:
        town.approve(supplier, town.study())
    for file in (town.folder / name for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm")):
        file.unlink(missing_ok=True)
    with pytest.raises(LedgerError, match="missing"):
        town.open()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE kind = 'charge'",
        "DELETE FROM charges",
        "DELETE FROM sealed",
        "UPDATE entries SET time = '2020-01-01T00:00:00+00:00' WHERE kind = 'charge'",
        "UPDATE entries SET body = CAST('{}' AS BLOB) WHERE kind = 'charge'",
        "UPDATE studies SET study = CAST(replace(CAST(study AS TEXT), '5.0', '9.0') AS BLOB)",
    ],
)
def test_a_ledger_edited_by_hand(town, statement):
    """A charge deleted, made older or smaller, a sealed reply or study changed, past the triggers: noticed."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
    connection = sqlite3.connect(town.folder / "ledger.sqlite")
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    assert connection.execute(statement).rowcount
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError):
        town.open()


def test_two_processes_on_one_ledger(town):
    """A second process, or a second link of the same one, opens the ledger to spend the budget twice: refused."""
    with town.open():
        with pytest.raises(LedgerBusyError):
            town.open()
        second = subprocess.run(
            [sys.executable, "-c", OPEN, str(town.folder)], capture_output=True, text=True, check=False
        )
        assert second.returncode
        assert "LedgerBusyError" in second.stderr
    town.open().close()


def test_concurrent_studies_do_not_overspend(town):
    """Many studies that each fit the budget are proposed, approved and run at once: together they never pass it."""
    town.write_policy(epsilon=3.0)
    studies = [town.study(name=f"study-{n}") for n in range(6)]
    with town.open() as supplier, ThreadPoolExecutor(6) as threads:

        def push(study):
            supplier.handle(town.proposal(study))
            try:
                supplier.approve(digest(study))
            except SkyglowError as error:
                return error.rule
            return [town.ask(supplier, town.request(study, "training", n)) for n in range(3)]

        results = list(threads.map(push, studies))
        approved = {study.name for study, result in zip(studies, results, strict=True) if result != "epsilon"}
        assert 1 <= len(approved) < len(studies)
        for study in studies:
            if study.name not in approved:
                assert isinstance(town.ask(supplier, town.request(study)), Refusal)
        assert supplier.gate.ledger.spent(1e-6).epsilon_upper <= 3.0
        assert len(supplier.gate.ledger.entries("charge")) == 3 * len(approved)


def with_calibration(study):
    """Training, calibration and tables."""
    training, release = study.phases
    (block,) = release.blocks
    blocks = (msgspec.structs.replace(block, name="class_scores", source="class_score"),)
    calibration = msgspec.structs.replace(release, name="calibration", blocks=blocks)
    return msgspec.structs.replace(study, phases=(training, calibration, release))


def test_two_studies_from_two_processes_in_one_window(town, tmp_path):
    """Each fits the window; whatever order two processes come to take turns in, together they never pass it."""
    town.write_policy(epsilon=BUDGET)
    studies = {digest(one): one for one in (with_calibration(town.study(name=f"study-{n}")) for n in range(2))}
    for identity, study in studies.items():
        (tmp_path / identity).mkdir()
        (tmp_path / identity / "proposal").write_bytes(town.proposal(study))
        rounds = [("training", 0), ("training", 1), ("training", 2), ("calibration", 0), ("release", 0)]
        for number, (phase, round_) in enumerate(rounds):
            (tmp_path / identity / f"round-{number}").write_bytes(town.request(study, phase, round_))
    folders = [str(tmp_path / identity) for identity in studies]
    subprocess.run([sys.executable, "-c", TWO_LINKS, str(town.folder), *folders], check=True, timeout=200)
    replies = {
        identity: [town.read(file.read_bytes()) for file in sorted((tmp_path / identity).glob("reply-*"))]
        for identity in studies
    }
    answered = [identity for identity, found in replies.items() if all(isinstance(one, Share) for one in found)]
    (other,) = set(studies) - set(answered)
    assert (tmp_path / other / "stopped").read_text() == "epsilon"
    assert {one.rule for one in replies[other]} == {"approval"}
    with town.open() as supplier:
        ledger = supplier.gate.ledger
        assert set(ledger.charges()) == set(answered)
        (events,) = ledger.charges().values()
        assert len(events) == 5
        assert ledger.spent(1e-6).epsilon_upper <= BUDGET < adaptive_cost([events, events], 1e-6)


def with_clock(supplier, **shift):
    """The supplier with its clock moved."""
    moved = utc_now() + datetime.timedelta(**shift)
    ledger = dataclasses.replace(supplier.gate.ledger, clock=lambda: moved)
    supplier.gate = dataclasses.replace(supplier.gate, ledger=ledger)


@pytest.mark.parametrize("days", [-4000, -400, -1, 1, 400, 4000])
@pytest.mark.parametrize("lasting", [2, 3650])
def test_a_clock_moved_frees_nothing(town, days, lasting):
    """The clock is set back or forward, while a study is open or past its end and window: no other fits beside it."""
    today = utc_now().date()
    study = town.study(expires=str(today + datetime.timedelta(days=lasting)))
    other = town.study(name="other", expires="2126-12-30")
    with town.open() as supplier:
        town.approve(supplier, study)
        cost = supplier.gate.check(study).requested.epsilon_upper
    town.write_policy(epsilon=1.1 * cost, window_days=30)
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        for shift in (days, 0, -days, days):
            with_clock(supplier, days=shift)
            assert town.ask(supplier, town.proposal(other)).rule in {"epsilon", "clock"}
        assert isinstance(town.ask(supplier, town.request(study)), Share), "what was sealed is always sent again"
        assert len(supplier.gate.ledger.entries("charge")) == 1


@pytest.mark.parametrize("days", [400, 4000])
def test_a_clock_set_forward_ends_no_study(town, days):
    """The clock is set forward beyond a study's last day: nothing is answered by it, nothing is over by it."""
    study = town.study(expires=str((utc_now() + datetime.timedelta(days=40)).date()))
    with town.open() as supplier:
        town.approve(supplier, study)
        with_clock(supplier, days=days)
        assert town.ask(supplier, town.request(study)).rule == "clock"
        with_clock(supplier, days=0)
        assert isinstance(town.ask(supplier, town.request(study)), Share)


def test_a_clock_set_back_does_not_revive_an_expired_study(town):
    """A study has expired and an entry was made since: whatever the clock says later, it stays so, and charged."""
    study = town.study(expires=str((utc_now() + datetime.timedelta(days=2)).date()))
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        with_clock(supplier, days=5)
        assert town.ask(supplier, town.proposal(town.study(name="other"))).code == 33
        for days in (5, -1000):
            with_clock(supplier, days=days)
            assert town.ask(supplier, town.request(study, "training", 1)).code == 22
        assert len(supplier.gate.ledger.charges()) == 1
