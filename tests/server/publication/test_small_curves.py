# SPDX-License-Identifier: Apache-2.0
"""Curves of LSOAs in everything that a release is made of; a later release of fewer or more areas is still compared."""

import csv
import json
from dataclasses import replace

import msgspec
import pytest

from skyglow_server.estimation.occupancy import GROUPS
from skyglow_server.estimation.results import Estimate, estimate_of
from skyglow_server.publication import change, publish, quality_page, sheets
from skyglow_server.publication.earlier import read_footprints, read_release

SHOWN = ("E01010000", "Town, 000A", "LSOA")
HIDDEN = (("E01010001", "Town 000B", "LSOA"), ("E01010002", "Town 001A", "LSOA"))
NOTE = "No sum is of the presence of an LSOA’s own homes."


@pytest.fixture
def curves(release):
    """The release with a curve of one LSOA, and two withheld."""
    study = release.study
    occupancy = msgspec.structs.replace(study.occupancy, levels=("LSOA", "MSOA", "LAD"))
    shown = [estimate_of(Estimate(*SHOWN, "occupancy", group), 0.7, 4e-4, {"area model": 4e-4}) for group in GROUPS]
    hidden = [
        Estimate(*area, "occupancy", group, status="suppressed", reason="least_homes")
        for area in HIDDEN
        for group in GROUPS
    ]
    study = msgspec.structs.replace(study, occupancy=occupancy)
    return replace(release, study=study, estimates=(*release.estimates, *shown, *hidden))


@pytest.fixture
def folder(curves, tmp_path):
    publish(tmp_path / "small", curves)
    return tmp_path / "small"


def test_they_are_in_the_table_with_intervals_and_marks(folder):
    with (folder / "estimates-occupancy.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "LSOA"]
    assert [row["group"] for row in rows[:96]] == list(GROUPS)
    assert {(row["estimate"], row["lower"], row["upper"], row["shorthand"]) for row in rows[:96]} == {
        ("0.700", "0.661", "0.739", "")
    }
    assert {(row["estimate"], row["shorthand"], row["reason"]) for row in rows[96:]} == {("", "[c]", "least_homes")}
    sources = (folder / "uncertainty-by-source.csv").read_text()
    assert "occupancy,LSOA,area model,1.000" in sources


def test_the_checker_sees_each_withheld_half_hour(folder):
    record = json.loads((folder / "results.json").read_text())["results"]["table-occupancy"]
    assert record["files"][0]["sdc"]["summary"] == {"suppressed": True, "least_homes": 2 * 96}


def test_the_spreadsheet_has_a_sheet_a_kind_of_day(curves):
    found = [sheet for sheet in sheets.sheets(curves) if "(LSOA), week" in sheet.title]
    assert [sheet.title.rsplit(", ", 1)[1] for sheet in found] == ["weekdays", "weekends"]
    assert found[0].table.shape == (3, 50)
    assert found[0].table["11:00"].tolist() == [70.0, "[c]", "[c]"]
    assert "No sum is of an LSOA's own homes" in found[0].about


def test_the_quality_page_says_what_they_rest_on(curves, release):
    text = quality_page.page(curves).decode()
    assert NOTE in text and "by half-hour of the day: Districts, MSOAs, LSOAs</li>" in text
    plain = quality_page.page(release).decode()
    assert NOTE not in plain and "by half-hour of the day: Districts, MSOAs</li>" in plain


def test_a_later_release_is_checked_against_them(folder):
    cells = {one.topic: one for one in read_footprints(folder)}["occupancy"].cells
    assert {cell.code: cell.published for cell in cells if cell.level == "LSOA"} == {
        SHOWN[0]: True,
        **{area[0]: False for area in HIDDEN},
    }


def test_a_release_with_them_is_compared_with_one_without(folder, published):
    before = read_release(published)
    later = read_release(folder)
    next_year = msgspec.structs.replace(later.study, reference_date=later.study.reference_date.replace(year=2027))
    found = change.changes(before, replace(later, study=next_year))
    by_level = {}
    for item in found:
        if item.names[3] == "occupancy":
            by_level.setdefault(item.names[2], set()).add(item.shorthand)
    assert by_level == {"LAD": {""}, "MSOA": {""}, "LSOA": {"[x]"}}
