# SPDX-License-Identifier: Apache-2.0
"""What the office publishes: one estimate with its interval, for one area, topic and group."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.vocabulary import AreaLevel

Level = AreaLevel
Status = Literal["published", "suppressed"]
Array = NDArray[np.float64]

#: The one group of a topic of shares.
ALL = "all"

#: 97.5 % point of the standard normal: intervals are 95 % intervals.
QUANTILE = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate.

    Attributes
    ----------
    area_code, area_name, level : str
    topic, group : str
        E.g. ``all_aged_66_plus``, ``all``; ``occupancy``, ``weekday 11:00``.
    estimate, lower, upper : float or None
        Share of homes and its 95 % interval within [0, 1]; None when suppressed (or when there is no interval).
    status : "published" or "suppressed"
    reason : str
        Why it was suppressed: the rule's name; empty if published.
    unclipped : float or None
        The estimate before it was held to [0, 1]: use this one for further sums, it is not biased by the clipping.
    deviation : float or None
        Standard error of the unclipped estimate: what a normal 95 % interval as wide as this one has.
    parts : mapping of str to float
        Variance by source of error; adds up to `deviation` squared.
    """

    area_code: str
    area_name: str
    level: Level
    topic: str
    group: str
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    status: Status = "published"
    reason: str = ""
    unclipped: float | None = None
    deviation: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


def estimate_of(named: Estimate, value: float, variance: float, parts: Mapping[str, float]) -> Estimate:
    """Put a number with its normal 95 % interval, clipped to [0, 1], into an estimate that has only names."""
    deviation = max(variance, 0.0) ** 0.5
    low, middle, high = (min(max(value + q * deviation, 0.0), 1.0) for q in (-QUANTILE, 0.0, QUANTILE))
    return replace(named, estimate=middle, lower=low, upper=high, unclipped=value, deviation=deviation, parts=parts)


def with_intervals(
    areas: Iterable[tuple[str, str]],
    level: Level,
    topic: str,
    values: Array,
    parts: Mapping[str, Array],
    *,
    groups: Sequence[str] = (ALL,),
) -> Iterator[Estimate]:
    """Estimates of a level's areas and a topic's groups.

    Parameters
    ----------
    areas : iterable of (code, name)
    level, topic
    values : ndarray, shape (areas, groups)
    parts : mapping of str to ndarray, shape (areas, groups)
        Their variances by source of error.
    groups : sequence of str
    """
    variances = sum(parts.values(), np.zeros_like(values))
    for i, area in enumerate(areas):
        for j, group in enumerate(groups):
            own = {name: float(part[i, j]) for name, part in parts.items()}
            yield estimate_of(Estimate(*area, level, topic, group), float(values[i, j]), float(variances[i, j]), own)


def without_intervals(areas: Iterable[tuple[str, str]], level: Level, topic: str, values: Array) -> Iterator[Estimate]:
    """Estimates of shares in a level's areas, each (code, name), of which only the values [areas] are known."""
    for area, value in zip(areas, values.tolist(), strict=True):
        yield Estimate(*area, level, topic, ALL, value, unclipped=value)
