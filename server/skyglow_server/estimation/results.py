# SPDX-License-Identifier: Apache-2.0
"""What the office publishes: one estimate with its interval, for one area, topic and group."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from skyglow_shared.vocabulary import AreaLevel

Level = AreaLevel
Status = Literal["published", "suppressed"]

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
        Standard deviation of the unclipped estimate.
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
