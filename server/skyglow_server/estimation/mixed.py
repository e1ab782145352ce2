# SPDX-License-Identifier: Apache-2.0
"""One joint Gaussian linear mixed model of every area's share: Fay-Herriot in hierarchical form.

Prior, on the logit scale linearised at the old census share p with h = p(1 - p)::

    θ = p + h (β0 + β1 z + u_msoa + u_lsoa) + v,  β ~ N(0, B),  u_msoa ~ N(0, σ_M²),  u_lsoa ~ N(0, σ_L²)
    θ ~ N(p, Q),   Q = D_h [ B00 11ᵀ + B11 zzᵀ + σ_M² MᵀM + σ_L² I ] D_h + D_v

v ~ N(0, h/N): the N households of an area are themselves a draw, which matters most where p is small.

Data, each error a column of a loading with unit variance::

    y = c + H θ + Σ_k L_k e_k

One direction of these errors, the standard normal t with loading v on the data, also turns the design: it is that of a
slope, which is estimated and multiplies the shares. Holding the slope at its estimate is right only where it is known
well. So t is taken out of the loadings and given values; for each of them the model is linear again::

    r = y - c - H p - t v,   H_t = H + t D,   R = Σ_k L_k L_kᵀ - v vᵀ

Given (σ_L, σ_M, scale of one source, t)::

    S = H_t Q H_tᵀ + R,   G = Q H_tᵀ S⁻¹,   mean p + G r,   covariance Q - G H_t Q,
    log likelihood -½ (rᵀ S⁻¹ r + log|S|)

These four are integrated out over a grid, so that intervals carry the uncertainty about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]

SLOPE = "slope of the scores"
_TURNS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # values of t, which is standard normal before the data
_NEGLIGIBLE = 1e-10  # points of the grid with so small a share of the posterior cannot be seen in the result


@dataclass(frozen=True, slots=True)
class Turn:
    """How one standard normal direction t of the errors turns the design.

    Attributes
    ----------
    loading : ndarray, shape (n,)
        v: what t does to the data by itself.
    design : ndarray, shape (n, A)
        D: what it adds to H.
    sources : tuple of str
        The sources of error whose loadings contain it.
    """

    loading: Array
    design: Array
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class System:
    """Observations that are linear in the areas' shares.

    Attributes
    ----------
    residual : ndarray, shape (n,)
        y - c: what is left of the data after its known part.
    design : ndarray, shape (n, A)
        H.
    loadings : mapping of str to ndarray, shape (n, r_k)
        L_k of each source of error, already scaled by its standard deviation.
    scaled : str
        The source whose size the grid scales; empty for none.
    turn : Turn or None
    """

    residual: Array
    design: Array
    loadings: Mapping[str, Array]
    scaled: str = ""
    turn: Turn | None = None

    def at(self, drift: "Drift", t: float) -> tuple[Array, Array]:
        """What is left of the data at the old shares, and the design, for a value of t."""
        residual = self.residual - self.design @ drift.share
        if self.turn is None:
            return residual, self.design
        return residual - t * self.turn.loading, self.design + t * self.turn.design


class Point(NamedTuple):
    """A point of the grid."""

    lsoa: float
    msoa: float
    scale: float
    turn: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The prior: old shares p [A], their centred logits z [A], households N [A] and MSOA membership [M, A]."""

    share: Array
    logit: Array
    households: Array
    membership: Array

    def parts(self, planning: Planning) -> tuple[Array, Array, Array]:
        """Q's constant part, and what multiplies σ_L² and σ_M²."""
        h = self.share * (1 - self.share)
        around = np.outer(h, h)
        level = planning.drift_level_deviation**2
        slope = planning.drift_slope_deviation**2 * np.outer(self.logit, self.logit)
        fixed = around * (level + slope) + np.diag(h / self.households)
        return fixed, np.diag(h**2), around * (self.membership.T @ self.membership)

    def covariance(self, lsoa: float, msoa: float, planning: Planning) -> Array:
        """Q for given standard deviations of the LSOA and MSOA drifts, in logits."""
        fixed, by_lsoa, by_msoa = self.parts(planning)
        return np.asarray(fixed + lsoa**2 * by_lsoa + msoa**2 * by_msoa)


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
    """

    mean: Array
    covariance: Array
    turning: Array
    gain: Array
    weights: Mapping[Point, float]
    scaled_variance: float

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
        parts["area model"] = total - sum(parts.values(), np.zeros_like(total))
        return parts


def noise_covariance(system: System, scale: float) -> Array:
    """R = Σ L Lᵀ - v vᵀ with the scaled source's loadings times `scale`."""
    total = np.zeros((system.residual.size, system.residual.size))
    for name, loading in system.loadings.items():
        total += (scale**2 if name == system.scaled else 1.0) * (loading @ loading.T)
    return total if system.turn is None else total - np.outer(system.turn.loading, system.turn.loading)


