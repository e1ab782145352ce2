# SPDX-License-Identifier: Apache-2.0
"""Electricity use of areas: intervals hold true means and medians, and bad sums give no nonsense."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT, median, median_checks, use_estimates
from skyglow_server.publication import words
from skyglow_shared.electricity import BOUND_KWH, EDGES_KWH, PARTS
from skyglow_shared.study import Block

SHAPE = np.array([0.18, 0.22, 0.25, 0.35])


def block(name, source, bound):
    return Block(name=name, source=source, l2_bound=bound, noise_multiplier=3.0)


@pytest.fixture(scope="module")
def study_of(simulator):
    def make(areas):
        study = simulator.study_of(areas)
        release = study.phases[-1]
        kept = tuple(one for one in release.blocks if one.source == "area_score")
        asked = (block("use", "area_use", 1.224745), block("bins", "area_use_histogram", 1.0))
        phases = (*study.phases[:-1], msgspec.structs.replace(release, blocks=(*kept, *asked)))
        return msgspec.structs.replace(study, phases=phases)

    return make


def town(simulator, seed, noise=3.0, rich=1.0):
    """(areas, true figures by place and group, sums) of a town whose homes use electricity."""
    rng = np.random.default_rng([7, seed])
    areas = simulator.town(replace(simulator.World(), lsoas=24, msoas=6), rng)
    size = areas.households.astype(int)
    area = np.repeat(np.arange(size.size), size)
    level = rich * 8 * np.exp(rng.normal(0, 0.15, size.size))[area] * np.exp(rng.normal(-0.2, 0.6, area.size))
    use = level[:, None] * rng.dirichlet(20 * SHAPE, area.size)
    use[rng.random(area.size) < 0.04] *= 0.005
    total = use.sum(axis=1)
    vacant = total < 0.3
    norm = np.linalg.norm(use / BOUND_KWH, axis=1)
    vectors = np.column_stack([np.ones(area.size), use / BOUND_KWH / np.maximum(norm, 1)[:, None], norm > 1, vacant])
    metered = rng.random(area.size) < 0.7
    sums = np.stack([np.bincount(area[metered], column[metered], size.size) for column in vectors.T], axis=1)
    weights = np.array([0.5, 1, 1, 1, 1, 0.5, 0.5])
    msoa = areas.membership("MSOA").argmax(axis=0)[area]
    bins = np.zeros((6, len(EDGES_KWH) + 1))
    np.add.at(bins, (msoa[metered], np.searchsorted(EDGES_KWH, total[metered], side="right")), 1.0)
    truth = {}
    for kind, place in (("LSOA", area), ("MSOA", msoa), ("LAD", np.zeros(area.size, dtype=int))):
        for row, (code, _) in enumerate(areas.areas(kind)):
            here = place == row
            truth[kind, code, ALL_DAY], truth[kind, code, VACANT] = total[here].mean(), vacant[here].mean()
            truth[kind, code, MEDIAN] = float(np.median(total[here]))
            truth |= {(kind, code, part): use[here, k].mean() for k, part in enumerate(PARTS)}
    found = {
        "use": simulator.noised(sums, noise * 1.224745 / weights, rng),
        "bins": simulator.noised(bins, noise, rng),
    }
    return areas, truth, found


def test_intervals_hold_the_truth(simulator, study_of):
    hits, off = {}, {}
    for seed in range(12):
        areas, truth, sums = town(simulator, seed)
        for item in use_estimates(study_of(areas), areas, sums):
            true = truth[item.level, item.area_code, item.group]
            hits.setdefault((item.level, item.group == MEDIAN), []).append(item.lower <= true <= item.upper)
            off.setdefault((item.level, item.group), []).append(item.unclipped - true)
            assert 0 <= item.lower <= item.estimate <= item.upper
            assert sum(item.parts.values()) == pytest.approx(item.deviation**2)
    for (level, _), found in hits.items():
        assert np.mean(found) > (0.7 if level == "LAD" else 0.92), "a district's figures are few and lean alike"
    assert -0.4 < np.mean(off["LAD", ALL_DAY]) < 0.05, "of about eight kWh a day; homes held to the bound lower it"
    assert abs(np.mean(off["LAD", VACANT])) < 0.01
    assert abs(np.mean(off["MSOA", MEDIAN])) < 0.2


def test_noise_of_sum_and_of_count_and_the_frame_are_in_the_variance(simulator, study_of):
    areas, _, sums = town(simulator, 8)
    item = next(one for one in use_estimates(study_of(areas), areas, sums) if one.group == PARTS[3])
    count, total = sums["use"].values[0, [0, 4]]
    of_count, of_total = sums["use"].deviation[[0, 4]]
    mean = total / count
    noise = BOUND_KWH**2 * (of_total**2 + mean**2 * of_count**2) / count**2
    frame = (1.2 * BOUND_KWH * mean) ** 2 * (1 / count - 1 / areas.households[0])
    assert item.area_code == areas.codes["LSOA"][0]
    assert item.parts == pytest.approx({"privacy noise of use": noise, "homes without a meter": frame})


def test_homes_beyond_the_bound_lift_the_upper_end_alone(simulator, study_of):
    areas, truth, sums = town(simulator, 3, noise=0.5, rich=1.8)
    items = {item.group: item for item in use_estimates(study_of(areas), areas, sums) if item.level == "LAD"}
    whole = items[ALL_DAY]
    assert whole.unclipped < truth["LAD", whole.area_code, ALL_DAY] < whole.upper, (
        "held use is too low, and is known to be"
    )
    assert whole.upper - whole.estimate > 2 * (whole.estimate - whole.lower)


def test_the_day_is_the_sum_of_its_parts(simulator, study_of):
    areas, _, sums = town(simulator, 4)
    by_group = {}
    for item in use_estimates(study_of(areas), areas, sums):
        by_group.setdefault(item.group, {})[item.level, item.area_code] = item.unclipped
    for place, value in by_group[ALL_DAY].items():
        assert sum(by_group[part][place] for part in PARTS) == pytest.approx(value)


@pytest.mark.parametrize("value", [0.0, -40.0, 1e6])
def test_sums_that_noise_has_spoilt_give_ordered_intervals(simulator, study_of, value):
    areas, _, sums = town(simulator, 5)
    spoilt = {name: replace(found, values=np.full_like(found.values, value)) for name, found in sums.items()}
    for item in use_estimates(study_of(areas), areas, spoilt):
        assert np.isfinite([item.lower, item.estimate, item.upper, item.deviation]).all()
        assert item.lower <= item.estimate <= item.upper


def test_a_median_is_where_half_are_below():
    counts = np.zeros(len(EDGES_KWH) + 1)
    counts[4], counts[9] = 500, 500  # 4 to 5 kWh, 9 to 10 kWh
    low, middle, high = median(counts, 0.0, 1000.0)
    assert low == middle == high
    assert middle == pytest.approx(5.0), "the least that half are below"
    low, middle, high = median(counts, 5.0, 2000.0)
    assert low < 5.0 < 9.0 < high, "which of the two it is cannot be said"
    assert median(np.full(20, -3.0), 5.0, 1000.0) == (0.0, 40.0, 80.0)


def test_disclosure_rules_withhold_use_too(simulator, study_of):
    areas, _, sums = town(simulator, 6)
    rng = np.random.default_rng(1)
    world = replace(simulator.World(), lsoas=24, msoas=6, panel=400)
    _, others = simulator.replicate(world, areas, rng)
    values = sums["use"].values.copy()
    values[0, 0] = 10.0
    study, sums = study_of(areas), {**sums, **others, "use": replace(sums["use"], values=values)}
    sums["diaries"] = simulator.noised(np.zeros((1, 2 + 8 * simulator.basis().components.shape[1])), 1.0, rng)
    record = estimation.checks(study, areas, sums)
    found = estimation.electricity(study, areas, sums, record)
    first = [item for item in found if item.area_code == areas.codes["LSOA"][0]]
    assert {item.reason for item in first} == {"least_homes"}
    assert {item.estimate for item in first} == {None}
    assert {item.reason for item in found if item.level == "LSOA"} == {"", "least_homes", "complementary"}
    plain = simulator.study_of(areas)
    assert estimation.electricity(plain, areas, sums, record) == ()


@pytest.mark.parametrize(
    ("homes", "told"), [(1500.0, True), (120.0, True), (20.0, False), (0.0, False), (-30.0, False)]
)
def test_a_median_that_noise_leaves_anywhere_is_not_available(simulator, study_of, homes, told):
    areas, _, sums = town(simulator, 9)
    bins = sums["bins"]
    counts = np.zeros_like(bins.values)
    counts[:, 3:10] = homes / 7
    sums = {**sums, "bins": replace(bins, values=counts, deviation=np.full_like(bins.deviation, 3.0))}
    study = study_of(areas)
    record = [check for check in median_checks(study, areas, sums) if check.level == "MSOA"]
    assert [check.passed for check in record] == [told] * 6
    assert {(check.rule, check.group) for check in record} == {("median_told", MEDIAN)}
    low, _, high = median(counts[0], 3.0, 4000.0)
    assert (high - low < 12) is told, "of the 80 kWh that bins reach over"


def test_the_median_alone_is_withheld_and_nothing_else_for_its_sake(simulator, study_of):
    areas, _, sums = town(simulator, 6)
    rng = np.random.default_rng(1)
    _, others = simulator.replicate(replace(simulator.World(), lsoas=24, msoas=6, panel=400), areas, rng)
    values = sums["bins"].values.copy()
    values[2] = rng.normal(0, sums["bins"].deviation[0], values.shape[1]) * 0.1
    study, sums = study_of(areas), {**sums, **others, "bins": replace(sums["bins"], values=values)}
    sums["diaries"] = simulator.noised(np.zeros((1, 2 + 8 * simulator.basis().components.shape[1])), 1.0, rng)
    found = estimation.electricity(study, areas, sums, estimation.checks(study, areas, sums))
    (hidden,) = [item for item in found if item.estimate is None]
    assert (hidden.level, hidden.group, hidden.area_code) == ("MSOA", MEDIAN, areas.areas("MSOA")[2][0])
    assert (hidden.reason, words.shorthand(hidden)) == ("median_told", "[x]")


def test_use_of_more_homes_than_households_is_withheld_and_no_other_topic(simulator, study_of):
    areas, _, sums = town(simulator, 6)
    rng = np.random.default_rng(1)
    _, others = simulator.replicate(replace(simulator.World(), lsoas=24, msoas=6, panel=400), areas, rng)
    study, sums = study_of(areas), {**sums, **others, "use": replace(sums["use"], values=8 * sums["use"].values)}
    sums["diaries"] = simulator.noised(np.zeros((1, 2 + 8 * simulator.basis().components.shape[1])), 1.0, rng)
    record = estimation.checks(study, areas, sums)
    assert {item.reason for item in estimation.electricity(study, areas, sums, record)} == {"count_fits"}
    assert {check.topic for check in record if check.rule == "count_fits" and check.passed} == {simulator.topic}
