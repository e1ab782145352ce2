# SPDX-License-Identifier: Apache-2.0
"""One joint Gaussian linear mixed model of every area's share: Fay-Herriot in hierarchical form.

Prior, on the logit scale linearised at the old census share p with h = p(1 - p)::

    θ = p + h (β0 + β1 z + u_msoa + u_lsoa) + v,  β ~ N(0, B),  u_msoa ~ N(0, σ_M²),  u_lsoa ~ N(0, σ_L²)
    θ ~ N(p, Q),   Q = D_h [ B00 11ᵀ + B11 zzᵀ + σ_M² MᵀM + σ_L² I ] D_h + D_v

v ~ N(0, h/N): the N households of an area are themselves a draw, which matters most where p is small.

Data, each error a column of a loading with unit variance::

    y = c + H θ + Σ_k L_k e_k,    R = Σ_k L_k L_kᵀ

Given (σ_L, σ_M, scale of one source), with r = y - c - H p::

    S = H Q Hᵀ + R,   G = Q Hᵀ S⁻¹,   mean p + G r,   covariance Q - G H Q,   log likelihood -½ (rᵀ S⁻¹ r + log|S|)

These three are integrated out over a grid, so that intervals carry the uncertainty about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]


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
    """

    residual: Array
    design: Array
    loadings: Mapping[str, Array]
    scaled: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """The prior: old shares p [A], their centred logits z [A], households N [A] and MSOA membership [M, A]."""

    share: Array
    logit: Array
    households: Array
    membership: Array

    def covariance(self, lsoa: float, msoa: float, planning: Planning) -> Array:
        """Q for given standard deviations of the LSOA and MSOA drifts, in logits."""
        inner = (
            planning.drift_level_deviation**2
            + planning.drift_slope_deviation**2 * np.outer(self.logit, self.logit)
            + msoa**2 * self.membership.T @ self.membership
            + lsoa**2 * np.eye(self.share.size)
        )
        h = self.share * (1 - self.share)
        return np.asarray(h[:, None] * inner * h[None, :] + np.diag(h / self.households), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and covariance of the shares, mean gain, and the grid's weights.

    Attributes
    ----------
    mean : ndarray, shape (A,)
    covariance : ndarray, shape (A, A)
        Within the grid's points and between them.
    gain : ndarray, shape (A, n)
        Weighted mean of the gains: how the estimate answers to each observation.
    weights : mapping of (σ_L, σ_M, scale) to float
    scaled_variance : float
        Posterior mean of scale².
    """

    mean: Array
    covariance: Array
    gain: Array
    weights: Mapping[tuple[float, float, float], float]
    scaled_variance: float

    def parts(self, system: System, rows: Array) -> dict[str, Array]:
        """Variance of linear combinations rows [m, A] of the estimate by source of error; adds up to the total."""
        total = np.einsum("ma,ab,mb->m", rows, self.covariance, rows)
        parts = {}
        for name, loading in system.loadings.items():
            factor = self.scaled_variance if name == system.scaled else 1.0
            parts[name] = factor * np.square(rows @ (self.gain @ loading)).sum(axis=1)
        parts["area model"] = total - sum(parts.values(), np.zeros_like(total))
        return parts


def noise_covariance(system: System, scale: float) -> Array:
    """R = Σ L Lᵀ with the scaled source's loadings times `scale`."""
    total = np.zeros((system.residual.size, system.residual.size))
    for name, loading in system.loadings.items():
        total += (scale**2 if name == system.scaled else 1.0) * (loading @ loading.T)
    return total


def solve_at(system: System, drift: Drift, covariance: Array, noise: Array) -> tuple[Array, Array, Array, float]:
    """Mean, covariance, gain and log marginal likelihood for a given prior covariance Q and error covariance R."""
    cross = system.design @ covariance
    residual = system.residual - system.design @ drift.share
    factor = cho_factor(cross @ system.design.T + noise, lower=True, check_finite=False)
    gain = cho_solve(factor, cross, check_finite=False).T
    fitted = cho_solve(factor, residual, check_finite=False)
    likelihood = -0.5 * float(residual @ fitted) - float(np.log(np.diag(factor[0])).sum())
    return drift.share + gain @ residual, covariance - gain @ cross, gain, likelihood


def solve(system: System, drift: Drift, planning: Planning) -> Posterior:
    """Integrate the model over its grid of standard deviations and of the scale of the scaled source.

    Weak priors: half-normal(`drift_scale`) on σ_L and σ_M, log-normal around one (sd 0.7) on the scale; each grid
    point stands for an interval of its own width.
    """
    scales = planning.score_deviation_multiples if system.scaled in system.loadings else (1.0,)
    grid = np.array(planning.drift_grid)
    priors = {(lsoa, msoa): drift.covariance(lsoa, msoa, planning) for lsoa, msoa in product(grid, grid)}
    widths = dict(zip(planning.drift_grid, np.log(np.gradient(grid)), strict=True))
    points, found, logs = [], [], []
    for scale in scales:
        noise = noise_covariance(system, scale)
        for (lsoa, msoa), covariance in priors.items():
            *moments, likelihood = solve_at(system, drift, covariance, noise)
            prior = -0.5 * (lsoa**2 + msoa**2) / planning.drift_scale**2 + widths[lsoa] + widths[msoa]
            points.append((float(lsoa), float(msoa), float(scale)))
            found.append(moments)
            logs.append(likelihood + prior - 0.5 * (np.log(scale) / 0.7) ** 2)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = sum((w * m[0] for w, m in zip(weights, found, strict=True)), np.zeros_like(drift.share))
    spread = np.array([np.sqrt(w) * (m[0] - mean) for w, m in zip(weights, found, strict=True)])
    within = sum((w * m[1] for w, m in zip(weights, found, strict=True)), np.zeros_like(priors[grid[0], grid[0]]))
    gain = sum((w * m[2] for w, m in zip(weights, found, strict=True)), np.zeros_like(found[0][2]))
    scaled = float(weights @ np.square([point[2] for point in points]))
    return Posterior(mean, within + spread.T @ spread, gain, dict(zip(points, weights.tolist(), strict=True)), scaled)
