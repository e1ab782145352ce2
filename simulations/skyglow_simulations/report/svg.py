# SPDX-License-Identifier: Apache-2.0
"""The few shapes our charts are made of, as SVG text. Everything a reader may see is escaped."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]

_CLOSE = 1e-9  # of a step; a tick at the very end of a scale must not fall to rounding


def tag(name: str, attributes: Mapping[str, object], *children: Markup) -> Markup:
    """One element; attributes are escaped, children are markup already."""
    written = Markup("").join(Markup(' {}="{}"').format(key, _plain(value)) for key, value in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(children))


def text(at: Point, words: str, **attributes: object) -> Markup:
    """Words at a place; attribute names may use _ for -."""
    named = {key.replace("_", "-"): value for key, value in attributes.items()}
    return tag("text", {"x": at[0], "y": at[1], **named}, escape(words))


def title(words: str) -> Markup:
    """What a pointer or a screen reader is told about the element it stands in."""
    return tag("title", {}, escape(words))


def line(start: Point, end: Point, kind: str) -> Markup:
    """A straight line of a class."""
    return tag("line", {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1], "class": kind})


def path(points: Iterable[Point], kind: str, *, closed: bool = False) -> Markup:
    """A line through points, or the area within them."""
    drawn = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + ("Z" if closed else "")
    return tag("path", {"d": drawn, "class": kind})


def group(kind: str, *children: Markup, **attributes: object) -> Markup:
    """Shapes that belong together; attribute names may use _ for -."""
    return tag("g", {"class": kind, **{key.replace("_", "-"): value for key, value in attributes.items()}}, *children)


def picture(size: tuple[float, float], label: str, *children: Markup, kind: str = "chart", **data: object) -> Markup:
    """A whole drawing with an accessible name; `data` become data- attributes.

    A map's parts can be reached one by one, a chart is read as one.
    """
    role = "group" if kind == "map" else "img"
    attributes = {"viewBox": f"0 0 {size[0]:.1f} {size[1]:.1f}", "role": role, "aria-label": label, "class": kind}
    return tag("svg", {**attributes, **{f"data-{key}": value for key, value in data.items()}}, *children)


@dataclass(frozen=True, slots=True)
class Axis:
    """A straight scale from data to places on the page."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, step: float) -> Sequence[float]:
        """Multiples of `step` within the scale."""
        first, last = math.ceil(self.low / step - _CLOSE), math.floor(self.high / step + _CLOSE)
        return [step * number for number in range(first, last + 1)]


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
