# SPDX-License-Identifier: Apache-2.0
"""Kill -9 at any moment, resume: the same estimates, and nothing is charged twice.

One run is killed again and again, further on each time: starting a process costs more than all that it then does.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from skyglow_shared.command import main
from skyglow_simulations.suppliers import NAMES

#: A phase and the line of progress at which the run is killed in it.
MOMENTS = {
    "population": "people, homes and load: 8 of 16",
    "readings": "suppliers clean and store: 2 of 6",
    "approval": "suppliers approve the study: 2 of 6",
    "training": "training rounds: 2 of 4",
    "calibration": "calibration: 0 of 1",
    "release": "release of area sums: 0 of 1",
    "evaluation": "estimates and truth: 0 of 1",
}

#: Runs the command in a child for each line of its input, for to import takes longer than all that a child then does.
#: The child ends itself at one call of one method, before it has done anything or after all; its status is printed.
DRIVER = """
import os, signal, sys

import skyglow_client.gate.ledger, skyglow_server.checkpoints, skyglow_simulations.command
from skyglow_shared.command import main

owners = {"Ledger": skyglow_client.gate.ledger.Ledger, "Checkpoints": skyglow_server.checkpoints.Checkpoints}
words = sys.argv[1:]

def end_at(owner, method, moment, number):
    original, calls = getattr(owner, method), []

    def counted(*arguments, **named):
        calls.append(method)
        if moment == "before" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        original(*arguments, **named)
        if moment == "after" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, counted)

for line in sys.stdin:
    owner, method, moment, number = line.split()
    child = os.fork()
    if not child:
        signal.alarm(200)  # a child that hangs is a failure, not a wait for ever
        end_at(owners[owner], method, moment, int(number))
        os._exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

#: Name: (class, method, before or after, at which call since this process began), then what is in the books of all
#: six suppliers and of the office when it is dead: charges, seals, rounds stored.
HOOKS = {
    "before the first charge": ("Ledger", "charge", "before", 1, (0, 0, 0)),
    "between charge and computation": ("Ledger", "charge", "after", 3, (3, 2, 0)),
    "between computation and seal": ("Ledger", "seal", "before", 3, (5, 4, 0)),
    "between seal and the next supplier": ("Ledger", "seal", "after", 1, (5, 5, 0)),
    "between the last seal and the checkpoint": ("Ledger", "seal", "after", 1, (6, 6, 0)),
    "when the checkpoint is to be written": ("Checkpoints", "save", "before", 1, (6, 6, 0)),
    "when the checkpoint is written": ("Checkpoints", "save", "after", 1, (6, 6, 1)),
    "within the very last round": ("Ledger", "seal", "before", 30, (36, 35, 5)),
    "when the very last round is stored": ("Checkpoints", "save", "after", 1, (36, 36, 6)),
}


@pytest.fixture(scope="module")
def expected(unbroken, accounts):
    """The unbroken run's ledgers: six rounds, each charged once and then sealed, at every supplier."""
    found = accounts(unbroken)
    for events in found.values():
        assert [kind for kind, _ in events] == ["charge", "seal"] * 6
        assert len({body["key"] for kind, body in events if kind == "charge"}) == 6
    return found


@pytest.fixture(scope="module")
def same_as_unbroken(unbroken, expected, accounts, tables):
    def compare(run, told=""):
        assert accounts(run) == expected, told
        assert tables(run) == tables(unbroken), told
        assert (run / "report.html").exists()

    return compare


@pytest.fixture(scope="module")
def so_far(expected, accounts):
    """Holds a broken run's ledgers to the beginning of the unbroken run's; returns charges and seals of all."""

    def compare(run):
        found = accounts(run)
        for name in NAMES:
            assert found[name] == expected[name][: len(found[name])]
        return Counter(kind for events in found.values() for kind, _ in events)

    return compare


def test_killed_once_in_every_phase(skyglow, hamlet, same_as_unbroken, so_far, tmp_path):
    out, told = tmp_path / "run", []
    words = hamlet(out)
    for phase, line in MOMENTS.items():
        told += [f"--- to be killed in {phase}\n", *skyglow.kill_at(line, *words)]
        assert line in told[-1], "".join(told)
        if (out / "suppliers" / NAMES[-1] / "ledger.sqlite").exists():
            counts = so_far(out)
            assert counts["charge"] - counts["seal"] in (0, 1), "one supplier at a time"
        assert not (out / "report.html").exists()
        words = ["simulate", "--resume", str(out)]
    done = skyglow.run(*words)
    assert done.returncode == 0, "".join(told) + done.stderr
    same_as_unbroken(out, "".join(told))


def test_killed_at_random(skyglow, hamlet, same_as_unbroken, tmp_path):
    out, delay = tmp_path / "run", random.uniform(1.0, 8.0)  # noqa: S311 - any moment will do
    with skyglow.start(*hamlet(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.wait(timeout=delay) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    begun = (out / "run.json").exists()
    assert main(["simulate", "--quiet", "--resume", str(out)] if begun else hamlet(out)) == 0, delay
    same_as_unbroken(out, delay)


def test_killed_between_any_two_durable_steps(skyglow, waiting, same_as_unbroken, so_far):
    resume = ["simulate", "--quiet", "--resume", str(waiting)]
    program = (sys.executable, "-c", DRIVER)
    with skyglow.start(*resume, program=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        for moment, (*place, books) in HOOKS.items():
            driver.stdin.write(" ".join(map(str, place)) + "\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == f"{-signal.SIGKILL}\n", moment
            counts = so_far(waiting)
            assert (counts["charge"], counts["seal"], len(replies(waiting)) - 1) == books, moment
        driver.stdin.close()
    assert main(resume) == 0
    same_as_unbroken(waiting)


def test_the_office_never_asks_again_for_what_it_has(unbroken, same_as_unbroken, tmp_path, monkeypatch):
    """A finished run resumes into the same results without a word to any supplier."""
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    for name in ("estimates.csv", "summary.json", "report.html"):
        (run / name).unlink()
    monkeypatch.setattr("skyglow_server.federation.InProcess.ask", None)
    assert main(["simulate", "--quiet", "--resume", str(run)]) == 0
    same_as_unbroken(run)


def test_without_its_checkpoints_the_office_gets_the_very_same_replies(unbroken, same_as_unbroken, tmp_path):
    """The office lost everything: suppliers repeat what they sealed byte for byte, and charge nothing."""
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    shutil.rmtree(run / "office")
    assert main(["simulate", "--quiet", "--resume", str(run)]) == 0
    same_as_unbroken(run)
    assert replies(run) == replies(unbroken)


def replies(run):
    """All that the office has stored: approvals, then one row a round."""
    with closing(sqlite3.connect(run / "office" / "checkpoints.sqlite")) as connection:
        return connection.execute("SELECT * FROM replies").fetchall()
