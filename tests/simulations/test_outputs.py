# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind agrees with the ledgers, the checkpoints and itself."""

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from skyglow_client.gate.ledger import open_ledger
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_shared.layout import block_shape
from skyglow_shared.study import digest
from skyglow_simulations import experiment, outputs
from skyglow_simulations.run import Folder
from skyglow_simulations.suppliers import NAMES


@pytest.fixture
def again(finished, tmp_path):
    """The finished run in a folder that may be spoilt."""
    folder = Folder(Path(shutil.copytree(finished.experiment.folder.path, tmp_path / "run")))
    return experiment.begin(folder, finished.experiment.parameters, lambda phase, done, total: None)


def contents(folder):
    names = ["estimates.csv", "summary.json", *(f"ledger/{name}.sqlite" for name in NAMES)]
    return {name: (folder.path / name).read_bytes() for name in names}


def test_what_is_written_is_what_was_found(finished):
    path = finished.experiment.folder.path
    assert json.loads((path / "summary.json").read_text(encoding="utf-8")) == finished.findings.summary
    with (path / "estimates.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["area_code"], row["topic"], row["group"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(finished.findings.estimates)
    for item in finished.findings.estimates:
        row = rows[item.area_code, item.topic, item.group]
        assert row["status"] == item.status
        assert row["estimate"] == ("" if item.estimate is None else f"{item.estimate:.5f}")
        assert float(row["truth"]) == pytest.approx(
            finished.findings.truth[item.area_code, item.topic, item.group], abs=1e-5
        )


def test_writing_again_replaces_everything_whole(again, finished):
    before = contents(again.folder)
    for name in before:
        (again.folder.path / name).write_bytes(b"from an earlier attempt")
    outputs.write(again, finished.findings)
    after = contents(again.folder)
    assert after["estimates.csv"] == before["estimates.csv"]
    assert after["summary.json"] == before["summary.json"]
    for name in NAMES:
        open_ledger(again.folder.path / "ledger" / f"{name}.sqlite").close()
    assert not [path for path in again.folder.path.rglob(".*") if path.is_file()], "no temporary files"


def test_the_release_is_made_of_what_may_be_published(finished):
    release = finished.experiment.folder.path / "release"
    with (release / "estimates-all-aged-66-plus.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["area_code"]: row for row in csv.DictReader(file)}
    for item in finished.findings.estimates:
        if item.topic == "all_aged_66_plus":
            row = rows.pop(item.area_code)
            assert row["estimate"] == ("" if item.estimate is None else f"{item.estimate:.3f}")
            assert row["reason"] == item.reason
    assert not rows
    crate = json.loads((release / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    identity = next(entity["identifier"] for entity in crate["@graph"] if entity["@id"] == "#study")
    assert identity == digest(finished.experiment.study)
    heads = {entity["value"] for entity in crate["@graph"] if entity["@id"].startswith("#ledger-")}
    assert heads == {figures["ledger_head"] for figures in finished.findings.summary["suppliers"].values()}
    for path in release.glob("*.csv"):
        assert "truth" not in path.read_text(encoding="utf-8").splitlines()[0]


def test_the_copy_of_a_ledger_holds_what_is_still_in_its_log(again, finished):
    """A supplier that has the ledger open writes to a log beside the file; the copy has it."""
    with experiment.opened(again.folder, again.parameters) as held:
        head = held["north"].gate.ledger.head
        held["north"].refuse(digest(again.study))
        now = held["north"].gate.ledger.head
        assert now != head
        assert (again.folder.supplier("north") / "ledger.sqlite-wal").stat().st_size > 0
        outputs.write(again, finished.findings)
    with closing(sqlite3.connect(again.folder.path / "ledger" / "north.sqlite")) as copy:
        assert copy.execute("SELECT hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone() == (now,)


def test_what_a_supplier_spent_is_what_its_ledger_says(again, finished):
    with experiment.opened(again.folder, again.parameters) as held:
        for name, supplier in held.items():
            figures = outputs.supplier_figures(again.study, supplier)
            spent = supplier.gate.ledger.spent(again.study.delta)
            assert figures["epsilon_upper"] == pytest.approx(spent.epsilon_upper, abs=1e-4)
            assert figures["epsilon_lower"] <= figures["epsilon_upper"] <= figures["policy_epsilon"] == 4.0
            assert figures["ledger_head"] == supplier.gate.ledger.verify()
            assert figures == finished.findings.summary["suppliers"][name]


def test_a_supplier_that_was_charged_nothing_spent_nothing(again):
    for path in again.folder.supplier("north").glob("ledger.sqlite*"):
        path.unlink()
    with experiment.opened(again.folder, again.parameters) as held:
        figures = outputs.supplier_figures(again.study, held["north"])
    assert (figures["epsilon_lower"], figures["epsilon_upper"]) == (0, 0)


def test_what_left_is_counted_from_the_replies_themselves(finished):
    one = finished.experiment
    checkpoints = Checkpoints.in_file(one.folder.office / "checkpoints.sqlite")
    rows = outputs.what_left(one)
    assert [row.phase for row in rows] == ["training", "calibration", "release"]
    for row, phase in zip(rows, one.study.phases, strict=True):
        numbers = 0
        for block in phase.blocks:
            groups, width = block_shape(one.study, block)
            numbers += groups * width
            assert row.noise[block.name] == pytest.approx(block.noise_multiplier * block.l2_bound, rel=2e-3)
        assert (row.numbers, row.shares) == (numbers, phase.rounds)
        replies = [checkpoints.load(Place(digest(one.study), phase.name, number)) for number in range(phase.rounds)]
        for name in NAMES:
            assert row.sent_bytes[name] == sum(len(reply[name]) for reply in replies)
            assert 8 * numbers * phase.rounds < row.sent_bytes[name] < 8 * numbers * phase.rounds + 1000 * phase.rounds


def test_methods_beside_ours_are_judged_by_the_same_truth(finished):
    summary = finished.findings.summary
    without = {"skyglow", "histogram_em"}  # the study buys no histograms
    assert summary["methods"].keys() == outputs.METHODS.keys() - without
    naive = finished.findings.methods["naive"]
    assert {item.level for item in naive} == {"LSOA", "MSOA", "LAD"}
    for item in naive:
        assert 0 <= item.estimate <= 1
        assert item.lower is None
    own = summary["methods"]["naive"]["all_aged_66_plus"]["LSOA"]
    shown = {
        item.area_code
        for item in finished.findings.estimates
        if item.topic == "all_aged_66_plus" and item.status == "published"
    }
    error = [
        item.estimate - finished.findings.truth[item.area_code, item.topic, item.group]
        for item in naive
        if item.level == "LSOA" and item.area_code in shown
    ]
    assert 0 < len(error) == own["published"] < 9, "where ours is withheld no other is judged"
    assert own["mae"] == pytest.approx(sum(map(abs, error)) / len(error))
    assert "coverage" not in own, "a method without intervals claims none"
