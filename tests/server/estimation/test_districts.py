# SPDX-License-Identifier: Apache-2.0
"""A study of several districts: each is estimated as by itself, whatever the order and the number of processes."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.benchmark import Total
from skyglow_server.estimation.inputs import AreaTable
from skyglow_server.estimation.profiles import area_means
from skyglow_server.estimation.readers import READERS
from skyglow_server.estimation.shares import districts, evidence_of
from skyglow_shared.models import presence

BASIS = "presence_basis_v2"


def two_districts(areas):
    """The same areas with every second MSOA in another district."""
    order = sorted(set(areas.codes["MSOA"]))
    lads = tuple(f"E0600000{order.index(code) % 2 + 1}" for code in areas.codes["MSOA"])
    codes = {**areas.codes, "LAD": lads}
    names = {**areas.names, "LAD": tuple(f"District {code[-1]}" for code in lads)}
    return AreaTable(codes, names, areas.households, areas.counts)


@pytest.fixture(scope="module")
def country(simulator):
    """Two districts of one simulated country, with the study and its sums."""
    rng = np.random.default_rng(3)
    world = replace(simulator.World(), lsoas=24, msoas=6, panel=900)
    areas = two_districts(simulator.town(world, rng))
    _, sums = simulator.replicate(world, areas, rng)
    components = simulator.basis().components.shape[1]
    sums["profiles"] = simulator.noised(rng.normal(0, 20, (6, 2 * components + 1)), 1.0, rng)
    sums["diaries"] = simulator.noised(np.zeros((1, 2 * (1 + components) + 2)), 1.0, rng)
    return simulator.study_of(areas), areas, sums


@pytest.fixture(scope="module")
def estimates(country):
    return estimation.estimate(*country)


def test_every_area_is_estimated_once_and_levels_agree(country, estimates):
    _, areas, _ = country
    shares = [item for item in estimates if item.topic == "all_aged_66_plus"]
    wanted = [(level, code) for level in ("LSOA", "MSOA", "LAD") for code, _ in areas.areas(level)]
    assert [(item.level, item.area_code) for item in shares] == wanted
    values = {level: np.array([item.unclipped for item in shares if item.level == level]) for level in ("LSOA", "LAD")}
    np.testing.assert_allclose(values["LAD"], areas.weights("LAD") @ values["LSOA"])
    for item in shares:
        assert sum(item.parts.values()) == pytest.approx(item.deviation**2)


def test_processes_change_nothing(country, estimates):
    assert estimation.estimate(*country, workers=2) == estimates


def test_a_total_of_one_district_is_met_and_moves_no_other(country, estimates):
    _, areas, _ = country
    first = next(item for item in estimates if item.area_code == "E06000001")
    wanted = (first.unclipped + 0.01) * areas.totals("LAD", areas.households)[0]
    moved = estimation.estimate(*country, totals={(first.topic, "E06000001"): Total(wanted, 0.0)}, workers=2)
    place = {
        (level, code): areas.codes["LAD"][at] for level in areas.codes for at, code in enumerate(areas.codes[level])
    }
    for one, other in zip(estimates, moved, strict=True):
        theirs = one.topic != first.topic or place[one.level, one.area_code] == "E06000002"
        assert (one == other) == theirs
        if one == first:
            assert other.unclipped == pytest.approx(first.unclipped + 0.01)


def test_one_districts_sums_say_nothing_of_the_other(country, estimates):
    study, areas, sums = country
    lads = np.array(areas.codes["LAD"])
    scores = sums["area_scores"]
    values = scores.values.copy()
    values[lads == "E06000002", 1] += 40.0
    moved = estimation.estimate(study, areas, {**sums, "area_scores": replace(scores, values=values)})
    for one, other in zip(estimates, moved, strict=True):
        if one.level == "LAD" and one.topic == "all_aged_66_plus":
            assert (one.unclipped == other.unclipped) == (one.area_code == "E06000001")


def test_a_districts_evidence_is_its_own_rows(country):
    study, areas, sums = country
    parts = districts(evidence_of(study, study.models[0], areas, sums))
    sizes = [areas.codes["LAD"].count(code) for code, _ in areas.areas("LAD")]
    assert [len(part.areas.households) for part in parts] == sizes
    assert sum(len(part.labels.values) for part in parts) == len(study.msoas)
    assert all(part.classes is parts[0].classes for part in parts)
    assert parts[0].mix.sum() == pytest.approx(1)


def test_totals_are_those_of_the_membership(country):
    _, areas, _ = country
    for level in ("LSOA", "MSOA", "LAD"):
        np.testing.assert_allclose(areas.totals(level, areas.households), areas.membership(level) @ areas.households)


def test_district_curves_are_weighted_means_of_msoas(country, estimates):
    study, areas, sums = country
    found = [item for item in estimates if item.topic == "occupancy"]
    group = "weekday 18:00"
    msoas = {item.area_code: item.unclipped for item in found if item.level == "MSOA" and item.group == group}
    households = dict(zip(sorted(msoas), areas.totals("MSOA", areas.households), strict=True))
    lad_of = dict(zip(areas.codes["MSOA"], areas.codes["LAD"], strict=True))
    for item in found:
        if item.level == "LAD" and item.group == group:
            own = [code for code in msoas if lad_of[code] == item.area_code]
            weights = [households[code] for code in own]
            assert item.unclipped == pytest.approx(np.average([msoas[code] for code in own], weights=weights))
    means, _ = area_means(
        areas,
        sums["area_scores"],
        sums["profiles"],
        presence.load(BASIS),
        lack=0.0,
        reader=READERS["rule"],
        planning=estimation.PLANNING,
    )
    assert means["MSOA"].mean.shape[0] == len(study.msoas)
