# SPDX-License-Identifier: Apache-2.0
"""One joint Gaussian linear mixed model of every area's share: Fay-Herriot in hierarchical form.

Prior, on the logit scale linearised at the old census share p with h = p(1 - p)::

    θ = p₀ + h (β0 + β1 z + u_msoa + u_lsoa) + v,  β ~ N(0, B),  u_msoa ~ N(0, σ_M²),  u_lsoa ~ N(0, σ_L²)
    θ ~ N(p₀, Q),   Q = D_h [ B00 11ᵀ + B11 zzᵀ + σ_M² MᵀM + σ_L² I ] D_h + D_v

v ~ N(0, κ h/N): of an area's N households the part κ that is new since the census is a draw, which matters most where p
is small. Where it is known which MSOAs lie side by side, u_msoa ~ N(0, σ_M² C), with C from `neighbours`. A logit that
moves as far up as down moves a share below one half further up: p₀ = p + ½ h (1 - 2p) V, with V the logit's variance at
the prior's medians, is what shares are expected to be on average.

Data, each error a column of a loading with unit variance::

    y = c + H θ + Σ_k L_k e_k

One direction of these errors, the standard normal t with loading v on the data, also turns the design: it is that of a
slope, which is estimated and multiplies the shares. Holding the slope at its estimate is right only where it is known
well. So t is taken out of the loadings and given values; for each of them the model is linear again::

    r = y - c - H p₀ - t v,   H_t = H + t D,   R = Σ_k L_k L_kᵀ - v vᵀ

Given (σ_L, σ_M, scale of one source, t, and λ of C where there is one)::

    S = H_t Q H_tᵀ + R,   G = Q H_tᵀ S⁻¹,   mean p₀ + G r,   covariance Q - G H_t Q,
    log likelihood -½ (rᵀ S⁻¹ r + log|S|)

These are integrated out over a grid (`grid`, `posterior`), so that intervals carry the uncertainty about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from skyglow_server.estimation.neighbours import correlations
from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]


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

    def at(self, expected: Array, t: float) -> tuple[Array, Array]:
        """What is left of the data at shares [A] as they are expected, and the design, for a value of t."""
        residual = self.residual - self.design @ expected
        if self.turn is None:
            return residual, self.design
        return residual - t * self.turn.loading, self.design + t * self.turn.design


class Point(NamedTuple):
    """A point of the grid."""

    lsoa: float
    msoa: float
    scale: float
    turn: float
    nearness: float = 0.0


@dataclass(frozen=True, slots=True)
class Drift:
    """The prior: old shares p [A], their centred logits z [A], households N [A] and MSOA membership [M, A].

    `rough` is how far all old shares together may be from what a census would say: sd of the logit; 0 of a census.
    `neighbours` [M, M] is which MSOAs lie side by side, if that is known.
    """

    share: Array
    logit: Array
    households: Array
    membership: Array
    rough: float = 0.0
    neighbours: NDArray[np.bool_] | None = None

    def expected(self, planning: Planning) -> Array:
        """p₀ [A]: old shares, and by how much more drift raises them than it lowers them."""
        area = planning.drift_lsoa**2 + planning.drift_msoa**2
        moved = planning.drift_level_deviation**2 + (planning.drift_slope_deviation * self.logit) ** 2 + area
        return np.asarray(self.share + self.share * (1 - self.share) * (0.5 - self.share) * moved)

    def parts(self, planning: Planning, nearness: float) -> tuple[Array, Array, Array]:
        """Q's constant part, and what multiplies σ_L² and σ_M²."""
        h, inside = self.share * (1 - self.share), self.membership
        alike = inside if self.neighbours is None else correlations(self.neighbours, nearness) @ inside
        around = np.outer(h, h)
        level = planning.drift_level_deviation**2 + self.rough**2
        slope = planning.drift_slope_deviation**2 * np.outer(self.logit, self.logit)
        fixed = around * (level + slope) + np.diag(planning.turnover * h / self.households)
        return fixed, np.diag(h**2), around * (inside.T @ alike)

    def covariance(self, lsoa: float, msoa: float, planning: Planning, nearness: float = 0.0) -> Array:
        """Q for given standard deviations of the LSOA and MSOA drifts, in logits."""
        fixed, by_lsoa, by_msoa = self.parts(planning, nearness)
        return np.asarray(fixed + lsoa**2 * by_lsoa + msoa**2 * by_msoa)


def noise_covariance(system: System, scale: float) -> Array:
    """R = Σ L Lᵀ - v vᵀ with the scaled source's loadings times `scale`."""
    total = np.zeros((system.residual.size, system.residual.size))
    for name, loading in system.loadings.items():
        total += (scale**2 if name == system.scaled else 1.0) * (loading @ loading.T)
    return total if system.turn is None else total - np.outer(system.turn.loading, system.turn.loading)


def solve_at(system: System, expected: Array, covariance: Array, noise: Array, t: float = 0.0) -> tuple[Array, ...]:
    """Mean, covariance and gain for a given prior mean p₀ and covariance Q, error covariance R and value of t."""
    residual, design = system.at(expected, t)
    cross = design @ covariance
    factor = cho_factor(cross @ design.T + noise, lower=True, check_finite=False)
    gain = cho_solve(factor, cross, check_finite=False).T
    return expected + gain @ residual, covariance - gain @ cross, gain
