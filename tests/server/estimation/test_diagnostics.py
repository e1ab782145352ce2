# SPDX-License-Identifier: Apache-2.0
"""Sums that cannot be of the same homes withhold a topic; sums that are, do not."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.publication import words


@pytest.fixture(scope="module")
def town(simulator):
    rng = np.random.default_rng(8)
    world = replace(simulator.World(), lsoas=20, msoas=5, panel=700)
    return world, simulator.town(world, rng)


def sums_of(simulator, world, areas, seed):
    return simulator.every_sum(world, areas, np.random.default_rng(seed))


def failed(simulator, areas, sums):
    record = estimation.checks(simulator.study_of(areas), areas, sums)
    return {check.rule for check in record if check.level == "study" and not check.passed}


def test_honest_sums_pass(simulator, town):
    world, areas = town
    for seed in range(20):
        assert failed(simulator, areas, sums_of(simulator, world, areas, seed)) == set()


@pytest.mark.parametrize(
    ("block", "column", "change", "rule"),
    [
        ("class_scores", 1, 0.8, "score_shift"),  # every home of the panel scores so much more
        ("panel_labels", 1, 1.5, "labels_agree"),  # so many more answers than homes that gave them
    ],
)
def test_sums_of_other_homes_withhold_the_topic(simulator, town, block, column, change, rule):
    world, areas = town
    sums = sums_of(simulator, world, areas, 1)
    values = sums[block].values.copy()
    values[:, column] += change * values[:, 0] if column == 1 and block == "class_scores" else change * 100
    spoilt = {**sums, block: replace(sums[block], values=values)}
    assert failed(simulator, areas, spoilt) == {rule}
    found = estimation.estimate(simulator.study_of(areas), areas, spoilt)
    shares = [item for item in found if item.topic == simulator.topic]
    assert {item.status for item in shares} == {"suppressed"}
    assert {item.reason for item in shares} == {rule}
    assert {words.shorthand(item) for item in shares} == {"[x]"}
    assert {item.status for item in found if item.topic == "occupancy"} == {"published"}


def test_answers_of_other_homes_withhold_the_topic(simulator):
    """Answers handed to the wrong homes agree in every total; only areas tell that scores follow what they deny."""
    noise = {"area_scores": 1.0, "class_scores": 2.0, "panel_labels": 4.0}
    world = replace(simulator.World(), panel=3000, noise=noise)
    areas = simulator.town(world, np.random.default_rng(2))
    for seed in range(4):
        assert failed(simulator, areas, sums_of(simulator, world, areas, seed)) == set()
        lying = replace(world, permuted=True)
        assert failed(simulator, areas, sums_of(simulator, lying, areas, seed)) == {"slopes_agree"}
        useless = replace(world, means=np.zeros(6))
        assert failed(simulator, areas, sums_of(simulator, useless, areas, seed)) == set()


def test_shares_that_drew_together_since_the_census_are_no_lie(simulator):
    """Areas differ by two thirds of what they did: scores follow the old table less closely, and answers are true."""
    noise = {"area_scores": 0.1, "class_scores": 0.1, "panel_labels": 0.1}
    world = replace(simulator.World(), panel=30_000, noise=noise, mix_drift=0.0, drifts=(0.0, 0.0, 0.0))
    areas = simulator.town(world, np.random.default_rng(2))
    kinds = areas.counts[:, :2].sum(axis=1, keepdims=True), areas.counts[:, 2:].sum(axis=1, keepdims=True)
    further = 1.5 * np.log(kinds[0] / kinds[1])  # what the table told when areas were further apart
    share = 1 / (1 + np.exp(-(further - further.mean() + np.log(kinds[0] / kinds[1]).mean())))
    old = areas.households[:, None] * np.hstack([share, 1 - share])
    told = np.hstack([areas.counts[:, :2] * old[:, :1] / kinds[0], areas.counts[:, 2:] * old[:, 1:] / kinds[1]])
    for seed in range(4):
        sums = sums_of(simulator, world, areas, seed)
        assert failed(simulator, replace(areas, counts=told), sums) == set()


def counting(sums, homes, block="area_scores"):
    """The sums where so many homes are counted in all, and their scores with them."""
    values = sums[block].values * (homes / sums[block].values[:, 0].sum())
    return {**sums, block: replace(sums[block], values=values)}


def test_more_homes_than_households_withhold_every_topic(simulator, town):
    world, areas = town
    sums, study = sums_of(simulator, world, areas, 1), simulator.study_of(areas)
    households, noise = areas.households.sum(), float(sums["area_scores"].deviation[0]) * np.sqrt(20)
    for homes in (0.1 * households, households, 1.05 * households + 2.9 * noise):
        assert "count_fits" not in failed(simulator, areas, counting(sums, homes))
    for homes in (1.05 * households + 3.1 * noise, 8 * households):
        assert "count_fits" in failed(simulator, areas, counting(sums, homes))
    found = estimation.estimate(study, areas, counting(sums, 8 * households))
    assert {item.topic for item in found} == {simulator.topic, "occupancy"}
    assert {(item.status, item.reason, words.shorthand(item)) for item in found} == {
        ("suppressed", "count_fits", "[x]")
    }


def test_the_count_of_homes_is_held_against_what_noise_can_add(simulator, town):
    """Of every household metered, noise alone seldom is the reason; of twice as many it never hides it."""
    world, areas = town
    full = replace(world, metered=1.0, noise=world.noise | {"area_scores": 100.0})
    for seed in range(20):
        sums = sums_of(simulator, full, areas, seed)
        assert "count_fits" not in failed(simulator, areas, sums)
        assert "count_fits" in failed(simulator, areas, counting(sums, 2 * areas.households.sum()))


@pytest.mark.parametrize("kind", [True, False])
def test_a_panel_without_homes_of_one_kind_withholds_the_topic(simulator, town, kind):
    """The old census has many; the noise in their counts must not pass for them."""
    world, areas = town
    for seed in range(4):
        sums = sums_of(simulator, world, areas, seed)
        values = sums["class_scores"].values.copy()
        noise = np.random.default_rng(seed).normal(0, sums["class_scores"].deviation, values.shape)
        values[simulator.positive == kind] = noise[simulator.positive == kind]
        spoilt = {**sums, "class_scores": replace(sums["class_scores"], values=values)}
        assert "both_kinds" in failed(simulator, areas, spoilt)
    found = estimation.estimate(simulator.study_of(areas), areas, spoilt)
    shares = [item for item in found if item.topic == simulator.topic]
    assert {item.status for item in shares} == {"suppressed"}
    assert {words.shorthand(item) for item in shares} == {"[x]"}


def test_a_kind_is_there_from_three_deviations_of_its_noise_on(simulator, town):
    world, areas = town
    sums = sums_of(simulator, world, areas, 1)
    noise = float(sums["class_scores"].deviation[0]) * np.sqrt(2)  # of the two strata that count
    for homes, rules in ((2.9, {"both_kinds"}), (3.1, set())):
        values = sums["class_scores"].values.copy()
        values[:2, 0] = homes * noise / 2
        few = {**sums, "class_scores": replace(sums["class_scores"], values=values)}
        assert failed(simulator, areas, few) & {"both_kinds"} == rules


@pytest.mark.parametrize("loud", [1.0, 8.0])
def test_an_honest_small_panel_is_not_withheld(simulator, loud):
    """A hundred and fifty homes of the panel; where noise may hide those that count, nothing tells that they lack."""
    noise = {"area_scores": 1.0, "class_scores": 1.3 * loud, "panel_labels": 2.0 * loud}
    world = replace(simulator.World(), lsoas=20, msoas=5, panel=150, noise=noise)
    areas = simulator.town(world, np.random.default_rng(8))
    for seed in range(20):
        assert failed(simulator, areas, sums_of(simulator, world, areas, seed)) == set()


def test_too_few_homes_to_compare_fail_no_comparison(simulator, town):
    world, areas = town
    sums = sums_of(simulator, world, areas, 1)
    empty = replace(sums["class_scores"], values=np.zeros((6, 3)))
    labels = replace(sums["panel_labels"], values=np.zeros((5, 2)))
    assert failed(simulator, areas, {**sums, "class_scores": empty, "panel_labels": labels}) == set()
    assert "both_kinds" in failed(simulator, areas, {**sums, "class_scores": empty})
