# SPDX-License-Identifier: Apache-2.0
"""Electricity use has a table of its own in the release's folder, described, checked and read back like the others."""

import csv
import json
from dataclasses import replace

import pytest

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import electricity, publish, sheets, tidy
from skyglow_server.publication.earlier import read_footprints

GROUPS = {"all day": 8.25, "vacant homes": 0.04, "06:00 to 12:00": 2.0}
BLANK = dict.fromkeys(("estimate", "lower", "upper", "unclipped", "deviation")) | {"parts": {}}
PLACES = (("E01010000", "LSOA"), ("E02000000", "MSOA"), ("E06000001", "LAD"))


@pytest.fixture
def use():
    def one(code, level, group, value):
        named = Estimate(code, "Town", level, "electricity_use", group, value, 0.9 * value, 1.2 * value)
        return replace(named, unclipped=value, deviation=0.04 * value, parts={"privacy noise of use": value})

    shown = [one(code, level, group, value) for code, level in PLACES for group, value in GROUPS.items()]
    hidden = [
        replace(one("E01010001", "LSOA", group, 1.0), **BLANK, status="suppressed", reason="dominance")
        for group in GROUPS
    ]
    return (*hidden, *shown)


@pytest.fixture
def folder(release, use, tmp_path):
    publish(tmp_path / "release", replace(release, use=use))
    return tmp_path / "release"


def test_figures_have_their_unit_and_order(folder):
    with (folder / electricity.NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["level"] for row in rows] == ["LAD"] * 3 + ["MSOA"] * 3 + ["LSOA"] * 6
    assert [row["group"] for row in rows[:3]] == ["all day", "06:00 to 12:00", "vacant homes"]
    assert {row["group"]: row["unit"] for row in rows[:3]} == {
        "all day": "kWh a home and day",
        "06:00 to 12:00": "kWh a home and day",
        "vacant homes": "share of homes",
    }
    assert (rows[0]["estimate"], rows[0]["upper"], rows[0]["quality"]) == ("8.250", "9.900", "precise")
    hidden = next(row for row in rows if row["area_code"] == "E01010001")
    assert (hidden["estimate"], hidden["lower"], hidden["standard_error"]) == ("", "", "")
    assert (hidden["status"], hidden["shorthand"], hidden["reason"]) == ("suppressed", "[c]", "dominance")


def test_it_is_described_listed_and_summed(folder):
    metadata = json.loads((folder / tidy.METADATA).read_text())
    table = next(table for table in metadata["tables"] if table["url"] == electricity.NAME)
    assert [column["name"] for column in table["tableSchema"]["columns"]] == list(electricity.COLUMNS)
    with (folder / tidy.SOURCES).open(newline="") as file:
        told = {(row["level"], row["source"]) for row in csv.DictReader(file) if row["topic"] == "electricity_use"}
    assert told == {(level, "privacy noise of use") for _, level in PLACES}
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    intervals = next(entity for entity in crate["@graph"] if entity["@id"] == "#intervals")
    assert "electricity_use: privacy noise of use" in intervals["description"]
    assert electricity.NAME in {entity["@id"] for entity in crate["@graph"]}
    assert (folder / "checksums" / f"{electricity.NAME}.txt").exists()


def test_withheld_cells_are_flagged_for_the_output_checker(folder):
    record = json.loads((folder / "results.json").read_text())["results"]["table-electricity-use"]
    assert record["status"] == "review"
    (file,) = record["files"]
    assert file["name"] == electricity.NAME
    assert file["sdc"]["summary"] == {"suppressed": True, "dominance": 3}
    with (folder / electricity.NAME).open(newline="") as table:
        hidden = [number for number, line in enumerate(csv.DictReader(table)) if line["status"] == "suppressed"]
    columns = [list(electricity.COLUMNS).index(name) - 1 for name in ("estimate", "lower", "upper", "standard_error")]
    assert sorted(file["sdc"]["cells"]["dominance"]) == sorted([row, column] for row in hidden for column in columns)


def test_the_spreadsheet_has_a_sheet_a_level(release, use):
    found = list(sheets.use_sheets(use))
    assert [sheet.title.split("(")[-1].strip(")") for sheet in found][1:] == ["MSOA", "LSOA"]
    lsoas = found[-1].table
    assert lsoas["Mean, all day (kWh)"].tolist() == [8.25, "[c]"]
    assert lsoas["Vacant homes (%)"].tolist() == [4.0, "[c]"]
    assert "Median, all day (kWh)" not in lsoas.columns


def test_a_figure_without_its_limits_is_shown_if_it_is_reliable(use):
    vague = [replace(item, deviation=item.estimate) if item.estimate is not None else item for item in use]
    lsoas = list(sheets.use_sheets(vague))[-1].table
    assert lsoas["Mean, all day (kWh)"].tolist() == [8.25, "[c]"]
    assert lsoas["Quality of the mean"].tolist() == ["use with caution [u]", "[c]"]
    assert lsoas["Vacant homes (%)"].tolist() == ["[u]", "[c]"]


def test_a_later_release_is_checked_against_it(release, use, tmp_path):
    missing = (("E01010002", "LSOA"), ("E02000001", "MSOA"))
    others = [replace(item, area_code=code, level=level) for item in use[:3] for code, level in missing]
    publish(tmp_path / "release", replace(release, use=(*use, *others)))
    folder = tmp_path / "release"
    found = {footprint.topic: footprint for footprint in read_footprints(folder)}["electricity_use"]
    assert {cell.code for cell in found.cells if cell.published} == {code for code, _ in PLACES}


def test_a_release_without_it_has_no_such_file(published):
    assert not (published / electricity.NAME).exists()
