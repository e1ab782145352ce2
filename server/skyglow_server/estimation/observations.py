# SPDX-License-Identifier: Apache-2.0
"""The noised sums as observations that are linear in the areas' shares, with every source of error as a loading.

Meters. Area a has n̂ metered homes, shrunk to n* (below), and score sum Ŝ. With the class mix within positives and
within negatives of the old census, m1 = Σ r1_c m_c and m0 = Σ r0_c m_c, and::

    Ŝ - n* m0 = n* (m1 - m0) θ + e

with s = m1 - m0, μ the mean score at the old share, and Var e the sum of: privacy noise τ_S² + μ² Var(n - n*); scores
within classes and the class mix, n v; which homes have a meter, n² s² θ(1 - θ)(1/n - 1/N); mean scores that differ by
LSOA and by MSOA, n² σ_δ², of which a part goes with how many people are in employment there, n g (w_a - w), g shared by
all areas; and the class means' own error n Σ_c q_c δm_c, shared too.

The class means enter as a regression's unknowns: their level is common to all areas and to the class sums, and what the
areas' sums say of it is more than what the class sums do. Their errors δm = L e hold one direction u = Lᵀa/|Lᵀa|, with
a the district's contrast r1 - r0, that moves s: the grid of `mixed` gives t = uᵀe its values, and s turns with it by
D = -n* (r1 - r0)ᵀ L u, so that a slope that may be zero is never divided by.

Counts. A noised count as a factor of what is unknown pulls it towards zero, and by much where homes are few: with
ρ = Σ n̂ / Σ N and n ~ N(ρ N, ρ (1 - ρ) N + (κ ρ N)²), n* is the mean of n given n̂; then n - n* does not depend on n*.

Panel. MSOA m has ŷ positives among n̂ homes, and the district's panel has class counts n̂_c of the same homes::

    ŷ_m = ñ_m θ_m + e_m,    n̂_P - π n̂_all = Σ_m ñ_m (θ_m - π) + e,   π = any fixed share near the truth

whose sampling errors are the same, and whose noise in n̂_c also moves the class means. The panel is drawn from
metered homes, so which homes have a meter moves both it and the meters. Where meters or answers go with the kind of
home, θ is seen through `selection`: f(θ) stands in its place, linearised.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.calibration import ClassMeans, class_means
from skyglow_server.estimation.inputs import AreaTable, BlockSum
from skyglow_server.estimation.mixed import Drift, System, Turn
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.selection import Seen, chances_of

Array = NDArray[np.float64]

DEVIATION = "area deviation of class means"
METERING = "meters by kind of home"
CALIBRATION = ("calibration sampling", "privacy noise of class scores", "privacy noise of class counts")
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
    mix : ndarray of float64, shape (6,), optional
        Old composition of all homes that the class sums are of, where those are of more areas than these; the class
        counts then say nothing of these areas' own panel.
    """

    areas: AreaTable
    positive: NDArray[np.bool_]
    scores: BlockSum
    classes: BlockSum
    labels: BlockSum
    mix: Array | None = None


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
    return Drift(share, centred, evidence.areas.households, evidence.areas.membership("MSOA"))


def build(evidence: Evidence, share: Array, planning: Planning, *, meters: bool = True, panel: bool = True) -> System:
    """Linearise the chosen data around shares [A] (used in variances and loadings only)."""
    mix = overall_mix(evidence) if evidence.mix is None else evidence.mix
    asked = mix * chances_of(planning.metering, mix.size) * chances_of(planning.response, mix.size)
    means = class_means(evidence.classes, evidence.positive, asked / asked.sum(), planning)
    meter = _Meters.of(evidence, share, means, planning)
    people = _Panel.of(evidence, share, planning)
    used = np.full(people.rows, panel)
    used[-1] = panel and evidence.mix is None  # class counts of more areas than these say nothing of them
    rows = np.concatenate([meter.known & meters, used])
    loadings = {
        name: np.concatenate([meter.loadings.get(name, zero_meters), people.loadings.get(name, zero_panel)])[rows]
        for name, width in {**_widths(meter.loadings), **_widths(people.loadings)}.items()
        for zero_meters, zero_panel in [(np.zeros((rows.size - people.rows, width)), np.zeros((people.rows, width)))]
    }
    design = np.concatenate([meter.design, people.design])[rows]
    turn = None
    if meters:
        direction = _slope_direction(means, mix, evidence.positive)
        turned = np.concatenate([meter.turned(means, direction), np.zeros_like(people.design)])[rows]
        loading = sum((loadings[name] @ part for name, part in direction.items()), np.zeros(len(design)))
        turn = Turn(loading, turned, CALIBRATION)
    residual = np.concatenate([meter.residual, people.residual])[rows]
    return System(residual, design, loadings, DEVIATION if meters else "", turn)


