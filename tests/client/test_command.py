# SPDX-License-Identifier: Apache-2.0
"""What a person at a supplier types: load, look, decide, check the books."""

import json

import pytest

from skyglow_shared import command
from skyglow_shared.messages import Approval, Share
from skyglow_shared.study import digest


@pytest.fixture
def run(town, capsys):
    """Run `skyglow supplier …` on the town's folder; exit code, standard output, standard error."""

    def type_in(*words, folder=town.folder):
        code = command.main(["supplier", *words, "--folder", str(folder)])
        return code, *capsys.readouterr()

    return type_in


@pytest.fixture
def proposed(town):
    """A study that the office proposed."""
    study = town.study()
    with town.open() as supplier:
        town.ask(supplier, town.proposal(study))
    return study


def test_load_cleans_and_counts(town, run):
    town.raw.write()
    (town.folder / "store" / "meta.json").unlink()
    code, out, _ = run(
        "load", "--start", "2026-03-09", "--days", "28", "--postcodes", str(town.folder / "postcodes.csv")
    )
    assert code == 0
    assert "24  homes in the store" in out
    assert (town.folder / "store" / "meta.json").exists()


def test_load_says_which_file_is_wrong(town, run):
    (town.folder / "raw" / "meters.csv").write_text("nonsense")
    code, _, err = run(
        "load", "--start", "2026-03-09", "--days", "28", "--postcodes", str(town.folder / "postcodes.csv")
    )
    assert code == 11
    assert "meters.csv" in err


def test_look_approve_and_answer(town, run, proposed):
    short = digest(proposed)[:12]
    assert run("study", "list") == (0, f"{short}  three-areas  awaits a decision\n", "")
    code, out, _ = run("study", "show", short)
    assert code == 0
    assert "all_aged_66_plus: homes whose composition in the panel is one_person_66_plus or family_66_plus" in out
    for words in (
        "Who is home in three areas",
        digest(proposed),
        "training: 3 rounds, each home in with chance 0.5",
        "release: 1 round\n",
        "1 × 23 numbers",
        "3 × 2 numbers",
        "noise 5 on each number",
        "epsilon 1.649 at delta 1e-06",
        "epsilon 4.000 of the policy's 4 without it, 2.351 with it",
        "it is for you to approve or refuse",
    ):
        assert words in out
    code, out, _ = run("study", "approve", short)
    assert (code, out) == (0, "approved three-areas: at most epsilon 1.649 at delta 1e-06\n")
    assert "approved" in run("study", "list")[1]
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.proposal(proposed)), Approval)
        assert isinstance(town.ask(supplier, town.request(proposed)), Share)
    code, out, _ = run("ledger", "show")
    assert code == 0
    assert "1 of 5 rounds charged" in out


def test_the_offices_words_cannot_forge_the_screen(town, run):
    """A title that moves the cursor or writes a cost of its own is shown for what it is."""
    study = town.study(title="Harmless\x1b[2J\ncost       epsilon 0.001", public_good="Good\r\u202eword")
    with town.open() as supplier:
        town.ask(supplier, town.proposal(study))
    code, out, _ = run("study", "show", digest(study))
    assert code == 0
    assert "\x1b" not in out and "\r" not in out and "\u202e" not in out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("cost")] == ["1.649"]


def test_the_offices_words_begin_no_line_by_filling_the_one_before(town, run):
    blanks = "Good" + " " * 65
    study = town.study(title="cost       epsilon 0.001 at delta 1e-06", public_good=blanks + "cost  epsilon 0.001")
    with town.open() as supplier:
        town.ask(supplier, town.proposal(study))
    code, out, _ = run("study", "show", digest(study))
    assert code == 0
    shown = [line[start : start + 80] for line in out.splitlines() for start in range(0, max(len(line), 1), 80)]
    assert [line.split()[2] for line in shown if line.startswith("cost")] == ["1.649"]


def test_key_makes_a_key_once(town, run):
    assert run("key") == (0, f"{town.identity.public_key}\n", "")
    (town.folder / "identity.key").unlink()
    _, made, _ = run("key")
    assert made != f"{town.identity.public_key}\n"
    assert run("key")[1] == made


def test_refuse(town, run, proposed):
    assert run("study", "refuse", digest(proposed)) == (0, "refused three-areas\n", "")
    assert "refused" in run("study", "list")[1]
    with town.open() as supplier:
        assert town.ask(supplier, town.proposal(proposed)).code == 33


def test_show_says_why_a_study_cannot_be_approved(town, run, proposed):
    town.write_policy(levels=["all"])
    code, out, err = run("study", "show", digest(proposed))
    assert code == 31
    assert "by LSOA" in out
    assert "levels" in err
    assert run("study", "approve", digest(proposed))[0] == 31


@pytest.mark.parametrize("start", ["ffff", ""])
def test_a_digest_of_no_study(run, start):
    code, _, err = run("study", "show", start)
    assert code == 33
    assert "study list" in err


def test_the_books_can_be_checked_and_exported(town, run, proposed, tmp_path):
    assert run("study", "approve", digest(proposed))[0] == 0
    code, out, _ = run("ledger", "verify")
    assert code == 0
    head = out.split()[-1]
    assert run("ledger", "export", str(tmp_path / "chain.jsonl"))[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "chain.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["genesis", "proposal", "approval"]
    assert lines[-1]["hash"] == head


def test_a_broken_ledger_has_a_code_of_its_own(town, run, proposed):
    (town.folder / "ledger.sqlite").write_bytes(b"")
    code, _, err = run("ledger", "verify")
    assert code == 50
    assert "backup" in err


def test_a_held_ledger_has_a_code_of_its_own(town, run):
    with town.open():
        assert run("study", "list")[0] == 51


@pytest.mark.parametrize("content", [None, "name = ", "other = 1", "name = 3"])
def test_a_folder_without_a_name_is_refused(town, run, content):
    (town.folder / "supplier.toml").unlink()
    if content is not None:
        (town.folder / "supplier.toml").write_text(content)
    code, _, err = run("study", "list")
    assert code == 11
    assert "supplier.toml" in err


def test_a_person_is_needed_for_a_verb(run):
    with pytest.raises(SystemExit) as error:
        run("study")
    assert error.value.code == 2
