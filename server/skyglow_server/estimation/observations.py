# SPDX-License-Identifier: Apache-2.0
"""The noised sums as observations that are linear in the areas' shares, with every source of error as a loading.

Meters. Area a has n̂ metered homes and score sum Ŝ. With the class mix within positives and within negatives of the
old census, m1 = Σ r1_c m_c and m0 = Σ r0_c m_c, and::

    Ŝ - n̂ m0 = n̂ (m1 - m0) θ + e

with s = m1 - m0 and Var e the sum of: privacy noise τ_S² + τ_n² μ²; scores within classes and the class mix, n v;
which homes have a meter, n² s² θ(1 - θ)(1/n - 1/N); mean scores that differ by LSOA and by MSOA, n² σ_δ²; and the class
means' own error n Σ_c q_c δm_c, shared by all areas.

Panel. MSOA m has ŷ positives among n̂ homes, and the district's panel has class counts n̂_c of the same homes::

    ŷ_m = ñ_m θ_m + e_m,    n̂_P - π n̂_all = Σ_m ñ_m (θ_m - π) + e,   π = any fixed share near the truth

whose sampling errors are the same, and whose noise in n̂_c also moves the class means. The panel is drawn from
metered homes, so which homes have a meter moves both it and the meters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.calibration import ClassMeans, class_means
from skyglow_server.estimation.inputs import AreaTable, BlockSum
from skyglow_server.estimation.mixed import Drift, System
from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]

DEVIATION = "area deviation of class means"
_LEAST_NOISES = 3.0  # an area whose noised count is below so many noise sds tells nothing by its meters


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one model's shares.

    Attributes
    ----------
    areas : AreaTable
    positive : ndarray of bool, shape (6,)
    scores, classes, labels : BlockSum
        area_score by LSOA, class_score by class, area_label by MSOA.
    """

    areas: AreaTable
    positive: NDArray[np.bool_]
    scores: BlockSum
    classes: BlockSum
    labels: BlockSum


def old_mix(evidence: Evidence) -> Array:
    """Old census shares by class [A, C], with half a household of the overall mix added so that none is 0 or 1."""
    counts = evidence.areas.counts
    overall = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * counts.shape[1])
    smooth = counts + overall
    return np.asarray(smooth / smooth.sum(axis=1, keepdims=True), dtype=np.float64)


def drift_of(evidence: Evidence) -> Drift:
    """The prior's ingredients from the old census."""
    share = old_mix(evidence) @ evidence.positive
    logit = np.log(share / (1 - share))
    centred = logit - np.average(logit, weights=evidence.areas.households)
    return Drift(share, centred, evidence.areas.households, evidence.areas.membership("MSOA"))


def build(evidence: Evidence, share: Array, planning: Planning, *, meters: bool = True, panel: bool = True) -> System:
    """Linearise the chosen data around shares [A] (used in variances and loadings only)."""
    means = class_means(evidence.classes, evidence.positive, planning)
    meter = _Meters.of(evidence, share, means, planning)
    people = _Panel.of(evidence, share, planning)
    rows = np.concatenate([meter.known & meters, np.full(people.rows, panel)])
    residual = np.concatenate([meter.residual, people.residual])
    loadings = {
        name: np.concatenate([meter.loadings.get(name, zero_meters), people.loadings.get(name, zero_panel)])
        for name, width in {**_widths(meter.loadings), **_widths(people.loadings)}.items()
        for zero_meters, zero_panel in [(np.zeros((rows.size - people.rows, width)), np.zeros((people.rows, width)))]
    }
    return System(
        residual[rows],
        np.concatenate([meter.design, people.design])[rows],
        {name: loading[rows] for name, loading in loadings.items()},
        DEVIATION if meters else "",
    )


def _widths(loadings: dict[str, Array]) -> dict[str, int]:
    return {name: loading.shape[1] for name, loading in loadings.items()}