def _slope_direction(means: ClassMeans, mix: Array, positive: NDArray[np.bool_]) -> dict[str, Array]:
    """U by source: the direction of the class means' errors that moves the district's mean slope."""
    contrast = mix * positive / (mix @ positive) - mix * ~positive / (mix @ ~positive)
    along = {name: loading.T @ contrast for name, loading in zip(CALIBRATION, means.loadings, strict=True)}
    size = np.sqrt(sum(float(part @ part) for part in along.values()))
    return {name: part / size for name, part in along.items()}


def _widths(loadings: dict[str, Array]) -> dict[str, int]:
    return {name: loading.shape[1] for name, loading in loadings.items()}


@dataclass(frozen=True, slots=True)
class _Meters:
    known: NDArray[np.bool_]
    residual: Array
    design: Array
    contrast: Array
    loadings: dict[str, Array]

    def turned(self, means: ClassMeans, direction: dict[str, Array]) -> Array:
        """D [A, A]: the change of the design by one sd of the slope."""
        moved = sum((part @ direction[name] for name, part in zip(CALIBRATION, means.loadings, strict=True)), 0.0)
        return np.diag(-self.contrast @ moved)

    @classmethod
    def of(cls, evidence: Evidence, share: Array, means: ClassMeans, planning: Planning) -> "_Meters":
        """Rows Ŝ - n* m0 = n* s θ + e, one an area."""
        block, mix, positive = evidence.scores, old_mix(evidence), evidence.positive
        total = block.values[:, 1]
        metered, uncertainty = metered_homes(evidence, planning)
        chances = chances_of(planning.metering, positive.size)
        seen, reached = Seen.of(share, mix, positive, chances), mix * chances
        within1 = reached * positive / (reached @ positive)[:, None]
        within0 = reached * ~positive / (reached @ ~positive)[:, None]
        m1, m0 = within1 @ means.mean, within0 @ means.mean
        jacobian = seen.share[:, None] * within1 + (1 - seen.share)[:, None] * within0
        mean = jacobian @ means.mean
        mixing = seen.share * (within1 @ means.mean**2 - m1**2) + (1 - seen.share) * (within0 @ means.mean**2 - m0**2)
        frame = metered * (m1 - m0) * _frame_deviation(evidence, metered, share)
        unseen = metered * (m1 - m0) * seen.moved * planning.metering_deviation
        by_count = -metered[:, None] * jacobian
        return cls(
            known_meters(evidence),
            total - metered * (m0 + (m1 - m0) * seen.known(share)),
            np.diag(metered * (m1 - m0) * seen.slope),
            (metered * seen.slope)[:, None] * (within1 - within0),
            {
                "privacy noise of areas": np.diag(np.hypot(block.deviation[1], uncertainty * mean)),
                "scores within classes": np.diag(np.sqrt(metered * (jacobian @ means.variance + mixing))),
                "homes without a meter": np.diag(frame),
                METERING: unseen[:, None],
                "scores by employment": (metered * employment(evidence.areas) * planning.score_employment)[:, None],
                DEVIATION: np.column_stack(
                    [
                        np.diag(metered * planning.score_lsoa_deviation),
                        metered[:, None] * planning.score_msoa_deviation * evidence.areas.membership("MSOA").T,
                    ]
                ),
                **{name: by_count @ part for name, part in zip(CALIBRATION, means.loadings, strict=True)},
            },
        )


