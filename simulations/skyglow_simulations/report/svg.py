# SPDX-License-Identifier: Apache-2.0
"""The few shapes our charts are made of, as SVG text. Everything a reader may see is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]


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


def picture(size: tuple[float, float], label: str, *children: Markup, kind: str = "chart") -> Markup:
    """A whole drawing with an accessible name."""
    attributes = {"viewBox": f"0 0 {size[0]:g} {size[1]:g}", "role": "img", "aria-label": label, "class": kind}
    return tag("svg", attributes, *children)


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
        first = -(-self.low // step)
        return [step * (first + n) for n in range(int((self.high - step * first) // step + 1e-9) + 1)]


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
