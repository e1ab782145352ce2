# SPDX-License-Identifier: Apache-2.0
"""What every method makes of one drawn study, and how far that is from the truth."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skyglow_server.coordinator import Outcome
from skyglow_server.estimation import PLANNING, AreaTable, Estimate
from skyglow_server.estimation.evidence import Evidence, drift_of, panel_sizes
from skyglow_server.estimation.fay_herriot import fay_herriot
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.occupancy import GROUPS, occupancy_estimates
from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.results import without_intervals
from skyglow_server.estimation.shares import census_estimates, share_estimates
from skyglow_shared.models import presence
from skyglow_shared.study import Study
from skyglow_simulations.replicates import Drawn, counted

Array = NDArray[np.float64]
#: Methods of the table of errors, ours first.
OURS = "meters and panel"
#: The epsilon at which every other method is tried too.
COMPARED = 1.0
#: Occupancy from 9:00 to 17:00 on weekdays, as a topic of its own.
DAYTIME = f"{OCCUPANCY} 9-17"
_LEAST_MSOAS = 3  # that a line of two coefficients can be fitted to
_DAYTIME_SLOTS = slice(18, 34)
_DAYTIME_GROUPS = GROUPS[_DAYTIME_SLOTS]


def noise_and_clip(curves: dict[str, dict[float, Sequence[Estimate]]]) -> dict[str, Array]:
    """How far estimates of occupancy are from those of the same homes without noise and bounds, where there are."""
    found = {}
    for topic, by_epsilon in curves.items():
        twin = by_epsilon.pop(0.0, ())
        for epsilon, items in by_epsilon.items():
            for level in LEVELS:
                plain = np.array([item.unclipped for item in twin if item.level == level], dtype=float)
                rows = [item for item in items if item.level == level]
                if plain.size:
                    areas = len({item.area_code for item in rows})
                    found[f"{epsilon:g}|noise and clip|{topic}|{level}"] = held(rows, plain.reshape(areas, -1))
    return found


def estimated(
    drawn: Drawn,
    study: Study,
    outcome: Outcome,
    evidence: Mapping[str, Evidence],
    known: Planning,
    *,
    compared: bool,
    quiet: bool,
) -> list[tuple[str, str, Sequence[Estimate]]]:
    """(method, topic, estimates) of one study.

    Parameters
    ----------
    drawn : Drawn
    study : Study
    outcome : Outcome
    evidence : mapping of str to Evidence
        By topic.
    known : Planning
        What the survey organisation knows too.
    compared : bool
        By every other method too, at `COMPARED`.
    quiet : bool
        The study is the one without noise.
    """
    areas, mine = drawn.areas, "without noise" if quiet else OURS
    found: list[tuple[str, str, Sequence[Estimate]]] = []
    for topic, own in evidence.items():
        found.append((mine, topic, share_estimates(own, topic, known)))
        if quiet:
            found.extend((f"{name} without noise", topic, items) for name, items in _by_panel(own, topic, known))
        elif compared and study.epsilon == COMPARED:
            found.extend((name, topic, items) for name, items in _by_panel(own, topic, known))
            found.append(("meters alone", topic, share_estimates(own, topic, known, panel=False)))
            found.append(("old census", topic, census_estimates(own, topic)))
            found.extend(("old census by Fay-Herriot", topic, line) for line, _ in _textbook(own))
            both = zip(("classify and count", "adjusted count"), counted(drawn, study, outcome, topic), strict=True)
            found.extend((name, topic, _plain(areas, values)) for name, values in both)
    curves = [(mine, occupancy_estimates(study, areas, outcome.sums, PLANNING, LEVELS))]
    curves += [("public curve", tuple(_public(study, areas)))] if quiet else []
    for name, items in curves:
        found.append((name, OCCUPANCY, items))
        found.append((name, DAYTIME, [item for item in items if item.group in _DAYTIME_GROUPS]))
    return found


def _by_panel(evidence: Evidence, topic: str, known: Planning) -> Iterator[tuple[str, Sequence[Estimate]]]:
    """What the panel says without the meters, by our model and by the textbook's."""
    yield "panel alone", share_estimates(evidence, topic, known, meters=False)
    yield from (("panel by Fay-Herriot", shrunk) for _, shrunk in _textbook(evidence))


def _textbook(evidence: Evidence) -> Iterator[tuple[list[Estimate], list[Estimate]]]:
    """Fay and Herriot's model of MSOAs' answers on their old shares: its regression alone, and its EBLUP, if it can be.

    A LSOA has no answers of its own: it lies from its MSOA as the regression says. Sizes of samples are the shrunk ones
    that ours uses, for a quotient of two noised numbers has no expectation.
    """
    areas = evidence.areas
    old, weights = drift_of(evidence).share, areas.weights("MSOA")
    if len(weights) < _LEAST_MSOAS:
        return
    size, uncertainty = panel_sizes(evidence, PLANNING)
    share = weights @ old
    direct = 0.5 + evidence.labels.values[:, 1] / (2 * size)
    noise = (evidence.labels.deviation[1] / 2) ** 2 + ((share - 0.5) * uncertainty) ** 2
    fit = fay_herriot(
        direct, share * (1 - share) / size + noise / size**2, np.column_stack([np.ones(share.size), share])
    )
    regression, place = fit.coefficients[0] + fit.coefficients[1] * old, areas.places("MSOA")
    yield _plain(areas, regression), _plain(areas, regression + (fit.estimate - weights @ regression)[place])


def _plain(areas: AreaTable, values: Array) -> list[Estimate]:
    """Estimates without an interval from values by LSOA."""
    return [
        item
        for level in LEVELS
        for item in without_intervals(areas.areas(level), level, "", areas.weights(level) @ values)
    ]


def _public(study: Study, areas: AreaTable) -> list[Estimate]:
    """The public mean curve as every area's estimate."""
    curve = presence.load(study.occupancy.basis).mean.ravel()
    return [
        Estimate(*area, level, OCCUPANCY, group, unclipped=float(value))
        for level in LEVELS
        for area in areas.areas(level)
        for group, value in zip(GROUPS, curve, strict=True)
    ]


def truth_of(drawn: Drawn, topic: str, level: str) -> Array:
    """True values [areas, groups] of a topic at a level, areas sorted by code."""
    curves = {OCCUPANCY: drawn.occupied, DAYTIME: drawn.occupied[:, _DAYTIME_SLOTS]}
    values = curves[topic] if topic in curves else drawn.shares[topic][:, None]
    return np.asarray(drawn.areas.weights(level) @ values)  # type: ignore[arg-type]


def held(rows: Sequence[Estimate], truth: Array) -> Array:
    """Coverage, mean error, mean squared error and width by area."""
    numbers = [(item.unclipped, item.lower, item.upper) for item in rows]
    value, low, high = np.array(numbers, dtype=float).reshape(*truth.shape, 3).transpose(2, 0, 1)
    error = value - truth
    held = (low <= truth) & (truth <= high)
    return np.stack([held.mean(axis=1), error.mean(axis=1), np.square(error).mean(axis=1), (high - low).mean(axis=1)])
