# SPDX-License-Identifier: Apache-2.0
"""What makes a reading unbelievable: a list of named rules, each a plain function from readings to a mask."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyglow_client.readings.calendar import SLOTS

#: A domestic supply is fused at 100 A: 23 kW, 11.5 kWh in a half-hour. More than 15 kWh is no home's reading.
IMPOSSIBLE_KWH: Final = 15.0
#: A day with a greater share of such readings is in another unit: what it says of the other half-hours is wrong too.
OTHER_UNIT_SHARE: Final = 0.25
#: Equal readings above zero for so many half-hours on end are a meter that repeats itself, not a home.
STUCK_HALF_HOURS: Final = 48

_Mask = NDArray[np.bool_]
_Float = NDArray[np.float32]


class Rule(NamedTuple):
    """A rule of cleaning: `marks` gives the readings that become missing, as a mask of its argument's shape."""

    name: str
    marks: Callable[[_Float], _Mask]


def infinite(kwh: _Float) -> _Mask:
    """Readings that are plus or minus infinity."""
    return np.isinf(kwh)


def negative(kwh: _Float) -> _Mask:
    """Readings below zero: a meter of consumption does not run backwards."""
    return kwh < 0


def impossible(kwh: _Float) -> _Mask:
    """Readings no domestic supply can carry."""
    return kwh > IMPOSSIBLE_KWH


def other_unit(kwh: _Float) -> _Mask:
    """All readings of days of which more than a quarter are impossible: watt-hours, say, taken for kWh."""
    absurd = impossible(kwh) & np.isfinite(kwh)
    days = absurd.sum(axis=1) > OTHER_UNIT_SHARE * np.maximum((~np.isnan(kwh)).sum(axis=1), SLOTS // 2)
    return days[:, None] & ~np.isnan(kwh)


def stuck(series: _Float) -> _Mask:
    """Runs of at least `STUCK_HALF_HOURS` equal readings above zero in series [homes, half-hours].

    The first reading of a run may be true and is kept.
    """
    marked = np.zeros(series.shape, dtype=bool)
    repeats = np.zeros(series.shape, dtype=bool)
    repeats[:, 1:] = (series[:, 1:] == series[:, :-1]) & (series[:, 1:] > 0)
    suspects = np.flatnonzero(repeats.sum(axis=1) >= STUCK_HALF_HOURS - 1)
    for home in suspects:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], repeats[home].view(np.int8), [0]))))
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= STUCK_HALF_HOURS - 1:
                marked[home, begin:end] = True
    return marked


#: Applied to rows [meter-days, 48] as they are read.
READING_RULES: Final = (
    Rule("infinite", infinite),
    Rule("other_unit", other_unit),
    Rule("negative", negative),
    Rule("impossible", impossible),
)
#: Applied to whole series [homes, half-hours], in which runs cross midnight.
SERIES_RULES: Final = (Rule("stuck", stuck),)


def clean(kwh: _Float, rules: tuple[Rule, ...]) -> dict[str, int]:
    """Make what any rule marks missing (NaN), in place, and count it by rule; a reading is counted once."""
    counts = {}
    for rule in rules:
        marked = rule.marks(kwh)
        counts[rule.name] = int(marked.sum())
        kwh[marked] = np.nan
    return counts
