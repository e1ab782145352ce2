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

Panel. MSOA m has n̂ homes, and so many more that count than half of them, ŷ - n̂/2; and the district's panel has class
counts n̂_c of the same homes::

    (ŷ - n̂/2)_m = ñ_m (θ_m - ½) + e_m,   n̂_P - π n̂_all = Σ_m ñ_m (θ_m - π) + e,   π = any fixed share near the truth

whose sampling errors are the same, and whose noise in n̂_c also moves the class means. Where homes that trained the
model are counted by class too, they are another such row: other homes, other noise. If labels are of both halves, and
chance lets a part p of these homes calibrate, both rows of class counts are of parts of what the labels are of::

    p ñ_m θ_m + p e_m + d_m,    (1 - p) ñ_m θ_m + (1 - p) e_m - d_m,    Var d_m = p (1 - p) ñ_m θ_m (1 - θ_m)

and so it is for how many homes there are. The panel is drawn from metered homes, so which homes have a meter moves both
it and the meters. Where meters or answers go with the kind of home, θ is seen through `selection`: f(θ) stands in its
place, linearised.
"""

from collections.abc import Iterator
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
    panel_halves,
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
    people = tuple(_panel(evidence, share, planning))
    size = sum(part.residual.size for part in people)
    rows = np.concatenate([meter.known & meters, np.full(size, panel)])
    loadings = {name: loading[rows] for name, loading in _stacked(meter, *people).items()}
    design = np.concatenate([meter.design, *(part.design for part in people)])[rows]
    turn = None
    if meters:
        direction = _slope_direction(means, mix, evidence.positive)
        turned = np.concatenate([meter.turned(means, direction), np.zeros((size, len(share)))])[rows]
        loading = sum((loadings[name] @ part for name, part in direction.items()), np.zeros(len(design)))
        turn = Turn(loading, turned, CALIBRATION)
    residual = np.concatenate([meter.residual, *(part.residual for part in people)])[rows]
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


@dataclass(frozen=True, slots=True)
class _Homes:
    """Homes of the panel by MSOA, and how far chance moves them.

    size [M]; drawn [M, 2M], of how many are positive; counted [M, 2M], of how many there are. The last M columns are of
    homes without labels, or of which homes with labels calibrate.
    """

    size: Array
    drawn: Array
    counted: Array


def _panel(evidence: Evidence, share: Array, planning: Planning) -> Iterator[_Panel]:
    """Rows for the labels of every MSOA; one for the class counts; one for those of homes that trained, if any."""
    asked = _Asked.of(evidence, share, planning)
    size, uncertainty = panel_sizes(evidence, planning)
    none = np.zeros((size.size, size.size))
    labelled = _Homes(size, np.hstack([asked.sampling(size), none]), np.hstack([np.diag(uncertainty), none]))
    yield asked.labels(evidence.labels, labelled)
    if evidence.mix is not None:
        return  # class counts of more areas say nothing of these
    calibrating, trained = panel_halves(evidence)
    halves = labelled, asked.elsewhere(labelled, trained)
    if evidence.labels_of_all:
        part = calibrating / (calibrating + trained)
        halves = asked.parted(labelled, part), asked.parted(labelled, 1 - part, -1.0)
    yield asked.classes(evidence.classes, "privacy noise of class counts", halves[0])
    if evidence.trained is not None:
        yield asked.classes(evidence.trained, "privacy noise of trained counts", halves[1])


@dataclass(frozen=True, slots=True)
class _Asked:
    """What homes of the panel are drawn from: `local` true shares [M], as they are `seen`, of `metered` homes [M]."""

    evidence: Evidence
    planning: Planning
    local: Array
    seen: Seen
    metered: Array
    frame: Array

    @classmethod
    def of(cls, evidence: Evidence, share: Array, planning: Planning) -> "_Asked":
        """See shares [A] as homes of the panel show them."""
        weights = evidence.areas.weights("MSOA")
        mix = weights @ old_mix(evidence)
        chances = chances_of(planning.metering, mix.shape[1]) * chances_of(planning.response, mix.shape[1])
        seen = Seen.of(weights @ share, mix, evidence.positive, chances)
        metered = metered_homes(evidence, planning)[0] / (1 - panel_share(evidence))
        frame = frame_deviation(evidence, metered, share)
        return cls(evidence, planning, weights @ share, seen, evidence.areas.totals("MSOA", metered), frame)

    def sampling(self, size: Array) -> Array:
        """Errors [M, M] of how many of so many homes, drawn from all that are metered, are positive."""
        return np.diag(np.sqrt(size * self.seen.moved * (1 - np.minimum(size / self.metered, 1.0))))

    def elsewhere(self, homes: _Homes, number: float) -> _Homes:
        """So many others, without labels: spread as homes that have some are, for all are of one panel."""
        times = number / float(homes.size.sum())
        size, drawn, counted = times * homes.size, 0 * homes.drawn, times * homes.counted
        drawn[:, size.size :] = self.sampling(size)
        counted[:, size.size :] = np.diag(np.sqrt(size * (1 + times)))
        return _Homes(size, drawn, counted)

    def parted(self, homes: _Homes, part: float, sign: float = 1.0) -> _Homes:
        """A part of homes, fairly drawn; what one half has more of, the other (`sign` -1) has less."""
        size, chance = homes.size, part * (1 - part)
        drawn, counted = part * homes.drawn, part * homes.counted
        drawn[:, size.size :] = sign * np.diag(np.sqrt(chance * size * self.seen.moved))
        counted[:, size.size :] = sign * np.diag(np.sqrt(chance * size))
        return _Homes(part * size, drawn, counted)

    def labels(self, block: BlockSum, homes: _Homes) -> _Panel:
        """Rows ŷ - n̂/2 = ñ (θ - ½) + e, one a MSOA: half of what homes say, as they say 1 or -1."""
        every = np.eye(homes.size.size)
        noise = {"privacy noise of labels": block.deviation[1] / 2 * every}
        return self._rows(block.values[:, 1] / 2, homes, every, np.full(homes.size.size, 0.5), noise)

    def classes(self, block: BlockSum, name: str, homes: _Homes) -> _Panel:
        """One row n̂_P - π n̂_all = Σ ñ (θ - π) + e."""
        centre = float(homes.size @ self.seen.share) / float(homes.size.sum())
        sign = np.where(self.evidence.positive, 1 - centre, -centre)
        noise = {name: block.deviation[0] * sign[None]}
        every = np.ones((1, homes.size.size))
        return self._rows((block.values[:, 0] @ sign)[None], homes, every, np.full(homes.size.size, centre), noise)

    def _rows(self, seen: Array, homes: _Homes, added: Array, centre: Array, noise: dict[str, Array]) -> _Panel:
        """What was seen of homes, whose MSOAs are `added` [rows, M], less so much of each."""
        design = added @ ((homes.size * self.seen.slope)[:, None] * self.evidence.areas.weights("MSOA"))
        moved = (added @ (homes.size * self.seen.moved))[:, None]
        return _Panel(
            seen - added @ (homes.size * (self.seen.known(self.local) - centre)),
            design,
            {
                "panel sampling": added @ homes.drawn,
                "homes without a meter": design * self.frame,
                METERING: moved * self.planning.metering_deviation,
                "answers by kind of home": moved * self.planning.response_deviation,
                "panel size": added @ ((self.seen.share - centre)[:, None] * homes.counted),
                **noise,
            },
        )
