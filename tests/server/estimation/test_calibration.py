# SPDX-License-Identifier: Apache-2.0
"""Class means from noised sums."""

import numpy as np
import pytest

from skyglow_server.estimation.calibration import class_means
from skyglow_server.estimation.planning import PLANNING

MEANS = np.array([0.39, -0.05, -0.3, -0.28, -0.36, -0.25])
POSITIVE = np.array([True, True, False, False, False, False])
COUNTS = np.array([190.0, 100, 360, 410, 430, 220])
MIX = COUNTS / COUNTS.sum()


def sums(count, mean=MEANS, variance=0.2):
    count = np.broadcast_to(np.asarray(count, dtype=float), mean.shape)
    return np.stack([count, count * mean, count * (variance + mean**2)], axis=1)


def test_large_noise_free_sums_give_the_means_and_variances(simulator):
    found = class_means(simulator.Sum(sums(1e6), 1e-6), POSITIVE, MIX, PLANNING)
    np.testing.assert_allclose(found.mean, MEANS, atol=1e-4)
    np.testing.assert_allclose(found.variance, 0.2, atol=1e-4)


@pytest.mark.parametrize("level", [-0.6, 0.0, 0.5])
@pytest.mark.parametrize("noise", [8.0, 60.0])
def test_sums_that_hold_noise_only_leave_the_slope_to_its_prior_at_any_level(simulator, level, noise):
    """Raw counts as noised as these, as a factor, would pull the level to zero; its prior does so by less than 0.1."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(300):
        exact = sums(COUNTS / 9, np.full(6, level))
        found.append(
            class_means(simulator.Sum(exact + rng.normal(0, noise, exact.shape), noise), POSITIVE, MIX, PLANNING)
        )
    contrast = np.where(POSITIVE, MIX / MIX[POSITIVE].sum(), -MIX / MIX[~POSITIVE].sum())
    slopes = np.array([contrast @ one.mean for one in found])
    deviations = np.array([np.sqrt(contrast @ one.covariance @ contrast) for one in found])
    assert (np.abs(slopes) < 1.96 * deviations).mean() > 0.9
    if noise < 10:
        assert np.mean([MIX @ one.mean for one in found]) == pytest.approx(level, abs=0.1)


def test_a_class_without_calibration_homes_follows_the_others(simulator):
    block = simulator.Sum(sums(300.0, MEANS - 0.4), 8.0)
    block.values[5] = (0.0, 5.0, -3.0)
    found = class_means(block, POSITIVE, MIX, PLANNING)
    assert found.mean[5] == pytest.approx(np.mean(MEANS[2:5] - 0.4), abs=0.15)
    assert np.sqrt(found.covariance[5, 5]) > 0.7 * PLANNING.class_own_deviation
    assert np.isfinite(found.covariance).all()


def test_standardised_errors_have_unit_spread(simulator):
    """2,000 draws of six classes: the pooled variance of errors over claimed sd is within 6 % of one.

    Its standard error is 1.3 %; the means are drawn from the prior, so that the claim is exact but for the plug-in
    variances. Chance of a false alarm with fresh seeds below 1 in 1,000.
    """
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(2000):
        shared = rng.normal(0, 0.2) + np.where(POSITIVE, 0.5, -0.5) * rng.normal(0.4, 0.3)
        truth = np.clip(shared + rng.normal(0, 0.2, 6), -0.9, 0.9)
        exact = sums(COUNTS, truth)
        exact[:, 1] += rng.normal(0, np.sqrt(COUNTS * 0.2))
        noised = simulator.Sum(exact + rng.normal(0, 8.6, exact.shape), 8.6)
        found = class_means(noised, POSITIVE, MIX, PLANNING)
        ratios.append((found.mean - truth) / np.sqrt(np.diag(found.covariance)))
    assert np.square(ratios).mean() == pytest.approx(1, abs=0.06)
    assert np.abs(np.mean(ratios, axis=0)).max() < 0.15
