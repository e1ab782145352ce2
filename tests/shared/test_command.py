# SPDX-License-Identifier: Apache-2.0
"""The root command: what is installed, exit codes, and never a traceback."""

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from skyglow_shared import command
from skyglow_shared.errors import BudgetError, FormatError


@dataclass
class Entry:
    """Stands for an installed distribution's entry point."""

    name: str
    outcome: object

    def load(self):
        if isinstance(self.outcome, ImportError):
            raise self.outcome

        def register(subparsers):
            parser = subparsers.add_parser(self.name, help=f"the {self.name}'s commands")
            parser.set_defaults(func=self.run)

        return register

    def run(self, args):
        assert isinstance(args, argparse.Namespace)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def installed(monkeypatch):
    def install(*entries):
        monkeypatch.setattr(
            command, "entry_points", lambda group: [entry for entry in entries if group == command.GROUP]
        )

    return install


def test_a_command_runs_and_gives_its_exit_code(installed):
    installed(Entry("office", 0), Entry("supplier", 7))
    assert command.main(["office"]) == 0
    assert command.main(["supplier"]) == 7


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FormatError("areas.csv is not a table; restore it"), 11, "areas.csv is not a table; restore it"),
        (BudgetError("too dear", rule="budget"), 32, "too dear"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/nowhere"), 60, "cannot read or write /nowhere: Permission denied"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(installed, capsys, error, code, words):
    installed(Entry("office", error))
    assert command.main(["office"]) == code
    captured = capsys.readouterr()
    assert captured.err == f"skyglow: {words}\n"
    assert captured.out == ""


@pytest.mark.parametrize("fault", [ZeroDivisionError("4711 kWh"), MemoryError("4711 homes"), RuntimeError("4711")])
def test_a_bug_is_told_by_its_type_and_place_and_nothing_more(installed, capsys, fault):
    installed(Entry("office", fault))
    assert command.main(["office"]) == 70
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        rf"skyglow: {type(fault).__name__} in skyglow_shared\.command, line \d+, then \S*test_command, line \d+: .*\n",
        captured.err,
    )
    assert "fault of skyglow" in captured.err
    assert "report" in captured.err
    assert "4711" not in captured.err


def test_whoever_ends_the_process_is_not_held_up(installed):
    installed(Entry("office", SystemExit(7)))
    with pytest.raises(SystemExit) as stopped:
        command.main(["office"])
    assert stopped.value.code == 7


def test_a_distribution_that_is_not_installed_is_absent(installed, capsys):
    installed(Entry("supplier", 0))
    with pytest.raises(SystemExit) as stopped:
        command.main(["office"])
    assert stopped.value.code == 2
    assert "office" not in capsys.readouterr().err.partition("choose from")[2]


def test_a_broken_distribution_does_not_take_the_others_away(installed, capsys):
    installed(Entry("office", ModuleNotFoundError("No module named 'absent'")), Entry("supplier", 0))
    assert command.main(["supplier"]) == 0
    assert capsys.readouterr().err == ""
    assert command.main([]) == 2
    said = capsys.readouterr().err
    assert "no `office` command" in said
    assert "the supplier's commands" in said


def test_only_the_command_that_is_asked_for_is_loaded(installed):
    unwanted = Entry("simulate", 0)
    unwanted.load = None
    installed(Entry("supplier", 0), unwanted)
    assert command.main(["supplier"]) == 0


def test_without_a_command_it_says_what_there_is(installed, capsys):
    installed(Entry("supplier", 0))
    assert command.main([]) == 2
    assert "supplier" in capsys.readouterr().err


def test_the_version_is_the_distributions():
    line = [sys.executable, "-m", "skyglow_shared.command", "--version"]
    run = subprocess.run(line, check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["skyglow", command.version("skyglow-shared")]
