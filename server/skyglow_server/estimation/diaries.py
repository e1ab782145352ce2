# SPDX-License-Identifier: Apache-2.0
"""Where the presence curve of the whole study lies, and how the meters' rule moves it, from the noised diary moments.

For each day type and component, over n homes with a diary, the block holds n, Σz, Σd, Σz², Σzd: z the coefficient of
the meter's rule, d that of the diary. Every moment carries noise of sd τ; all is done in linear form, which survives
any n.

Slope. S_zd - b S_zz ~ N(0, n σ_z² σ_r² + τ² (1 + b²)), b ~ N(slope, slope_deviation²).

Level. The diary homes are a sample, and their mean rule coefficient shows how unlike all homes they are. With Z the
rule's mean over *all* metered homes::

    Σd = n (D + b ζ) + e,   Σz - n Z = n ζ + e',   ζ ~ N(0, σ_z²/n)

D is estimated from Σd - c (Σz - n Z) with the c that has the least variance, c = b n σ_z² / (n σ_z² + τ²): the
regression estimator when noise is small, the plain mean when it is not. Prior: D ~ N(0, planned sd²),
the public mean curve.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import BlockSum
from skyglow_server.estimation.planning import Planning
from skyglow_shared.models.presence import PresenceBasis

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiaryModel:
    """Slope and level with their variances, each of shape (2, K); `parts` splits the level's variance by source."""

    slope: Array
    slope_variance: Array
    level: Array
    parts: dict[str, Array]
    rule_variance: Array


def diary_model(block: BlockSum, all_homes: Array, basis: PresenceBasis, planning: Planning) -> DiaryModel:
    """Fit slope and level.

    Parameters
    ----------
    block : BlockSum
        Values [1, 2 (1 + 4K)], see `skyglow_shared.layout`.
    all_homes : ndarray, shape (2, K)
        Z: mean rule coefficients over all metered homes.
    basis : PresenceBasis
    planning : Planning
    """
    components = all_homes.shape[1]
    moments = block.values.reshape(2, 1 + 4 * components)
    count = np.maximum(moments[:, :1], 0.0)
    z, d, zz, zd = (moments[:, 1 + i * components : 1 + (i + 1) * components] for i in range(4))
    noise, count_noise = float(block.deviation[1]) ** 2, float(block.deviation[0]) ** 2
    diary = planning.diary_variance(basis.mean, components)
    centred = np.maximum(count, block.deviation[0])
    spread = _rule_spread(zz - z**2 / centred, count, diary * planning.rule_variance_ratio, noise)
    rule_variance = spread / np.maximum(count, 1.0)
    slope, slope_variance = _slope(zd - z * d / centred, spread, diary, noise, planning)
    residual = np.maximum(diary - slope**2 * rule_variance, diary / 2)
    c = slope * spread / (spread + noise)
    adjusted = d - c * (z - count * all_homes)
    sampling = count * residual + (slope - c) ** 2 * spread
    likely = planning.by_component(planning.presence_level_deviation, components)
    privacy = noise * (1 + c**2) + count_noise * (likely + np.abs(c * all_homes)) ** 2
    prior = likely**2
    posterior = 1 / (1 / prior + count**2 / (sampling + privacy))
    k = posterior * count / (sampling + privacy)
    parts = {
        "diary sampling": k**2 * sampling,
        "privacy noise of diaries": k**2 * privacy,
        "public mean curve": (1 - k * count) ** 2 * prior,
    }
    return DiaryModel(slope, slope_variance, k * adjusted, parts, rule_variance)


def _rule_spread(observed: Array, count: Array, prior: Array, noise: float) -> Array:
    """Shrink the noised centred sum of squares n σ_z² to the planning guess (good to half of it); positive."""
    guess = count * prior
    belief = (guess / 2) ** 2
    weight = belief / (belief + noise)
    return np.asarray(np.maximum(weight * observed + (1 - weight) * guess, guess / 4 + 1e-9), dtype=np.float64)


def _slope(cross: Array, spread: Array, diary: Array, noise: float, planning: Planning) -> tuple[Array, Array]:
    prior = planning.slope_deviation**2
    error = spread * diary + noise * (1 + planning.slope**2)
    posterior = 1 / (1 / prior + spread**2 / error)
    return planning.slope + posterior * spread / error * (cross - planning.slope * spread), posterior
