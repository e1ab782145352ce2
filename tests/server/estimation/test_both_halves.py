# SPDX-License-Identifier: Apache-2.0
"""The whole panel's answers by area, beside class counts of the halves that calibrate and train."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation.diagnostics import diagnose
from skyglow_server.estimation.evidence import Evidence, panel_halves, panel_sizes
from skyglow_server.estimation.inputs import Part
from skyglow_server.estimation.observations import build
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.shares import districts, evidence_of, share_estimates

METERED, ASKED = 0.75, 0.1
QUIET = {"area_scores": 3.2, "class_scores": 3.5, "panel_labels": 1.0, "trained": 2.3}
HALVES = [(True, True), (True, False), (False, True), (False, False)]  # labels of both, class counts of both


def gathered(simulator, areas, sums, *, labels_of_all=True, trained=True):
    blocks = (sums[name] for name in ("area_scores", "class_scores", "panel_labels"))
    counts = sums["trained"] if trained else None
    return Evidence(areas, simulator.positive, *blocks, trained=counts, labels_of_all=labels_of_all)


def drawn(simulator, areas, exact, rng, *, labels_of_all, noise):
    """Sums of one draw of meters, panel and halves, homes [A, 2] being what they are: older or not."""
    place = areas.places("MSOA")
    homes = rng.binomial(exact, METERED)
    left = np.stack([np.bincount(place, column) for column in homes.T], axis=1).astype(int)
    wanted = ASKED * left.sum(axis=1) * (1 + rng.normal(0, PLANNING.panel_size_deviation, len(left)))
    size = rng.poisson(wanted.clip(0))
    older = rng.hypergeometric(left[:, 0], left[:, 1], size)
    half = rng.binomial(size, 1 / 2)
    own = rng.hypergeometric(older, size - older, half)
    labels = np.stack([size, 2 * older - size] if labels_of_all else [half, 2 * own - half], axis=1)
    classes = by_class(own, half)
    return {
        "area_scores": simulator.noised(np.stack([homes.sum(axis=1), 0 * homes[:, 0]], axis=1), 1e-3, rng),
        "class_scores": simulator.noised(np.column_stack([classes, 0 * classes, classes / 4]), noise[0], rng),
        "panel_labels": simulator.noised(labels.astype(float), noise[1], rng),
        "trained": simulator.noised(by_class(older - own, size - half), noise[0], rng),
    }


def by_class(older, size):
    """Counts [6, 1], all older ones of one class and all others of another."""
    return np.array([[older.sum()], [0], [(size - older).sum()], [0], [0], [0]], dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize(("labels_of_all", "trained"), HALVES)
@pytest.mark.parametrize("noise", [(1e-3, 1e-3), (1.0, np.array([5.0, 0.5]))], ids=["quiet", "noised"])
def test_errors_are_what_is_believed_of_them(simulator, labels_of_all, trained, noise):
    """Against plain draws: answers by MSOA, and the counts of both halves, err together as their loadings say."""
    rng, draws = np.random.default_rng(11), 3000
    areas = simulator.town(simulator.World(lsoas=24, msoas=12), rng)
    share = np.linspace(0.1, 0.9, 12)[areas.places("MSOA")]  # far apart, so that sizes matter too
    older = np.round(areas.households * share).astype(int)
    exact, share = np.stack([older, areas.households.astype(int) - older], axis=1), older / areas.households
    errors, believed = [], 0.0
    for _ in range(draws):
        sums = drawn(simulator, areas, exact, rng, labels_of_all=labels_of_all, noise=noise)
        evidence = gathered(simulator, areas, sums, labels_of_all=labels_of_all, trained=trained)
        system = build(evidence, share, PLANNING, meters=False)
        errors.append(system.residual - system.design @ share)
        believed = believed + sum(loading @ loading.T for loading in system.loadings.values()) / draws
    assert len(believed) == 13 + trained
    root = np.linalg.cholesky(believed)
    alike = np.linalg.solve(root, np.array(errors).T)
    wrong = alike @ alike.T / draws - np.eye(len(believed))
    slack = 0.1  # loadings leave out that all sizes together are known: on the safe side
    assert np.abs(wrong).max() < 5 / np.sqrt(draws) + slack


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_intervals_cover_with_both_halves(simulator, trained):
    world = simulator.World(both_halves=True)
    planning = replace(PLANNING, drift_lsoa=0.26, drift_msoa=0.12, turnover=1.0)  # as far as the world's areas drift
    covered = {level: [] for level in ("LSOA", "MSOA", "LAD")}
    for number in range(40):
        rng = np.random.default_rng([5, number])
        areas = simulator.town(world, rng)
        shares, sums = simulator.replicate(world, areas, rng)
        truth = simulator.truths(areas, shares)
        for item in share_estimates(gathered(simulator, areas, sums, trained=trained), "topic", planning):
            covered[item.level].append(item.lower <= truth[item.level, item.area_code] <= item.upper)
    assert 0.94 < np.mean(covered["LSOA"]) < 0.96
    assert 0.93 < np.mean(covered["MSOA"]) < 0.98
    assert np.mean(covered["LAD"]) > 0.87


@pytest.fixture(scope="module")
def town(simulator):
    """A town's areas, and sums of both halves and of the one that calibrates."""
    world = simulator.World(both_halves=True, noise=QUIET)
    areas = simulator.town(world, np.random.default_rng(2))
    _, both = simulator.replicate(world, areas, np.random.default_rng(3))
    _, one = simulator.replicate(replace(world, both_halves=False), areas, np.random.default_rng(3))
    return areas, both, one


