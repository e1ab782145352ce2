# SPDX-License-Identifier: Apache-2.0
"""What a home of each composition class scores on average, from the noised class sums of the calibration homes.

For a class with noised count n̂ and score sum T̂, of noise sds τ_n and τ_T, in linear (Fieller) form::

    T̂ = n̂ m + e,   Var e = n v + τ_T² + τ_n² m²      (noise of T̂, and of n̂ times m)

with the weak prior m ~ N(±0.3, 0.3²). With precision n̂²/Var e the posterior mean is m̂ = prior + k (T̂ - n̂ prior),
k = P n̂/Var e, where P is the posterior variance; a class with no homes keeps its prior.
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
    sampling : ndarray, shape (C, C)
        Loadings of the error from which homes are in the panel, and from the prior.
    sum_noise, count_noise : ndarray, shape (C, C)
        Loadings of the privacy noise in Σs and in n (the latter is shared with the panel's own counts).
    """

    mean: Array
    variance: Array
    sampling: Array
    sum_noise: Array
    count_noise: Array

    @property
    def covariance(self) -> Array:
        """Covariance of the means' errors, shape (C, C)."""
        parts = (self.sampling, self.sum_noise, self.count_noise)
        return np.asarray(sum((part @ part.T for part in parts), np.zeros_like(self.sampling)))


def class_means(block: BlockSum, positive: NDArray[np.bool_], planning: Planning) -> ClassMeans:
    """Posterior mean scores by class of the noised sums [C, 3] = (n, Σs, Σs²).

    Parameters
    ----------
    block : BlockSum
    positive : ndarray of bool, shape (C,)
        Which classes the model counts as one.
    """
    count, total = np.maximum(block.values[:, 0], 0.0), block.values[:, 1]
    count_noise, sum_noise, _ = block.deviation
    prior = np.where(positive, planning.class_mean, -planning.class_mean)
    prior_variance = planning.class_mean_deviation**2
    mean, variance = prior, np.full(count.shape, planning.score_variance)
    for _ in range(6):  # the error's variance depends on the mean itself; this settles at once
        error = count * variance + sum_noise**2 + (count_noise * mean) ** 2
        posterior = 1 / (1 / prior_variance + count**2 / error)
        k = posterior * count / error
        mean = np.clip(prior + k * (total - count * prior), -1.0, 1.0)
        variance = _within_variance(block, mean, planning)
    sampling = np.sqrt(k**2 * count * variance + (1 - k * count) ** 2 * prior_variance)
    return ClassMeans(
        mean,
        variance,
        np.diag(sampling),
        np.diag(k * sum_noise),
        np.diag(-k * mean * count_noise),
    )


def _within_variance(block: BlockSum, mean: Array, planning: Planning) -> Array:
    """Variance of scores within each class, n v̂ = Σs² - 2 m Σs + m² n, shrunk to the prior guess by its own noise."""
    count, total, square = np.maximum(block.values[:, 0], 0.0), block.values[:, 1], block.values[:, 2]
    noise = np.square(np.stack([mean**2, -2 * mean, np.ones_like(mean)], axis=1) * block.deviation).sum(axis=1)
    excess = square - 2 * mean * total + mean**2 * count
    belief = planning.score_variance_homes
    known = count**2 / (count**2 + belief * count + noise / planning.score_variance**2)
    estimate = np.divide(excess, count, out=np.zeros_like(count), where=count > 0)
    shrunk = known * estimate + (1 - known) * planning.score_variance
    return np.asarray(np.clip(shrunk, _LEAST_VARIANCE, 1.0), dtype=np.float64)