def employment(areas: AreaTable) -> Array:
    """How far the old share in employment of each area [A] is from that of all; zeros where it is not known."""
    if areas.employed is None:
        return np.zeros(areas.households.size)
    return np.asarray(areas.employed - np.average(areas.employed, weights=areas.households))


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
        mix = weights @ old_mix(evidence)
        chances = chances_of(planning.metering, mix.shape[1]) * chances_of(planning.response, mix.shape[1])
        seen = Seen.of(local, mix, evidence.positive, chances)
        centre = float(size @ seen.share) / float(size.sum())
        counts, sign = evidence.classes.values[:, 0], np.where(evidence.positive, 1 - centre, -centre)
        bent = size * seen.slope
        design = np.concatenate([bent[:, None] * weights, [bent @ weights]])
        own = size * seen.known(local)
        moved = size * seen.moved
        metered, _ = metered_homes(evidence, planning)
        fraction = np.minimum(size / areas.totals("MSOA", metered), 1.0)
        frame = bent[:, None] * weights * _frame_deviation(evidence, metered, share)
        sampling = np.sqrt(moved * (1 - fraction))
        return cls(
            size.size + 1,
            np.concatenate([labels.values[:, 1] - own, [counts @ sign + size.sum() * centre - own.sum()]]),
            design,
            {
                "panel sampling": np.concatenate([np.diag(sampling), [sampling]]),
                "homes without a meter": np.concatenate([frame, [frame.sum(axis=0)]]),
                METERING: np.append(moved, moved.sum())[:, None] * planning.metering_deviation,
                "answers by kind of home": np.append(moved, moved.sum())[:, None] * planning.response_deviation,
                "panel size": np.concatenate(
                    [np.diag(uncertainty * seen.share), [uncertainty * (seen.share - centre)]]
                ),
                "privacy noise of labels": np.concatenate(
                    [labels.deviation[1] * np.eye(size.size), np.zeros((1, size.size))]
                ),
                "privacy noise of class counts": np.concatenate(
                    [np.zeros((size.size, sign.size)), [sign * evidence.classes.deviation[0]]]
                ),
            },
        )


def known_meters(evidence: Evidence) -> NDArray[np.bool_]:
    """Areas whose noised count is beyond what noise alone may make."""
    return np.asarray(evidence.scores.values[:, 0] > _LEAST_NOISES * evidence.scores.deviation[0])


def metered_homes(evidence: Evidence, planning: Planning) -> tuple[Array, Array]:
    """Metered homes n* [A], given noised counts and how many there are elsewhere, and the sd of n around n*."""
    households, noise = evidence.areas.households, float(evidence.scores.deviation[0]) ** 2
    counted = evidence.scores.values[:, 0]
    rate = min(max(float(counted.sum() / households.sum()), 0.01), 1.0)
    expected, chance = rate * households, rate * (1 - rate) * households
    excess = float(np.mean((counted - expected) ** 2 - chance - noise) / np.mean(expected**2))
    prior = chance + max(excess, planning.metered_share_deviation**2) * expected**2
    trust = prior / (prior + noise)
    homes = np.clip(expected + trust * (counted - expected), 0.1 * expected, households)
    return homes, np.sqrt(trust * noise)


def _frame_deviation(evidence: Evidence, metered: Array, share: Array) -> Array:
    """Sd of the share among an area's metered homes around the share among all its homes."""
    gap = 1 / metered - 1 / evidence.areas.households
    return np.sqrt(share * (1 - share) * np.maximum(gap, 0.0))


def panel_sizes(evidence: Evidence, planning: Planning) -> tuple[Array, Array]:
    """Panel homes by MSOA and their sd: noised counts shrunk to the noised total spread by households."""
    households = evidence.areas.totals("MSOA", evidence.areas.households)
    panel = evidence.classes if evidence.mix is None else evidence.labels
    total = max(float(panel.values[:, 0].sum()), 1.0)
    expected = total * households / households.sum()
    prior = (planning.panel_size_deviation * expected) ** 2 + expected
    noise = float(evidence.labels.deviation[0]) ** 2
    counted = evidence.labels.values[:, 0]
    size = np.maximum((noise * expected + prior * counted) / (prior + noise), 0.1 * expected)
    return size, np.sqrt(prior * noise / (prior + noise))
