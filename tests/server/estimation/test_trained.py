# SPDX-License-Identifier: Apache-2.0
"""Homes that trained the model say by their counts what the district's level is, and nothing else."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation.evidence import Evidence, drift_of
from skyglow_server.estimation.inputs import Part, find, trained_counts
from skyglow_server.estimation.observations import build
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.shares import share_estimates

MULTIPLE = 1.5  # the bound of class scores, by which a home that trained is counted


@pytest.fixture(scope="module")
def town(simulator):
    """A town's evidence and true shares."""
    rng = np.random.default_rng(8)
    areas = simulator.town(simulator.World(), rng)
    shares, sums = simulator.replicate(simulator.World(), areas, rng)
    return Evidence(areas, simulator.positive, sums["area_scores"], sums["class_scores"], sums["panel_labels"]), shares


def counted(evidence, shares, homes, noise):
    """Expected counts of so many homes that trained, drawn from all areas alike."""
    share = float(evidence.areas.weights("LAD")[0] @ shares)
    positive = evidence.positive
    mix = np.where(positive, share / positive.sum(), (1 - share) / (~positive).sum())
    return replace(evidence, trained=Part(homes * mix[:, None], np.array([noise]), 6))


def district(evidence, **chosen):
    return share_estimates(evidence, "topic", PLANNING, **chosen)[-1]


def test_many_homes_that_trained_settle_the_district(town):
    evidence, shares = town
    true = float(evidence.areas.weights("LAD")[0] @ shares)
    before, after = district(evidence), district(counted(evidence, shares, 20_000.0, 1.0))
    assert after.deviation < 0.6 * before.deviation
    assert abs(after.unclipped - true) < 3 * after.deviation < 3 * 0.006


def test_their_sampling_noise_and_privacy_noise_are_told(town):
    evidence, shares = town
    quiet = counted(evidence, shares, 1800.0, 1e-6)
    few, loud = counted(evidence, shares, 50.0, 1e-6), counted(evidence, shares, 1800.0, 1e6)
    assert district(quiet).deviation < 0.95 * district(few).deviation
    assert district(loud).deviation == pytest.approx(district(evidence).deviation, rel=1e-3)
    assert district(loud).unclipped == pytest.approx(district(evidence).unclipped, abs=1e-4)
    assert sum(district(quiet).parts.values()) == pytest.approx(district(quiet).deviation ** 2)
    told = district(quiet).parts.keys() - district(evidence).parts.keys()
    assert told == {"privacy noise of trained counts"}  # where none are counted, nothing is said of them


def test_the_row_is_one_of_the_panel(town):
    evidence, shares = town
    more = counted(evidence, shares, 1800.0, 3.0)
    share = drift_of(evidence).share
    plain, beside = (build(one, share, PLANNING) for one in (evidence, more))
    assert len(beside.residual) == len(plain.residual) + 1
    np.testing.assert_array_equal(beside.design[:-1], plain.design)
    np.testing.assert_allclose(beside.design[-1] / plain.design[-1], beside.design[-1].sum() / plain.design[-1].sum())
    assert beside.design[-1].sum() == pytest.approx(1800.0)
    sizes, times = beside.loadings["panel size"], 1800.0 / plain.design[-1].sum()
    known = plain.loadings["panel size"][-1] != 0  # where many calibrate, many more than noised counts say trained too
    np.testing.assert_allclose(sizes[-1, known], times * sizes[-2, known])
    own = beside.loadings["panel sampling"][-1]
    centre = float(evidence.areas.weights("LAD")[0] @ share)
    assert np.linalg.norm(own) == pytest.approx(np.sqrt(1800 * centre * (1 - centre)), rel=0.1)
    others = beside.loadings["panel sampling"][:-1]
    assert not others[:, own != 0].any()  # other homes than those that calibrate
    assert district(more, panel=False).deviation == pytest.approx(district(evidence, panel=False).deviation)


def test_an_old_share_that_was_worked_out_is_believed_less(town):
    evidence, _ = town
    rough = replace(evidence, rough=0.2)
    assert district(rough).deviation > 1.02 * district(evidence).deviation
    apart = drift_of(rough).covariance(0.1, 0.1, PLANNING) - drift_of(evidence).covariance(0.1, 0.1, PLANNING)
    h = drift_of(evidence).share * (1 - drift_of(evidence).share)
    np.testing.assert_allclose(apart, 0.2**2 * np.outer(h, h), atol=1e-15)


def test_a_part_of_a_larger_study_is_told_nothing_by_them(town, simulator):
    evidence, shares = town
    part = replace(evidence, mix=np.full(6, 1 / 6))
    assert district(counted(part, shares, 20_000.0, 1.0)) == district(part)


def test_counts_are_found_beside_the_calibration_homes_sums(town, simulator):
    evidence, _ = town
    study = simulator.study_of(evidence.areas)
    plain = next(block for block in study.blocks if block.source == "class_score")
    assert trained_counts(study, {}, simulator.topic) is None
    block = msgspec.structs.replace(plain, counts_trainers=True, l2_bound=MULTIPLE)
    phases = [
        msgspec.structs.replace(phase, blocks=tuple(block if one == plain else one for one in phase.blocks))
        for phase in study.phases
    ]
    study = msgspec.structs.replace(study, phases=tuple(phases))
    homes = np.arange(6.0)
    values = np.vstack([evidence.classes.values, np.c_[MULTIPLE * homes, np.zeros((6, 2))]])
    sums = {plain.name: Part(values, np.array([3.0, 3.0, 6.0]), 6)}
    found = trained_counts(study, sums, simulator.topic)
    np.testing.assert_allclose(found.values[:, 0], homes)
    np.testing.assert_allclose(found.deviation, [2.0])
    np.testing.assert_array_equal(find(study, sums, "class_score", simulator.topic).values, evidence.classes.values)
