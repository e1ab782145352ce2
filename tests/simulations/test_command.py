# SPDX-License-Identifier: Apache-2.0
"""What is typed becomes the run's parameters, word for word."""

from pathlib import Path

import msgspec
import pytest

from skyglow_shared.command import main
from skyglow_shared.errors import RunError
from skyglow_simulations import command, run
from skyglow_simulations.run import Parameters


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Runs `skyglow simulate` until it would begin; returns the folder and parameters it would begin with."""
    seen = []

    def begin(folder, parameters, progress):
        seen.append((folder.path, parameters))
        raise RunError("stop here")

    monkeypatch.setattr(command, "begin", begin)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        assert main(["simulate", *map(str, words)]) == RunError.exit_code
        return seen.pop()

    return call


def test_nothing_typed_is_the_built_in_study(typed):
    path, parameters = typed()
    assert parameters == Parameters()
    assert path.parent == Path("out")
    assert path.name.startswith("southampton-20")


def test_every_word_is_heard(typed, tmp_path):
    words = [
        "mine.toml",
        "--area",
        "W06000015",
        "--census",
        "tables",
        "--scale",
        "0.3",
        "--seed",
        "9",
        "--panel",
        "0.2",
    ]
    path, parameters = typed(*words, "--engine", "flower", "--workers", "7", "--out", tmp_path / "here")
    assert path == tmp_path / "here"
    assert parameters == Parameters(
        study=str(tmp_path / "mine.toml"),
        district="W06000015",
        census=str(tmp_path / "tables"),
        scale=0.3,
        seed=9,
        panel_fraction=0.2,
        engine="flower",
        workers=7,
    )
    assert msgspec.json.decode((path / "run.json").read_bytes(), type=Parameters) == parameters


def test_a_resumed_run_is_the_one_that_was_started(typed, tmp_path, monkeypatch):
    """Paths are kept whole, so that it does not matter where one stands."""
    _, parameters = typed("mine.toml", "--census", "tables", "--out", "here", "--seed", "4")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert typed("--resume", tmp_path / "here") == (tmp_path / "here", parameters)


def test_the_folder_is_free_again_after_an_error(typed, tmp_path):
    path, _ = typed("--out", "here")
    with run.held(run.Folder(path)):
        assert main(["simulate", "--resume", str(path)]) == RunError.exit_code


@pytest.mark.parametrize("words", [["--scale", "much"], ["--seed", "1.5"], ["--engine", "steam"], ["--colour", "red"]])
def test_words_that_cannot_be_understood_are_the_shells_business(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--scale", "0"],
        ["--scale", "-1"],
        ["--scale", "2"],
        ["--scale", "nan"],
        ["--panel", "0"],
        ["--panel", "inf"],
        ["--seed", "-1"],
        ["--workers", "0"],
    ],
)
def test_impossible_numbers_leave_nothing_behind(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *words]) == RunError.exit_code
    assert words[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
