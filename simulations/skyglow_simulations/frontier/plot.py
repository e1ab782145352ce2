# SPDX-License-Identifier: Apache-2.0
"""The sweep as a picture: error against epsilon, one panel a topic and level, one line a trust mode, with its band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from skyglow_server.estimation.inputs import LEVELS
from skyglow_simulations.frontier.sweep import Series
from skyglow_simulations.frontier.table import Point
from skyglow_simulations.report.svg import Axis, group, line, path, tag, text

_WIDTH, _HEIGHT = 300.0, 220.0  # of a panel
_LEFT, _TOP, _GAP, _BELOW = 56.0, 84.0, 34.0, 80.0
_PLACES = {"LSOA": "LSOAs", "MSOA": "MSOAs", "LAD": "the district"}
_MODES: tuple[Series, ...] = ("local", "aggregate")
_WORDS: dict[Series, str] = {
    "local": "each supplier adds all the noise (local)",
    "aggregate": "suppliers share the noise under secure aggregation (aggregate)",
    "without noise": "without noise",
    "old census": "old census as it is",
}
_STYLE = """
text{font:12px 'Helvetica Neue',Arial,sans-serif;fill:#222}
.title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}.axis{fill:#555}
.grid{stroke:#e4e4e4}.base{stroke:#888}
.line{fill:none;stroke-width:2.2}.band{stroke:none;opacity:.16}
.local{stroke:#b3541e;fill:#b3541e}.aggregate{stroke:#1d5f8a;fill:#1d5f8a}path.line{fill:none}
.without{stroke:#222;stroke-dasharray:6 4;stroke-width:1.4;fill:none}
.old{stroke:#777;stroke-dasharray:1.5 4;stroke-width:1.8;fill:none}
circle{stroke:#fff;stroke-width:1}
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One measure of one topic at one level, with how it is to be called and in what units drawn."""

    measure: str
    topic: str
    level: str
    heading: str
    unit: str
    scale: float

    def of(self, table: Sequence[Point], series: Series) -> list[Point]:
        """The points of a series, by rising epsilon."""
        mine = [
            point
            for point in table
            if (point.measure, point.topic, point.level, point.series) == (self.measure, self.topic, self.level, series)
        ]
        return sorted(mine, key=lambda point: point.epsilon or 0.0)


def render(table: Sequence[Point], heading: str, note: str) -> str:
    """Draw a sweep as one self-contained SVG.

    Parameters
    ----------
    table : sequence of Point
    heading : str
        What was swept.
    note : str
        How: cities, scale, what bands are.

    Returns
    -------
    str
    """
    panels = list(_panels(table))
    rows = [panels[first : first + 3] for first in range(0, len(panels), 3)]
    columns = max((len(row) for row in rows), default=1)
    width = _LEFT + columns * (_WIDTH + _GAP)
    height = _TOP + len(rows) * (_HEIGHT + _BELOW) + 36
    parts = [text((_LEFT - 40, 26), heading, **{"class": "title"}), text((_LEFT - 40, 46), note, **{"class": "axis"})]
    for number, row in enumerate(rows):
        for place, panel in enumerate(row):
            corner = (_LEFT + place * (_WIDTH + _GAP), _TOP + number * (_HEIGHT + _BELOW))
            parts.append(_panel(table, panel, corner))
    parts += _legend(table, height - 34)
    root = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width:.0f} {height:.0f}",
        "width": f"{width:.0f}",
        "height": f"{height:.0f}",
        "role": "img",
        "aria-label": f"{heading}. {note}",
    }
    paper = tag("rect", {"width": "100%", "height": "100%", "fill": "#fff"})
    return str(tag("svg", root, tag("style", {}, Markup(_STYLE)), paper, *parts)) + "\n"  # noqa: S704 - our own style


def _panels(table: Sequence[Point]) -> list[_Panel]:
    """Error of every topic and level that has one, then how well each model separates homes."""
    topics = list(dict.fromkeys(point.topic for point in table if point.measure == "rmse"))
    known = {(point.measure, point.topic, point.level) for point in table if point.series in _MODES}
    found = [
        _Panel("rmse", topic, level, f"{_named(topic)}: {_PLACES[level]}", "RMSE, percentage points", 100.0)
        for topic in topics
        for level in LEVELS
        if ("rmse", topic, level) in known
    ]
    models = dict.fromkeys(point.topic for point in table if point.measure == "auc")
    return found + [_Panel("auc", model, "", f"{_named(model)}: model", "AUC on unseen homes", 1.0) for model in models]


def _panel(table: Sequence[Point], panel: _Panel, corner: tuple[float, float]) -> Markup:
    left, top = corner
    drawn = [point for series in _WORDS for point in panel.of(table, series)]
    epsilons = sorted({point.epsilon for point in drawn if point.epsilon is not None})
    x = Axis(math.log(epsilons[0]) - 0.12, math.log(epsilons[-1]) + 0.12, left, left + _WIDTH)
    y, step = _vertical(panel, drawn, top)
    parts = [text((left, top - 10), panel.heading, **{"class": "panel"})]
    for tick in y.ticks(step):
        parts += [
            line((left, y(tick)), (left + _WIDTH, y(tick)), "grid"),
            text((left - 6, y(tick) + 4), _short(tick), text_anchor="end", **{"class": "axis"}),
        ]
    parts += [
        text((x(math.log(value)), top + _HEIGHT + 17), f"{value:g}", text_anchor="middle", **{"class": "axis"})
        for value in epsilons
    ]
    parts.append(line((left, top + _HEIGHT), (left + _WIDTH, top + _HEIGHT), "base"))
    parts.append(
        text(
            (left + _WIDTH / 2, top + _HEIGHT + 33),
            f"epsilon – {panel.unit}",
            text_anchor="middle",
            **{"class": "axis"},
        )
    )
    references: tuple[Series, ...] = ("old census", "without noise")
    for series in references:
        for point in panel.of(table, series):
            at = y(panel.scale * point.value)
            parts.append(line((left, at), (left + _WIDTH, at), series.split()[0]))
    for series in _MODES:
        parts += _curve(panel, panel.of(table, series), x, y, series)
    return group("chart", *parts)


def _curve(panel: _Panel, curve: Sequence[Point], x: Axis, y: Axis, kind: str) -> list[Markup]:
    if not curve:
        return []
    across = [x(math.log(point.epsilon or 1.0)) for point in curve]
    parts = []
    if all(point.low is not None and point.high is not None for point in curve):
        upper = [(at, y(panel.scale * (point.high or 0.0))) for at, point in zip(across, curve, strict=True)]
        lower = [(at, y(panel.scale * (point.low or 0.0))) for at, point in zip(across, curve, strict=True)]
        parts.append(path([*upper, *reversed(lower)], f"band {kind}", closed=True))
    middle = [(at, y(panel.scale * point.value)) for at, point in zip(across, curve, strict=True)]
    parts.append(path(middle, f"line {kind}"))
    return parts + [tag("circle", {"cx": at[0], "cy": at[1], "r": 3.4, "class": kind}) for at in middle]


def _vertical(panel: _Panel, drawn: Sequence[Point], top: float) -> tuple[Axis, float]:
    """An axis that holds all values and bands; errors begin at zero, AUC at chance."""
    ends = [panel.scale * end for point in drawn for end in (point.value, point.low, point.high) if end is not None]
    low = 0.0 if panel.measure == "rmse" else min(0.5, *ends)
    span = max(max(ends) - low, 1e-6)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if span / size <= 6)
    return Axis(
        math.floor(low / step + 1e-9) * step, math.ceil(max(ends) / step - 1e-9) * step, top + _HEIGHT, top
    ), step


def _legend(table: Sequence[Point], top: float) -> list[Markup]:
    parts, place = [], _LEFT - 40
    for series, words in _WORDS.items():
        if not any(point.series == series for point in table):
            continue
        kind = f"line {series}" if series in _MODES else series.split()[0]
        parts += [line((place, top), (place + 26, top), kind), text((place + 32, top + 4), words)]
        place += 54 + 5.7 * len(words)
    return parts


def _named(topic: str) -> str:
    return topic.replace("_", " ").replace("66 plus", "66+").capitalize()


def _short(value: float) -> str:
    return f"{value:g}" if abs(value - round(value, 2)) < 1e-9 else f"{value:.2f}"
