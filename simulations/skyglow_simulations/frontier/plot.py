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
_LEFT, _TOP, _GAP, _BELOW = 56.0, 110.0, 46.0, 96.0
_MARK = 3.4  # half the width of a point
_PLACES = {"LSOA": "LSOAs", "MSOA": "MSOAs", "LAD": "the district"}
_MODES: tuple[Series, ...] = ("local", "aggregate")
_START = "start"
_WORDS: dict[str, str] = {
    "local": "local: each supplier adds all the noise",
    "aggregate": "aggregate: suppliers share the noise, by secure aggregation",
    "without noise": "without noise",
    "old census": "old census as it is",
    _START: "model before training",
}
_STYLE = """
text{font:12px 'Helvetica Neue',Arial,sans-serif;fill:#222}
.title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}.axis{fill:#555}
.grid{stroke:#e4e4e4}.base{stroke:#888}
.local{stroke:#b3541e;fill:#b3541e}.aggregate{stroke:#1d5f8a;fill:#1d5f8a}
path.line{fill:none;stroke-width:2}line.local,line.aggregate{stroke-width:2}path.band{stroke:none;opacity:.14}.mark{stroke:#fff;stroke-width:1}
.without{stroke:#222;stroke-dasharray:6 4;stroke-width:1.4;fill:none}
.old{stroke:#777;stroke-dasharray:1.5 4;stroke-width:1.8;fill:none}
.start{stroke:#777;stroke-dasharray:9 3 1.5 3;stroke-width:1.4;fill:none}
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

    def of(self, table: Sequence[Point], series: str) -> list[Point]:
        """The points of a series, or of what training began from, by rising epsilon."""
        wanted = (f"{self.measure}_start", "without noise") if series == _START else (self.measure, series)
        mine = [
            point
            for point in table
            if (point.topic, point.level) == (self.topic, self.level) and (point.measure, point.series) == wanted
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
    height = _TOP + len(rows) * (_HEIGHT + _BELOW)
    parts = [text((_LEFT - 40, 26), heading, **{"class": "title"}), text((_LEFT - 40, 46), note, **{"class": "axis"})]
    for number, row in enumerate(rows):
        for place, panel in enumerate(row):
            corner = (_LEFT + place * (_WIDTH + _GAP), _TOP + number * (_HEIGHT + _BELOW))
            parts.append(_panel(table, panel, corner))
    legend, bottom = _legend(table, height - 22, width)
    parts, height = parts + legend, bottom + 22
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
    unit = "AUC on homes that did not train; 0.5 is chance"
    return found + [_Panel("auc", model, "", f"{_named(model)}: model", unit, 1.0) for model in models]


def _panel(table: Sequence[Point], panel: _Panel, corner: tuple[float, float]) -> Markup:
    left, top = corner
    drawn = [point for series in _WORDS for point in panel.of(table, series)]
    epsilons = sorted({point.epsilon for point in drawn if point.epsilon is not None})
    x = Axis(math.log(epsilons[0]) - 0.12, math.log(epsilons[-1]) + 0.12, left, left + _WIDTH)
    y, step = _vertical(panel, drawn, top)
    parts = [
        text((left - 40, top - 30), panel.heading, **{"class": "panel"}),
        text((left - 40, top - 13), panel.unit, **{"class": "axis"}),
    ]
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
            "epsilon",
            text_anchor="middle",
            **{"class": "axis"},
        )
    )
    for series in ("old census", _START, "without noise"):
        for point in panel.of(table, series):
            at = y(panel.scale * point.value)
            parts.append(line((left, at), (left + _WIDTH, at), series.split()[0]))
    curves = {series: curve for series in _MODES if (curve := panel.of(table, series))}
    parts += [path(_band(panel, curve, x, y), f"band {series}", closed=True) for series, curve in curves.items()]
    for series, curve in curves.items():
        places = [(x(math.log(point.epsilon or 1.0)), y(panel.scale * point.value)) for point in curve]
        parts += [path(places, f"line {series}"), *(_mark(at, series) for at in places)]
    return group("chart", *parts)


def _band(panel: _Panel, curve: Sequence[Point], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Corners of what most cities had; none where there are too few of them to say."""
    known = [(x(math.log(point.epsilon or 1.0)), point.low, point.high) for point in curve]
    upper = [(across, y(panel.scale * high)) for across, _, high in known if high is not None]
    lower = [(across, y(panel.scale * low)) for across, low, _ in known if low is not None]
    return [*upper, *reversed(lower)]


def _mark(at: tuple[float, float], series: str) -> Markup:
    """A point: round or square, so that modes differ in black and white too."""
    if series == "local":
        return tag("circle", {"cx": at[0], "cy": at[1], "r": _MARK, "class": f"mark {series}"})
    square = {"x": at[0] - _MARK, "y": at[1] - _MARK, "width": 2 * _MARK, "height": 2 * _MARK}
    return tag("rect", {**square, "class": f"mark {series}"})


def _vertical(panel: _Panel, drawn: Sequence[Point], top: float) -> tuple[Axis, float]:
    """An axis that holds all values and bands; errors begin at zero, AUC at chance."""
    ends = [panel.scale * end for point in drawn for end in (point.value, point.low, point.high) if end is not None]
    low = 0.0 if panel.measure == "rmse" else min(0.5, *ends)
    span = max(max(ends) - low, 1e-6)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if span / size <= 6)
    return Axis(
        math.floor(low / step + 1e-9) * step, math.ceil(max(ends) / step - 1e-9) * step, top + _HEIGHT, top
    ), step


def _legend(table: Sequence[Point], top: float, width: float) -> tuple[list[Markup], float]:
    """What lines mean, in as many rows as the width needs, and where the last row is."""
    parts, place = [], _LEFT - 40
    for series, words in _WORDS.items():
        if not any(point.series == series or (series == _START and point.measure == "auc_start") for point in table):
            continue
        if place + 34 + 6.1 * len(words) > width:
            place, top = _LEFT - 40, top + 20
        parts += [line((place, top), (place + 26, top), series.split()[0]), text((place + 34, top + 4), words)]
        parts += [_mark((place + 13, top), series)] if series in _MODES else []
        place += 52 + 6.1 * len(words)
    return parts, top


def _named(topic: str) -> str:
    return topic.replace("_", " ").replace("66 plus", "66+").capitalize()


def _short(value: float) -> str:
    return f"{value:g}" if abs(value - round(value, 2)) < 1e-9 else f"{value:.2f}"