@dataclass(frozen=True, slots=True)
class _Meters:
    known: NDArray[np.bool_]
    residual: Array
    design: Array
    loadings: dict[str, Array]

    @classmethod
    def of(cls, evidence: Evidence, share: Array, means: ClassMeans, planning: Planning) -> "_Meters":
        """Rows Ŝ - n̂ m0 = n̂ s θ + e, one an area."""
        block, mix, positive = evidence.scores, old_mix(evidence), evidence.positive
        count, total = block.values[:, 0], block.values[:, 1]
        metered = metered_homes(evidence)
        within1 = mix * positive / (mix @ positive)[:, None]
        within0 = mix * ~positive / (mix @ ~positive)[:, None]
        m1, m0 = within1 @ means.mean, within0 @ means.mean
        jacobian = share[:, None] * within1 + (1 - share)[:, None] * within0
        mean = jacobian @ means.mean
        mixing = share * (within1 @ means.mean**2 - m1**2) + (1 - share) * (within0 @ means.mean**2 - m0**2)
        frame = metered * (m1 - m0) * _frame_deviation(evidence, share)
        by_count = -metered[:, None] * jacobian
        return cls(
            count > _LEAST_NOISES * block.deviation[0],
            total - count * m0,
            np.diag(count * (m1 - m0)),
            {
                "privacy noise of areas": np.diag(np.hypot(block.deviation[1], block.deviation[0] * mean)),
                "scores within classes": np.diag(np.sqrt(metered * (jacobian @ means.variance + mixing))),
                "homes without a meter": np.diag(frame),
                DEVIATION: np.column_stack(
                    [
                        np.diag(metered * planning.score_lsoa_deviation),
                        metered[:, None] * planning.score_msoa_deviation * evidence.areas.membership("MSOA").T,
                    ]
                ),
                "calibration sampling": by_count @ means.sampling,
                "privacy noise of class scores": by_count @ means.sum_noise,
                "privacy noise of class counts": by_count @ means.count_noise,
            },
        )


@dataclass(frozen=True, slots=True)
class _Panel:
    rows: int
    residual: Array
    design: Array
    loadings: dict[str, Array]

    @classmethod
    def of(cls, evidence: Evidence, share: Array, planning: Planning) -> "_Panel":
        """Rows for the labels of every MSOA, then one for the panel's class counts."""
        areas, labels = evidence.areas, evidence.labels
        weights = areas.weights("MSOA")
        local = weights @ share
        size, uncertainty = panel_sizes(evidence, planning)
        centre = float(size @ local) / float(size.sum())
        counts, sign = evidence.classes.values[:, 0], np.where(evidence.positive, 1 - centre, -centre)
        design = np.concatenate([size[:, None] * weights, [size @ weights]])
        known = size.sum() * centre
        fraction = np.minimum(size / (areas.membership("MSOA") @ metered_homes(evidence)), 1.0)
        frame = weights * _frame_deviation(evidence, share)
        sampling = np.sqrt(size * local * (1 - local) * (1 - fraction))
        return cls(
            size.size + 1,
            np.concatenate([labels.values[:, 1], [counts @ sign + known]]),
            design,
            {
                "panel sampling": np.concatenate([np.diag(sampling), [sampling]]),
                "homes without a meter": np.concatenate([size[:, None] * frame, [size @ frame]]),
                "panel size": np.concatenate([np.diag(uncertainty * local), [uncertainty * (local - centre)]]),
                "privacy noise of labels": np.concatenate(
                    [labels.deviation[1] * np.eye(size.size), np.zeros((1, size.size))]
                ),
                "privacy noise of class counts": np.concatenate(
                    [np.zeros((size.size, sign.size)), [sign * evidence.classes.deviation[0]]]
                ),
            },
        )


def metered_homes(evidence: Evidence) -> Array:
    """Noised counts of metered homes [A], where they say anything; else half of the households."""
    count, households = evidence.scores.values[:, 0], evidence.areas.households
    known = count > _LEAST_NOISES * evidence.scores.deviation[0]
    return np.where(known, np.minimum(count, households), households / 2)


def _frame_deviation(evidence: Evidence, share: Array) -> Array:
    """Sd of the share among an area's metered homes around the share among all its homes."""
    gap = 1 / metered_homes(evidence) - 1 / evidence.areas.households
    return np.sqrt(share * (1 - share) * np.maximum(gap, 0.0))


def panel_sizes(evidence: Evidence, planning: Planning) -> tuple[Array, Array]:
    """Panel homes by MSOA and their sd: noised counts shrunk to the noised total spread by households."""
    households = evidence.areas.membership("MSOA") @ evidence.areas.households
    total = max(float(evidence.classes.values[:, 0].sum()), 1.0)
    expected = total * households / households.sum()
    prior = (planning.panel_size_deviation * expected) ** 2 + expected
    noise = float(evidence.labels.deviation[0]) ** 2
    counted = evidence.labels.values[:, 0]
    size = np.maximum((noise * expected + prior * counted) / (prior + noise), 0.1 * expected)
    return size, np.sqrt(prior * noise / (prior + noise))
