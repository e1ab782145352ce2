# SPDX-License-Identifier: Apache-2.0
"""The grid of (σ_L, σ_M, scale, t, λ) over which the mixed model is integrated, and which of its points matter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from skyglow_server.estimation.mixed import Drift, Point, System, noise_covariance
from skyglow_server.estimation.neighbours import NEARNESS
from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]

_TURNS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # values of t, which is standard normal before the data
_NEGLIGIBLE = -9.0  # points with e⁻⁹ of the best one's weight are not looked at
_KEPT = 0.999  # of the weight: lighter points cannot be seen in the result


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's values of (σ_L, σ_M, scale, t, λ) and what they are worth before the data.

    Weak priors: log-normal around `drift_lsoa` and `drift_msoa` (sd `drift_spread`) on σ_L and σ_M, around one (sd 0.7)
    on the scale, standard normal on t, none of λ likelier than another; each value stands for an interval of its own
    width.
    """

    values: tuple[tuple[float, ...], ...]
    priors: tuple[Array, ...]

    @classmethod
    def of(cls, system: System, drift: Drift, planning: Planning) -> "Grid":
        """The grid for a system: without a source to scale, a turn, or neighbours, that direction has one value."""
        drifts = np.array(planning.drift_grid)
        scales = planning.score_deviation_multiples if system.scaled in system.loadings else (1.0,)
        turns = _TURNS if system.turn is not None else (0.0,)
        nearness = NEARNESS if drift.neighbours is not None else (0.0,)
        width = np.log(np.gradient(drifts) / drifts)
        medians = (planning.drift_lsoa, planning.drift_msoa)
        drifts_worth = [width - 0.5 * (np.log(drifts / median) / planning.drift_spread) ** 2 for median in medians]
        scaled = -0.5 * (np.log(np.array(scales)) / 0.7) ** 2
        values = (planning.drift_grid, planning.drift_grid, tuple(scales), turns, nearness)
        return cls(values, (*drifts_worth, scaled, -0.5 * np.square(turns), np.zeros(len(nearness))))

    def point(self, place: tuple[int, ...]) -> Point:
        """The point at a place of the grid."""
        return Point(*(values[at] for values, at in zip(self.values, place, strict=True)))

    def prior(self, place: tuple[int, ...]) -> float:
        """Log prior there, but for a constant."""
        return float(sum(prior[at] for prior, at in zip(self.priors, place, strict=True)))

    def neighbours(self, place: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """The places one step away."""
        for way, at in enumerate(place):
            for step in (at - 1, at + 1):
                if 0 <= step < len(self.values[way]):
                    yield (*place[:way], step, *place[way + 1 :])


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log marginal likelihood at points of the grid; S is linear in σ_L², σ_M², scale²: one factorisation a point."""

    system: System
    drift: Drift
    planning: Planning
    _noises: dict[float, Array] = field(default_factory=dict)
    _parts: dict[tuple[float, float], tuple[Array, ...]] = field(default_factory=dict)

    def at(self, point: Point) -> float:
        """Log likelihood, but for a constant."""
        if point.scale not in self._noises:
            self._noises[point.scale] = noise_covariance(self.system, point.scale)
        turned = point.turn, point.nearness
        if turned not in self._parts:
            residual, design = self.system.at(self.drift.expected(self.planning), point.turn)
            parts = (design @ part @ design.T for part in self.drift.parts(self.planning, point.nearness))
            self._parts[turned] = (residual, *parts)
        residual, fixed, by_lsoa, by_msoa = self._parts[turned]
        covariance = self._noises[point.scale] + fixed + point.lsoa**2 * by_lsoa + point.msoa**2 * by_msoa
        factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        fitted = float(residual @ cho_solve(factor, residual, check_finite=False))
        return -0.5 * fitted - float(np.log(np.diag(factor[0])).sum())


def grid_weights(system: System, drift: Drift, planning: Planning) -> dict[Point, float]:
    """Posterior weights of the grid's points that have any, found by walking uphill and then outwards.

    The best point seen is always the next whose neighbours are looked at, and none is whose weight is negligible beside
    it: of a thousand points a hundred are looked at.
    """
    grid, likelihood = Grid.of(system, drift, planning), Likelihood(system, drift, planning)
    start = tuple(len(values) // 2 for values in grid.values)
    logs = {start: likelihood.at(grid.point(start)) + grid.prior(start)}
    best, waiting = logs[start], [(-logs[start], start)]
    while waiting:
        log, place = heappop(waiting)
        if -log < best + _NEGLIGIBLE:
            break
        for other in grid.neighbours(place):
            if other not in logs:
                logs[other] = likelihood.at(grid.point(other)) + grid.prior(other)
                best = max(best, logs[other])
                heappush(waiting, (-logs[other], other))
    heaviest = sorted(logs, key=lambda place: -logs[place])
    weights = np.exp([logs[place] - best for place in heaviest])
    kept = int(np.searchsorted(np.cumsum(weights), _KEPT * weights.sum())) + 1
    whole = weights[:kept].sum()
    return {grid.point(place): float(weight / whole) for place, weight in zip(heaviest[:kept], weights, strict=False)}