def width(evidence, level, **chosen):
    items = [item for item in share_estimates(evidence, "topic", PLANNING, **chosen) if item.level == level]
    assert all(sum(item.parts.values()) == pytest.approx(item.deviation**2) for item in items)
    return float(np.mean([item.deviation for item in items]))


@pytest.mark.parametrize("trained", [True, False])
def test_the_other_halfs_answers_narrow_intervals(simulator, town, trained):
    areas, both, one = town
    more = gathered(simulator, areas, both, trained=trained)
    less = gathered(simulator, areas, {**both, **one}, labels_of_all=False, trained=trained)
    assert width(more, "MSOA", meters=False) < 0.97 * width(less, "MSOA", meters=False)
    assert width(more, "MSOA") < 0.99 * width(less, "MSOA")


def test_the_halves_and_their_sizes_are_found(simulator, town):
    areas, both, one = town
    halves = both["class_scores"].values[:, 0].sum(), both["trained"].values.sum()
    more = gathered(simulator, areas, both)
    assert panel_halves(more) == pytest.approx(halves)
    assert panel_halves(replace(more, trained=None)) == pytest.approx((halves[0], halves[0]))
    labelled = both["panel_labels"].values[:, 0].sum() / 2
    assert panel_halves(replace(more, mix=np.full(6, 1 / 6))) == pytest.approx((labelled, labelled))
    alone = gathered(simulator, areas, {**both, **one}, labels_of_all=False, trained=False)
    assert panel_halves(replace(alone, mix=np.full(6, 1 / 6)))[1] == one["panel_labels"].values[:, 0].sum()
    assert panel_sizes(more, PLANNING)[0].sum() == pytest.approx(sum(halves), rel=0.05)
    for evidence, homes in ((more, sum(halves)), (alone, one["class_scores"].values[:, 0].sum())):
        loud = Part(evidence.labels.values, np.full(2, 1e4), 6)  # so that nothing but the total is left
        assert panel_sizes(replace(evidence, labels=loud), PLANNING)[0].sum() == pytest.approx(homes, rel=0.01)


def test_whose_answers_there_are_is_read_from_the_study(simulator, town):
    areas, both, _ = town
    study = simulator.study_of(areas)
    for answer in (True, False):
        labels = msgspec.structs.replace(study.phases[0].blocks[1], counts_trainers=answer)
        blocks = (study.phases[0].blocks[0], labels, *study.phases[0].blocks[2:])
        phases = (msgspec.structs.replace(study.phases[0], blocks=blocks), *study.phases[1:])
        asked = msgspec.structs.replace(study, phases=phases)
        found = evidence_of(asked, asked.models[0], areas, both)
        assert found.labels_of_all is answer
        np.testing.assert_array_equal(found.labels.values, both["panel_labels"].values)


def test_answers_of_both_halves_are_held_against_counts_of_both(simulator, town):
    """And a district of more than one, whose halves nobody has counted, is estimated from its labels."""
    areas, both, _ = town
    for evidence in (gathered(simulator, areas, both, trained=trained) for trained in (True, False)):
        assert all(check.passed for check in diagnose(evidence, "topic"))
        wrong = replace(evidence, labels_of_all=False)  # as if half of all answers were of nobody
        assert next(check.rule for check in diagnose(wrong, "topic") if not check.passed) == "labels_agree"
    part = districts(replace(gathered(simulator, areas, both), mix=np.full(6, 1 / 6)))[0]
    assert len(build(part, np.full(152, 0.2), PLANNING, meters=False).residual) == 33
    loud = Part(both["trained"].values, np.array([1e6]), 6)
    silent = gathered(simulator, areas, {**both, "trained": loud})
    assert width(silent, "LAD") > width(gathered(simulator, areas, both), "LAD")
