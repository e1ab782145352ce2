# SPDX-License-Identifier: Apache-2.0
"""Colour classes and axes with round ends."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

#: From light to dark, every step darker for every kind of colour vision.
SHARES = ("#eae6c8", "#cfcf9f", "#a3bd8c", "#6fa287", "#3f8282", "#245f74", "#153d5c")
#: Another hue, so that a map of uncertainty is never taken for a map of shares.
WIDTHS = ("#eeeaf3", "#d5cde4", "#b9accf", "#9a88b8", "#7c65a0", "#5e4585", "#3f2766")
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.2, 0.5)
_AXIS_STEPS = tuple(step for step in _STEPS if step != 0.025)  # from one point on, ticks are whole points


@dataclass(frozen=True, slots=True)
class Classes:
    """Equal classes of values with their colours.

    Attributes
    ----------
    edges : tuple of float, length n + 1
    colours : tuple of str, length n
    """

    edges: tuple[float, ...]
    colours: tuple[str, ...]

    def colour(self, value: float) -> str:
        """The colour of a value; a class holds its lower edge."""
        return self.colours[bisect_right(self.edges[1:-1], value)]

    def labels(self) -> list[tuple[str, str]]:
        """(colour, words) of every class."""
        digits = max(0, _digits(self.edges[1] - self.edges[0]) - 2)
        ends = [f"{100 * edge:.{digits}f}%" for edge in self.edges]
        return [
            (colour, f"{low} to {high}") for colour, low, high in zip(self.colours, ends[:-1], ends[1:], strict=True)
        ]


def classes(values: Sequence[float], ramp: Sequence[str] = SHARES, most: int = 7) -> Classes:
    """Cut the range of values into at most `most` classes with round edges, and spread the ramp over them."""
    low, high, step = _round_range(values, most, _STEPS)
    count = max(1, round((high - low) / step))
    colours = tuple(_between(ramp, n / (count - 1) if count > 1 else 0.5) for n in range(count))
    return Classes(tuple(round(low + step * n, 6) for n in range(count + 1)), colours)


def axis(values: Sequence[float], *, zero: bool = False, most: int = 8) -> tuple[float, float, float]:
    """Round (low, high, step) of an axis that holds all values, with at most `most` steps, within [0, 1]."""
    low, high, step = _round_range([0.0, *values] if zero else values, most, _AXIS_STEPS)
    return low, high, step


def _between(ramp: Sequence[str], part: float) -> str:
    """The colour at a part of a ramp, mixed from its two neighbours."""
    place = part * (len(ramp) - 1)
    first = min(int(place), len(ramp) - 2)
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in ramp[first : first + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (place - first)):02x}" for a, b in zip(*ends, strict=True))


def _round_range(values: Sequence[float], most: int, steps: Sequence[float]) -> tuple[float, float, float]:
    least, greatest = (min(values), max(values)) if values else (0.0, 1.0)
    for step in steps:
        low = math.floor(least / step + 1e-9)
        high = max(low + 1, math.ceil(greatest / step - 1e-9))
        if high - low <= most:
            break
    return round(low * step, 6), round(high * step, 6), step


def _digits(step: float) -> int:
    return next(digits for digits in range(2, 7) if abs(round(step, digits) - step) < 1e-9)
