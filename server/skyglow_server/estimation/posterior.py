# SPDX-License-Identifier: Apache-2.0
"""The mixed model's posterior: a mixture of Gaussians over its grid, and where its variance comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.grid import grid_weights
from skyglow_server.estimation.mixed import Drift, Point, System, noise_covariance, solve_at
from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]

SLOPE = "slope of the scores"


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and covariance of the shares, mean gain, and the grid's weights.

    Attributes
    ----------
    mean : ndarray, shape (A,)
    covariance : ndarray, shape (A, A)
        Within the grid's points and between them.
    turning : ndarray, shape (A, A)
        The part of it between values of t.
    gain : ndarray, shape (A, n)
        Weighted mean of the gains: how the estimate answers to each observation.
    weights : mapping of Point to float
    scaled_variance : float
        Posterior mean of scale².
    further : mapping of str to ndarray, shape (A, m)
        By source, loadings of errors that are not of the system's data: of what the shares were made to agree with.
    """

    mean: Array
    covariance: Array
    turning: Array
    gain: Array
    weights: Mapping[Point, float]
    scaled_variance: float
    further: Mapping[str, Array] = field(default_factory=dict)

    def parts(self, system: System, rows: Array) -> dict[str, Array]:
        """Variance of linear combinations rows [m, A] of the estimate by source of error; adds up to the total."""
        total = np.einsum("ma,ab,mb->m", rows, self.covariance, rows)
        parts = {}
        for name, loading in system.loadings.items():
            factor = self.scaled_variance if name == system.scaled else 1.0
            parts[name] = factor * np.square(rows @ (self.gain @ loading)).sum(axis=1)
        if system.turn is not None:
            whole = np.maximum(sum(parts[name] for name in system.turn.sources), np.finfo(float).tiny)
            kept = 1 - np.square(rows @ (self.gain @ system.turn.loading)) / whole
            parts |= {name: parts[name] * kept for name in system.turn.sources}
            parts[SLOPE] = np.einsum("ma,ab,mb->m", rows, self.turning, rows)
        parts |= {name: np.square(rows @ loading).sum(axis=1) for name, loading in self.further.items()}
        parts["area model"] = total - sum(parts.values(), np.zeros_like(total))
        return parts


def solve(system: System, drift: Drift, planning: Planning) -> Posterior:
    """Integrate the model over its grid."""
    return _mixture(system, drift, planning, grid_weights(system, drift, planning))


def _mixture(system: System, drift: Drift, planning: Planning, weights: Mapping[Point, float]) -> Posterior:
    """Moments of the mixture of the grid's points."""
    noises = {scale: noise_covariance(system, scale) for scale in {point.scale for point in weights}}
    expected = drift.expected(planning)
    parts = {nearness: drift.parts(planning, nearness) for nearness in {point.nearness for point in weights}}
    within = np.zeros((drift.share.size, drift.share.size))
    gain = np.zeros((drift.share.size, system.residual.size))
    means = []
    for point, weight in weights.items():
        fixed, by_lsoa, by_msoa = parts[point.nearness]
        covariance = fixed + point.lsoa**2 * by_lsoa + point.msoa**2 * by_msoa
        mean, own, own_gain = solve_at(system, expected, covariance, noises[point.scale], point.turn)
        within += weight * own
        gain += weight * own_gain
        means.append(mean)
    by_weight = np.array(list(weights.values()))
    mean = by_weight @ np.array(means)
    turns = np.array([point.turn for point in weights])
    slices = [(by_weight[turns == t].sum(), turns == t) for t in np.unique(turns)]
    by_turn = np.array([np.sqrt(w) * (by_weight[at] @ np.array(means)[at] / w - mean) for w, at in slices])
    spread = np.sqrt(by_weight)[:, None] * (np.array(means) - mean)
    scaled = float(by_weight @ np.square([point.scale for point in weights]))
    return Posterior(mean, within + spread.T @ spread, by_turn.T @ by_turn, gain, weights, scaled)
