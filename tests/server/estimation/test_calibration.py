# SPDX-License-Identifier: Apache-2.0
"""Class means from noised sums."""

import numpy as np
import pytest

from skyglow_server.estimation.calibration import class_means
from skyglow_server.estimation.planning import PLANNING

MEANS = np.array([0.39, -0.05, -0.3, -0.28, -0.36, -0.25])
POSITIVE = np.array([True, True, False, False, False, False])


def sums(count, mean=MEANS, variance=0.2):
    count = np.broadcast_to(np.asarray(count, dtype=float), mean.shape)
    return np.stack([count, count * mean, count * (variance + mean**2)], axis=1)


def test_large_noise_free_sums_give_the_means_and_variances(simulator):
    found = class_means(simulator.Sum(sums(1e6), 1e-6), POSITIVE, PLANNING)
    np.testing.assert_allclose(found.mean, MEANS, atol=1e-4)
    np.testing.assert_allclose(found.variance, 0.2, atol=1e-4)


@pytest.mark.parametrize("count", [0.0, -20.0])
def test_a_class_without_homes_keeps_its_prior(simulator, count):
    block = simulator.Sum(sums(300.0), 8.0)
    block.values[1] = (count, 5.0, -3.0)
    found = class_means(block, POSITIVE, PLANNING)
    assert found.mean[1] == pytest.approx(0.3)
    assert found.covariance[1, 1] == pytest.approx(0.3**2)
    assert np.isfinite(found.covariance).all()


def test_standardised_errors_have_unit_spread(simulator):
    """2,000 draws of six classes: the pooled variance of errors over claimed sd is within 6 % of one.

    Its standard error is 1.3 %; the means of classes 0 … 5 are drawn from the prior, so that the claim is exact but for
    the plug-in variances. Chance of a false alarm with fresh seeds below 1 in 1,000.
    """
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(2000):
        truth = np.clip(rng.normal(np.where(POSITIVE, 0.3, -0.3), 0.25), -0.9, 0.9)
        count = np.array([190.0, 100, 360, 410, 430, 220])
        exact = sums(count, truth)
        exact[:, 1] += rng.normal(0, np.sqrt(count * 0.2))
        found = class_means(simulator.Sum(exact + rng.normal(0, 8.6, exact.shape), 8.6), POSITIVE, PLANNING)
        ratios.append((found.mean - truth) / np.sqrt(np.diag(found.covariance)))
    assert np.square(ratios).mean() == pytest.approx(1, abs=0.06)
    assert np.abs(np.mean(ratios, axis=0)).max() < 0.15
