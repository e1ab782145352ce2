# SPDX-License-Identifier: Apache-2.0
"""The noised sums as observations that are linear in the areas' shares, with every source of error as a loading.

Meters. Area a has n̂ metered homes, shrunk to n* (`evidence`), and score sum Ŝ. With the class mix within positives and
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

Panel. MSOA m has ŷ positives among n̂ homes, and the district's panel has class counts n̂_c of the same homes::

    ŷ_m = ñ_m θ_m + e_m,    n̂_P - π n̂_all = Σ_m ñ_m (θ_m - π) + e,   π = any fixed share near the truth

whose sampling errors are the same, and whose noise in n̂_c also moves the class means. Where homes that trained the
model are counted by class too, they are another such row: other homes, other noise. The panel is drawn from metered
homes, so which homes have a meter moves both it and the meters. Where meters or answers go with the kind of
home, θ is seen through `selection`: f(θ) stands in its place, linearised.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.calibration import ClassMeans, class_means, contrast
from skyglow_server.estimation.evidence import (
    Evidence,
    employment,
    frame_deviation,
    known_meters,
    left_in,
    metered_homes,
    old_mix,
    overall_mix,
    panel_share,
    panel_sizes,
)
from skyglow_server.estimation.inputs import BlockSum
from skyglow_server.estimation.mixed import System, Turn
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.selection import Seen, chances_of

Array = NDArray[np.float64]

DEVIATION = "area deviation of class means"
METERING = "meters by kind of home"
CALIBRATION = ("calibration sampling", "privacy noise of class scores", "privacy noise of class counts")


def build(evidence: Evidence, share: Array, planning: Planning, *, meters: bool = True, panel: bool = True) -> System:
    """Linearise the chosen data around shares [A] (used in variances and loadings only)."""
    mix = overall_mix(evidence) if evidence.mix is None else evidence.mix
    asked = mix * chances_of(planning.metering, mix.size) * chances_of(planning.response, mix.size)
    means = class_means(evidence.classes, evidence.positive, asked / asked.sum(), planning)
    meter = _Meters.of(evidence, share, means, planning)
    people = _Panel.of(evidence, share, planning)
    used = np.full(people.residual.size, panel)
    used[len(evidence.labels.values) :] &= evidence.mix is None  # class counts of more areas say nothing of these
    rows = np.concatenate([meter.known & meters, used])
    loadings = {name: loading[rows] for name, loading in _stacked(meter, people).items()}
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
    weights = contrast(mix, positive)
    along = {name: loading.T @ weights for name, loading in zip(CALIBRATION, means.loadings, strict=True)}
    size = np.sqrt(sum(float(part @ part) for part in along.values()))
    return {name: part / size for name, part in along.items()}


def _stacked(*parts: "_Meters | _Panel") -> dict[str, Array]:
    """Loadings of all rows, zero where a source of error is not one of the part's own."""
    widths = {name: loading.shape[1] for part in parts for name, loading in part.loadings.items()}
    return {
        name: np.concatenate([part.loadings.get(name, np.zeros((part.residual.size, width))) for part in parts])
        for name, width in widths.items()
    }


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
        chances = chances_of(planning.metering, positive.size) * left_in(evidence, planning)
        seen, reached = Seen.of(share, mix, positive, chances), mix * chances
        within1 = reached * positive / (reached @ positive)[:, None]
        within0 = reached * ~positive / (reached @ ~positive)[:, None]
        m1, m0 = within1 @ means.mean, within0 @ means.mean
        jacobian = seen.share[:, None] * within1 + (1 - seen.share)[:, None] * within0
        mean = jacobian @ means.mean
        mixing = seen.share * (within1 @ means.mean**2 - m1**2) + (1 - seen.share) * (within0 @ means.mean**2 - m0**2)
        frame = metered * (m1 - m0) * frame_deviation(evidence, metered, share)
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


@dataclass(frozen=True, slots=True)
class _Panel:
    residual: Array
    design: Array
    loadings: dict[str, Array]

    @classmethod
    def of(cls, evidence: Evidence, share: Array, planning: Planning) -> "_Panel":
        """Rows for the labels of every MSOA, one for the class counts, one for those of homes that trained if any."""
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
        metered = metered_homes(evidence, planning)[0] / (1 - panel_share(evidence))
        fraction = np.minimum(size / areas.totals("MSOA", metered), 1.0)
        frame = bent[:, None] * weights * frame_deviation(evidence, metered, share)
        sampling = np.sqrt(moved * (1 - fraction))
        plain = cls(
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
        if evidence.trained is None or evidence.mix is not None:
            return plain
        return plain._beside(evidence.trained, evidence, seen, metered, share, planning)

    def _beside(  # noqa: PLR0917 - what `of` has worked out already
        self, trained: BlockSum, evidence: Evidence, seen: Seen, metered: Array, share: Array, planning: Planning
    ) -> "_Panel":
        """The same with a last row for the counts of the homes that trained, none of whom calibrates."""
        weights, households = evidence.areas.weights("MSOA"), evidence.areas.totals("MSOA", evidence.areas.households)
        counts, noise = trained.values[:, 0], float(trained.deviation[0])
        size = max(float(counts.sum()), 1.0) * households / households.sum()
        uncertainty = np.sqrt((planning.panel_size_deviation * size) ** 2 + size)
        centre = float(size @ seen.share) / float(size.sum())
        sign = np.where(evidence.positive, 1 - centre, -centre)
        bent, moved = size * seen.slope, size * seen.moved
        fraction = np.minimum(size / evidence.areas.totals("MSOA", metered), 1.0)
        design = bent @ weights
        residual = counts @ sign + size.sum() * centre - float((size * seen.known(weights @ share)).sum())
        shared = {
            "homes without a meter": design * frame_deviation(evidence, metered, share),
            METERING: np.array([moved.sum() * planning.metering_deviation]),
            "answers by kind of home": np.array([moved.sum() * planning.response_deviation]),
        }
        own = {
            "panel sampling": float(np.sqrt((moved * (1 - fraction)).sum())),
            "panel size": float(np.linalg.norm(uncertainty * (seen.share - centre))),
            "privacy noise of trained counts": noise * float(np.linalg.norm(sign)),
        }
        loadings = {
            name: np.vstack([loading, shared.get(name, np.zeros(loading.shape[1]))])
            for name, loading in self.loadings.items()
        }
        for name, size_of_it in own.items():
            column = np.append(np.zeros(self.residual.size), size_of_it)
            loadings[name] = np.column_stack([loadings[name], column] if name in loadings else [column])
        return _Panel(np.append(self.residual, residual), np.vstack([self.design, design]), loadings)
