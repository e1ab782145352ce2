# SPDX-License-Identifier: Apache-2.0
"""What is known about one model's shares, and what follows from its counts alone.

Counts. A noised count as a factor of what is unknown pulls it towards zero, and by much where homes are few: with
ρ = Σ n̂ / Σ N and n ~ N(ρ N, ρ (1 - ρ) N + (κ ρ N)²), n* is the mean of n given n̂; then n - n* does not depend on n*.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import LEAST_NOISES, AreaTable, BlockSum
from skyglow_server.estimation.mixed import Drift
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.selection import chances_of

Array = NDArray[np.float64]

_LEAST_LEFT = 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one model's shares.

    Attributes
    ----------
    areas : AreaTable
    positive : ndarray of bool, shape (C,)
        Which strata count as one.
    scores, classes, labels : BlockSum
        area_score by LSOA, class_score by stratum, area_label by MSOA, in which a home says 1 or -1.
    mix : ndarray of float64, shape (C,), optional
        Old composition of all homes that the class sums are of, where those are of more areas than these; the class
        counts then say nothing of these areas' own panel.
    trained : BlockSum, optional
        Counts [C, 1] of the panel's homes that trained the model.
    rough : float
        See `mixed.Drift`.
    apart : bool
        The panel's homes are not in the areas' sums.
    labels_of_all : bool
        Labels are of the whole panel; else of the homes that calibrate alone.
    halved : bool
        Half of the panel trained; else all of it calibrates.
    """

    areas: AreaTable
    positive: NDArray[np.bool_]
    scores: BlockSum
    classes: BlockSum
    labels: BlockSum
    mix: Array | None = None
    trained: BlockSum | None = None
    rough: float = 0.0
    apart: bool = False
    labels_of_all: bool = False
    halved: bool = True


def old_mix(evidence: Evidence) -> Array:
    """Old census shares by class [A, C], with half a household of the overall mix added so that none is 0 or 1."""
    counts = evidence.areas.counts
    overall = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * counts.shape[1])
    smooth = counts + overall
    return np.asarray(smooth / smooth.sum(axis=1, keepdims=True), dtype=np.float64)


def overall_mix(evidence: Evidence) -> Array:
    """Old census shares by class [C] of all households together."""
    households = evidence.areas.households
    return np.asarray(households @ old_mix(evidence) / households.sum())


def drift_of(evidence: Evidence) -> Drift:
    """The prior's ingredients from the old census."""
    share = old_mix(evidence) @ evidence.positive
    logit = np.log(share / (1 - share))
    centred = logit - np.average(logit, weights=evidence.areas.households)
    areas = evidence.areas
    return Drift(share, centred, areas.households, areas.membership("MSOA"), evidence.rough, areas.neighbours)


def employment(areas: AreaTable) -> Array:
    """How far the old share in employment of each area [A] is from that of all; zeros where it is not known."""
    if areas.employed is None:
        return np.zeros(areas.households.size)
    return np.asarray(areas.employed - np.average(areas.employed, weights=areas.households))


def known_meters(evidence: Evidence) -> NDArray[np.bool_]:
    """Areas whose noised count is beyond what noise alone may make."""
    return np.asarray(evidence.scores.values[:, 0] > LEAST_NOISES * evidence.scores.deviation[0])


def metered_homes(evidence: Evidence, planning: Planning) -> tuple[Array, Array]:
    """Metered homes n* [A] in the sums, given noised counts and how many are elsewhere, and the sd of n around n*."""
    households, noise = evidence.areas.households, float(evidence.scores.deviation[0]) ** 2
    counted = evidence.scores.values[:, 0]
    rate = min(max(float(counted.sum() / households.sum()), 0.01), 1.0)
    expected, chance = rate * households, rate * (1 - rate) * households
    excess = float(np.mean((counted - expected) ** 2 - chance - noise) / np.mean(expected**2))
    prior = chance + max(excess, planning.metered_share_deviation**2) * expected**2
    trust = prior / (prior + noise)
    homes = np.clip(expected + trust * (counted - expected), 0.1 * expected, households)
    return homes, np.sqrt(trust * noise)


def frame_deviation(evidence: Evidence, metered: Array, share: Array) -> Array:
    """Sd of the share among an area's metered homes around the share among all its homes."""
    gap = 1 / metered - 1 / evidence.areas.households
    return np.sqrt(share * (1 - share) * np.maximum(gap, 0.0))


def panel_share(evidence: Evidence) -> float:
    """Share of metered homes that are of the panel, by noised counts; 0 if they are in all sums."""
    if not evidence.apart:
        return 0.0
    panel, others = sum(panel_halves(evidence)), _homes(evidence.scores)
    return panel / (panel + others)


def left_in(evidence: Evidence, planning: Planning) -> Array:
    """Relative chances [C] that a metered home of a class is in the areas' sums: those who answer more are so less."""
    kinds = evidence.positive.size
    response = chances_of(planning.response, kinds)
    metered = overall_mix(evidence) * chances_of(planning.metering, kinds)
    asked = panel_share(evidence) * response * metered.sum() / float(response @ metered)
    return np.asarray(np.maximum(1 - asked, _LEAST_LEFT))


def panel_halves(evidence: Evidence) -> tuple[float, float]:
    """Noised numbers of the areas' panel homes that calibrate and that trained; as many where nothing counts these."""
    if evidence.mix is not None:
        calibrating = _homes(evidence.labels) / (2 if evidence.labels_of_all else 1)
    else:
        calibrating = _homes(evidence.classes)
        if evidence.trained is not None:
            return calibrating, _homes(evidence.trained)
    return calibrating, calibrating if evidence.halved else 0.0


def panel_sizes(evidence: Evidence, planning: Planning) -> tuple[Array, Array]:
    """Homes by MSOA whose labels there are, and their sd: noised counts shrunk to their total spread by households.

    Of the total, sums of fewer numbers than labels are tell more; what is left unknown of it is too little to matter.
    """
    households = evidence.areas.totals("MSOA", evidence.areas.households)
    calibrating, trained = panel_halves(evidence)
    total = calibrating + trained if evidence.labels_of_all else calibrating
    expected = total * households / households.sum()
    prior = (planning.panel_size_deviation * expected) ** 2 + expected
    noise = float(evidence.labels.deviation[0]) ** 2
    counted = evidence.labels.values[:, 0]
    size = np.maximum((noise * expected + prior * counted) / (prior + noise), 0.1 * expected)
    return size, np.sqrt(prior * noise / (prior + noise))


def _homes(block: BlockSum) -> float:
    return max(float(block.values[:, 0].sum()), 1.0)
