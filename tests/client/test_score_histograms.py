# SPDX-License-Identifier: Apache-2.0
"""Histograms of scores: each home in the one bin of its score, whatever its readings and the weights."""

import numpy as np
import pytest

from skyglow_client.learning.contributions import contributions
from skyglow_shared.layout import SCORE_BINS
from skyglow_shared.models import logistic
from skyglow_shared.study import Block

NAME = "all_aged_66_plus"


def block(source):
    return Block(name="bins", source=source, model=NAME, l2_bound=1.0, noise_multiplier=4.0)


@pytest.fixture
def homes(make_homes):
    rng, number = np.random.default_rng(3), 600
    return make_homes(
        number,
        rng,
        metered=rng.random(number) < 0.9,
        composition=rng.integers(-1, 6, number).astype(np.int8),
        calibrates=rng.random(number) < 0.5,
    )


@pytest.mark.parametrize("source", ["area_histogram", "class_histogram"])
def test_a_home_is_in_exactly_one_bin(town, homes, source):
    study, weights = town.study(), np.random.default_rng(0).normal(0, 1, 23)
    part = contributions(study, block(source), homes, {NAME: weights})
    assert set(np.unique(part.vectors)) == {0.0, 1.0}
    np.testing.assert_array_equal(part.vectors.sum(axis=1), 1.0)
    panel = homes.metered & (homes.composition >= 0) & homes.calibrates
    cohort, groups = (homes.metered, homes.lsoa) if source == "area_histogram" else (panel, homes.composition)
    np.testing.assert_array_equal(part.groups, groups[cohort])
    score = logistic.scores(study.model(NAME), weights, homes.x[NAME])[cohort]
    middle = (part.vectors.argmax(axis=1) + 0.5) * 2 / SCORE_BINS - 1
    assert np.abs(score - middle).max() <= 1 / SCORE_BINS + 1e-12
    assert len(set(part.vectors.argmax(axis=1).tolist())) > 5


@pytest.mark.parametrize("size", [0.0, 1e150, np.inf, np.nan])
def test_a_score_that_is_no_number_is_in_no_bin_and_no_other(town, homes, size):
    weights = np.full(23, size) * np.where(np.arange(23) % 2, 1, -1)
    part = contributions(town.study(), block("area_histogram"), homes, {NAME: weights})
    assert set(part.vectors.sum(axis=1)) <= {0.0, 1.0}
    assert np.isfinite(size) == part.vectors.any()