def solve_at(system: System, drift: Drift, covariance: Array, noise: Array, t: float = 0.0) -> tuple[Array, ...]:
    """Mean, covariance and gain for a given prior covariance Q, error covariance R and value of t."""
    residual, design = system.at(drift, t)
    cross = design @ covariance
    factor = cho_factor(cross @ design.T + noise, lower=True, check_finite=False)
    gain = cho_solve(factor, cross, check_finite=False).T
    return drift.share + gain @ residual, covariance - gain @ cross, gain


def log_likelihoods(system: System, drift: Drift, planning: Planning) -> dict[Point, float]:
    """Log marginal likelihood at every point of the grid, but for a constant.

    S is linear in σ_L², σ_M² and scale², so that each point costs one factorisation.
    """
    scales = planning.score_deviation_multiples if system.scaled in system.loadings else (1.0,)
    grid, found = planning.drift_grid, {}
    noises = {scale: noise_covariance(system, scale) for scale in scales}
    for turn in _TURNS if system.turn is not None else (0.0,):
        residual, design = system.at(drift, turn)
        fixed, by_lsoa, by_msoa = (design @ part @ design.T for part in drift.parts(planning))
        for scale, lsoa in product(scales, grid):
            base = noises[scale] + fixed + lsoa**2 * by_lsoa
            for msoa in grid:
                factor = cho_factor(base + msoa**2 * by_msoa, lower=True, overwrite_a=True, check_finite=False)
                fitted = float(residual @ cho_solve(factor, residual, check_finite=False))
                point = Point(lsoa, msoa, scale, turn)
                found[point] = -0.5 * fitted - float(np.log(np.diag(factor[0])).sum())
    return found


def solve(system: System, drift: Drift, planning: Planning) -> Posterior:
    """Integrate the model over its grid.

    Weak priors: half-normal(`drift_scale`) on σ_L and σ_M, log-normal around one (sd 0.7) on the scale, standard normal
    on t; each grid point stands for an interval of its own width. Points without weight are left out.
    """
    widths = dict(zip(planning.drift_grid, np.log(np.gradient(planning.drift_grid)), strict=True))
    logs = {
        point: found
        - 0.5 * (point.lsoa**2 + point.msoa**2) / planning.drift_scale**2
        + widths[point.lsoa]
        + widths[point.msoa]
        - 0.5 * (np.log(point.scale) / 0.7) ** 2
        - 0.5 * point.turn**2
        for point, found in log_likelihoods(system, drift, planning).items()
    }
    best = max(logs.values())
    weights = {point: float(np.exp(log - best)) for point, log in logs.items()}
    whole = sum(weights.values())
    weights = {point: weight / whole for point, weight in weights.items() if weight > _NEGLIGIBLE * whole}
    return _mixture(system, drift, planning, weights)


def _mixture(system: System, drift: Drift, planning: Planning, weights: Mapping[Point, float]) -> Posterior:
    """Moments of the mixture of the grid's points."""
    noises = {scale: noise_covariance(system, scale) for scale in {point.scale for point in weights}}
    fixed, by_lsoa, by_msoa = drift.parts(planning)
    within, gain = np.zeros_like(fixed), np.zeros((drift.share.size, system.residual.size))
    means = []
    for point, weight in weights.items():
        covariance = fixed + point.lsoa**2 * by_lsoa + point.msoa**2 * by_msoa
        mean, own, own_gain = solve_at(system, drift, covariance, noises[point.scale], point.turn)
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
