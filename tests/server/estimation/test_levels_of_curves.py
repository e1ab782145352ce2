# SPDX-License-Identifier: Apache-2.0
"""Curves of LSOAs, where a study asks for them: they agree with those of larger areas, under the same release rules."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.disclosure import Market, footprint_of, published
from skyglow_server.estimation.inputs import LEVELS

SLOTS = 96


@pytest.fixture(scope="module")
def asked(simulator):
    """(study that asks for curves of LSOAs, areas, sums)."""
    study, areas, sums = simulator.small(8, lsoas=12, msoas=3, panel=500)
    return with_levels(study, LEVELS), areas, sums


def with_levels(study, levels):
    occupancy = msgspec.structs.replace(study.occupancy, levels=tuple(levels))
    return msgspec.structs.replace(study, occupancy=occupancy)


def curves(estimates):
    return [item for item in estimates if item.topic == "occupancy"]


def with_homes(asked, place, homes):
    study, areas, sums = asked
    values = sums["area_scores"].values.copy()
    values[place] = (homes, 3.0)
    return study, areas, {**sums, "area_scores": replace(sums["area_scores"], values=values)}


def crowded(areas):
    """Where the first LSOA is of the MSOA that has most of them."""
    return areas.codes["MSOA"].index(max(areas.codes["MSOA"], key=areas.codes["MSOA"].count))


@pytest.mark.parametrize("levels", [("LSOA",), ("LSOA", "LAD"), ("LAD",), LEVELS])
def test_a_study_gets_the_curves_of_the_levels_that_it_names_and_no_others(asked, levels):
    study, areas, sums = asked
    found = curves(estimation.estimate(with_levels(study, levels), areas, sums))
    wanted = [(level, code) for level in levels for code, _ in areas.areas(level)]
    assert [(item.level, item.area_code) for item in found[::SLOTS]] == wanted
    assert len(found) == SLOTS * len(wanted)


def test_curves_of_lsoas_average_to_those_of_their_msoa_and_are_less_certain(asked):
    _, areas, _ = asked
    found = curves(estimation.estimate(*asked))
    by_level = {level: [item for item in found if item.level == level] for level in LEVELS}
    values, spread = (
        {level: np.array([getattr(item, of) for item in own]).reshape(-1, SLOTS) for level, own in by_level.items()}
        for of in ("unclipped", "deviation")
    )
    for level in ("MSOA", "LAD"):
        np.testing.assert_allclose(areas.weights(level) @ values["LSOA"], values[level], atol=1e-9)
    assert spread["LSOA"].mean() > spread["MSOA"].mean() > spread["LAD"].mean()
    assert np.ptp(values["LSOA"], axis=0).max() > 0.002, "kinds of homes set them apart"


def test_an_lsoa_of_few_homes_has_no_curve_nor_can_it_be_worked_out(asked):
    _, areas, _ = asked
    few = crowded(areas)
    spoilt = with_homes(asked, few, 12.0)
    found = curves(estimation.estimate(*spoilt))
    withheld = {(item.level, item.area_code): item.reason for item in found if item.status == "suppressed"}
    assert withheld.pop(("LSOA", areas.codes["LSOA"][few])) == "least_homes"
    (((level, sibling), reason),) = withheld.items()
    assert (level, reason) == ("LSOA", "complementary")
    assert areas.codes["MSOA"][areas.codes["LSOA"].index(sibling)] == areas.codes["MSOA"][few]
    hidden = [item for item in found if item.status == "suppressed"]
    assert len(hidden) == 2 * SLOTS
    assert all((item.estimate, item.lower, item.upper, item.unclipped) == (None,) * 4 for item in hidden)


def test_an_lsoa_that_is_one_suppliers_has_no_curve(asked):
    study, areas, sums = asked
    names = [supplier.name for supplier in study.suppliers]
    homes = {code: dict.fromkeys(names, 90.0) for code in study.lsoas}
    mine = study.lsoas[crowded(areas)]
    homes[mine] = {names[0]: 500.0, names[1]: 10.0, names[2]: 10.0}
    record = estimation.checks(study, areas, sums, market=Market(homes))
    failed = {
        (check.rule, check.level, check.area_code)
        for check in record
        if check.topic == "occupancy" and not check.passed
    }
    assert ("dominance", "LSOA", mine) in failed
    found = curves(estimation.estimate(study, areas, sums, record=record))
    assert {item.reason for item in found if item.area_code == mine} == {"dominance"}


def test_curves_of_lsoas_are_held_against_earlier_releases(asked, simulator):
    study, areas, sums = with_homes(asked, crowded(asked[1]), 20.0)
    record = estimation.checks(study, areas, sums)
    earlier = [published(footprint_of(study, "occupancy", LEVELS), record)]
    keep = np.arange(12) != crowded(areas)
    rest, scores = areas.part(keep), sums["area_scores"]
    second = with_levels(simulator.study_of(rest), LEVELS)
    fewer = {**sums, "area_scores": replace(scores, values=scores.values[keep])}
    failed = {
        check.level
        for check in estimation.checks(second, rest, fewer, earlier)
        if (check.topic, check.rule, check.passed) == ("occupancy", "differencing", False)
    }
    assert {"MSOA", "LAD"} <= failed, "less what was published before, they are twenty homes"
