# SPDX-License-Identifier: Apache-2.0
"""A run's folder: what was asked is kept, one process at a time, and nothing is overwritten."""

import subprocess
import sys

import msgspec
import pytest

from skyglow_shared.errors import RunError
from skyglow_simulations import run
from skyglow_simulations.run import Folder, Parameters

ASKED = Parameters(
    study="/a study/mine.toml",
    district="W06000015",
    census="/tables",
    scale=0.3,
    seed=9,
    panel_fraction=0.2,
    trust="aggregate",
    engine="flower",
    frame="uneven",
    trial="/a trial/homes.csv",
    mapping="/a trial/mapping.toml",
    label="persons",
    workers=7,
)


def test_what_was_asked_is_there_when_it_is_resumed(tmp_path):
    assert all(getattr(ASKED, field) != getattr(Parameters(), field) for field in Parameters.__struct_fields__)
    folder = run.start(tmp_path / "new" / "run", ASKED)
    assert run.resume(tmp_path / "new" / "run") == (folder, ASKED)


def test_a_run_is_never_started_over(tmp_path):
    run.start(tmp_path, ASKED)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a run already; continue it with --resume"):
        run.start(tmp_path, Parameters())
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_folder_with_other_things_in_it_may_hold_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run.start(tmp_path, ASKED)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_there_is_nothing_to_resume_where_nothing_was_started(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="holds no run; start one"):
            run.resume(path)


@pytest.mark.parametrize("change", [{"scale": 0}, {"scale": 1.1}, {"seed": -1}, {"workers": 0}, {"engine": "steam"}])
def test_parameters_out_of_bounds_are_not_resumed(change, tmp_path):
    run.start(tmp_path, ASKED)
    plain = msgspec.json.decode((tmp_path / "run.json").read_bytes()) | change
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(plain))
    with pytest.raises(RunError, match=next(iter(change))):
        run.resume(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{", b'{"colour": 1}', b"null"])
def test_a_run_file_that_cannot_be_read_is_not_resumed(content, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        run.resume(tmp_path)


def test_a_folder_is_held_by_one(tmp_path):
    folder = Folder(tmp_path)
    with run.held(folder), pytest.raises(RunError, match="another process is working"), run.held(folder):
        pass
    with run.held(folder):
        pass


def test_a_failed_run_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), run.held(Folder(tmp_path)):
        raise ZeroDivisionError
    with run.held(Folder(tmp_path)):
        pass


def test_a_process_that_died_lets_go(tmp_path):
    """The lock is the kernel's: kill -9 leaves none behind."""
    code = """
import os, signal, sys
from pathlib import Path
from skyglow_simulations import run
with run.held(run.Folder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError), run.held(Folder(tmp_path)):
            pass
        process.kill()
        process.wait(timeout=30)
    with run.held(Folder(tmp_path)):
        pass


def test_every_place_is_within_the_folder(tmp_path):
    folder = Folder(tmp_path)
    places = [folder.reference, folder.office, folder.truth, folder.supplier("north"), folder.supplier("south")]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(tmp_path) for place in places)
