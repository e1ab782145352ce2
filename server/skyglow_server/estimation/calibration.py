# SPDX-License-Identifier: Apache-2.0
"""What a home of each composition class scores on average, from the noised class sums of the calibration homes.

Prior. Classes share an unknown level c, which may lie anywhere, and differ by an unknown slope g, which may be zero::

    m_c = c ± g/2 + ε_c,   c ~ N(0, large²),   g ~ N(slope, slope_deviation²),   ε_c ~ N(0, own²)

Here the level is learnt from few homes; the sums of the areas, which hold all of them, settle it (`observations`).

Counts. A noised count as a regressor would pull the means towards zero, so n̂ is first shrunk to what the panel's size
and the old census lead to expect, n* = w n̂ + (1 - w) n₀; then n - n* does not depend on n*, and with noise ν of n̂ and
e of T̂::

    T̂ = n* m + [scores within the class, n v] + e + m [(1 - w)(n - n₀) - w ν]

The posterior mean is m̂ = prior + K (T̂ - n* prior); each source of the error m̂ - m is kept apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import BlockSum
from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]

_LEAST_VARIANCE = 0.01


@dataclass(frozen=True, slots=True)
class ClassMeans:
    """Mean score by class and the sources of its error.

    Attributes
    ----------
    mean : ndarray, shape (C,)
    variance : ndarray, shape (C,)
        Variance of scores within a class.
    sampling : ndarray, shape (C, 2C)
        Loadings of the error from the prior, and from which homes are in the panel.
    sum_noise, count_noise : ndarray, shape (C, C)
        Loadings of the privacy noise in Σs and in n (the latter is shared with the panel's own counts).
    """

    mean: Array
    variance: Array
    sampling: Array
    sum_noise: Array
    count_noise: Array

    @property
    def loadings(self) -> tuple[Array, Array, Array]:
        """The three sources, in the order above."""
        return self.sampling, self.sum_noise, self.count_noise

    @property
    def covariance(self) -> Array:
        """Covariance of the means' errors, shape (C, C)."""
        loading = np.concatenate(self.loadings, axis=1)
        return np.asarray(loading @ loading.T)


def class_means(block: BlockSum, positive: NDArray[np.bool_], mix: Array, planning: Planning) -> ClassMeans:
    """Posterior mean scores by class of the noised sums [C, 3] = (n, Σs, Σs²).

    Parameters
    ----------
    block : BlockSum
    positive : ndarray of bool, shape (C,)
        Which classes the model counts as one.
    mix : ndarray, shape (C,)
        Shares of homes by class that the old census leads to expect.
    planning : Planning
    """
    total, (count_noise, sum_noise, _) = block.values[:, 1], block.deviation
    count, trust, doubt = _counts(block, mix, planning)
    prior, spread = _prior(positive, planning)
    expected = prior @ spread @ prior.T
    centre = np.where(positive, 0.5, -0.5) * planning.class_slope
    mean, variance = centre, np.full(count.shape, planning.score_variance)
    copies = np.maximum(count / np.array(planning.class_distinct_homes or count.clip(1)), 1.0)
    for _ in range(6):  # the error's variance depends on the mean itself; this settles at once
        own = np.sqrt(count * copies * variance + doubt * mean**2)
        error = own**2 + sum_noise**2 + (trust * count_noise * mean) ** 2
        covariance = count[:, None] * expected * count + np.diag(error)
        gain = np.linalg.solve(covariance, count[:, None] * expected).T
        mean = np.clip(centre + gain @ (total - count * centre), -1.0, 1.0)
        variance = _within_variance(block, count, mean, planning)
    left = (np.eye(count.size) - gain * count) @ prior @ np.sqrt(spread)
    return ClassMeans(
        mean,
        variance,
        np.concatenate([-left, gain * own], axis=1),
        gain * sum_noise,
        -gain * (trust * mean * count_noise),
    )


def contrast(mix: Array, positive: NDArray[np.bool_]) -> Array:
    """How much each class's mean [C] counts in the slope: its share of a mix within positives, less within others."""
    return np.asarray(mix * positive / (mix @ positive) - mix * ~positive / (mix @ ~positive))


def _prior(positive: NDArray[np.bool_], planning: Planning) -> tuple[Array, Array]:
    """Effects [C, 2 + C] of level, slope and own deviation on the means, and their variances as a diagonal matrix."""
    effects = np.column_stack([np.ones(positive.size), np.where(positive, 0.5, -0.5), np.eye(positive.size)])
    own = [planning.class_own_deviation] * positive.size
    return effects, np.diag(np.square([planning.class_level_deviation, planning.class_slope_deviation, *own]))


def _counts(block: BlockSum, mix: Array, planning: Planning) -> tuple[Array, Array, Array]:
    """n*, the trust w in the noised count, and the variance of (1 - w)(n - n₀), each of shape (C,)."""
    counted = block.values[:, 0]
    expected = max(float(counted.sum()), 1.0) * mix
    prior = (planning.class_size_deviation * expected) ** 2 + expected
    trust = prior / (prior + block.deviation[0] ** 2)
    count = np.maximum(trust * counted + (1 - trust) * expected, 0.0)
    return count, trust, (1 - trust) ** 2 * prior


def _within_variance(block: BlockSum, count: Array, mean: Array, planning: Planning) -> Array:
    """Variance of scores within each class, n v̂ = Σs² - 2 m Σs + m² n, shrunk to the prior guess by its own noise."""
    total, square = block.values[:, 1], block.values[:, 2]
    noise = np.square(np.stack([mean**2, -2 * mean, np.ones_like(mean)], axis=1) * block.deviation).sum(axis=1)
    excess = square - 2 * mean * total + mean**2 * count
    belief = planning.score_variance_homes
    known = count**2 / (count**2 + belief * count + noise / planning.score_variance**2)
    estimate = np.divide(excess, count, out=np.zeros_like(count), where=count > 0)
    shrunk = known * estimate + (1 - known) * planning.score_variance
    return np.asarray(np.clip(shrunk, _LEAST_VARIANCE, 1.0), dtype=np.float64)
