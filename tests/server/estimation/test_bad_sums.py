# SPDX-License-Identifier: Apache-2.0
"""Sums as noise can make them at worst: every figure is withheld or has an ordered, finite interval."""

import math
from dataclasses import replace

import pytest

from skyglow_server import estimation


@pytest.fixture(scope="module")
def small(simulator):
    return simulator.small(4, lsoas=9, msoas=3, panel=400)


def changed(sums, name, rows, values):
    block = sums[name]
    new = block.values.copy()
    new[rows] = values
    return {**sums, name: replace(block, values=new)}


CASES = {
    "an area without scores": ("area_scores", 0, (0.0, 0.0)),
    "every area without scores": ("area_scores", slice(None), (0.0, 0.0)),
    "a negative count": ("area_scores", 0, (-30.0, 12.0)),
    "every count negative": ("area_scores", slice(None), (-30.0, 12.0)),
    "an empty class": ("class_scores", 0, (0.0, 0.0, 0.0)),
    "a negative class": ("class_scores", 0, (-12.0, 5.0, -3.0)),
    "an empty panel": ("class_scores", slice(None), (0.0, 0.0, 0.0)),
    "an MSOA without panel": ("panel_labels", 0, (0.0, 0.0)),
    "a negative panel": ("panel_labels", slice(None), (-9.0, -4.0)),
    "more positives than panel": ("panel_labels", 0, (5.0, 75.0)),
    "no diaries": ("diaries", 0, 0.0),
    "profiles beyond any home's": ("profiles", slice(None), 1e6),
}


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_withheld_or_ordered_and_finite(small, case):
    study, areas, sums = small
    name, rows, values = CASES[case]
    found = estimation.estimate(study, areas, changed(sums, name, rows, values))
    assert found
    for item in found:
        if item.status == "suppressed":
            assert item.reason
            assert item.estimate is None
        else:
            assert 0 <= item.lower <= item.estimate <= item.upper <= 1
            assert math.isfinite(item.unclipped)
            assert item.deviation > 0


def test_an_area_without_scores_is_withheld_and_so_is_what_gives_it_away(small):
    study, areas, sums = small
    found = estimation.estimate(study, areas, changed(sums, *CASES["an area without scores"]))
    assert {(item.area_code, item.reason) for item in found if item.level == "LSOA" and item.reason} > {
        (areas.codes["LSOA"][0], "least_homes")
    }


def test_without_any_counts_nothing_is_published(small):
    study, areas, sums = small
    found = estimation.estimate(study, areas, changed(sums, *CASES["every count negative"]))
    assert {item.status for item in found} == {"suppressed"}


def test_noise_cannot_make_an_area_of_few_homes_one_of_many(small):
    """The public table says that it has few: however many the noise adds, its figures are withheld, and a sibling's."""
    study, areas, sums = small
    few = areas.codes["MSOA"].index(max(areas.codes["MSOA"], key=areas.codes["MSOA"].count))
    households = areas.households.copy()
    households[few] = 12
    found = estimation.estimate(
        study, replace(areas, households=households), changed(sums, "area_scores", few, (400.0, -90.0))
    )
    withheld = {item.area_code: item.reason for item in found if item.level == "LSOA" and item.reason}
    assert withheld.pop(areas.codes["LSOA"][few]) == "least_homes"
    assert set(withheld.values()) == {"complementary"}
