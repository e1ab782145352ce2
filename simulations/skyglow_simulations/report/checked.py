# SPDX-License-Identifier: Apache-2.0
"""The sections that only a simulation has: estimates against the truth, and other methods beside ours."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from skyglow_simulations.report import charts, wording
from skyglow_simulations.report.data import ReportData

_TIE = 0.0005  # errors this near are called level


@dataclass(frozen=True, slots=True)
class Scatter:
    """One level's estimates against the truth: `words` say how many intervals contain it."""

    level: str
    chart: Markup
    words: str
    withheld: int


@dataclass(frozen=True, slots=True)
class Method:
    """One method's figures at one level."""

    name: str
    words: str
    ours: bool
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One level's methods, nearest to the truth first."""

    level: str
    chart: Markup
    verdict: str
    methods: list[Method]


def scatters(data: ReportData, topic: str) -> list[Scatter]:
    """Estimates against the truth by level, where there is truth."""
    found = []
    for level in ("MSOA", "LSOA"):
        items = data.pick(topic, level)
        pairs = [(item, true) for item in items if (true := data.true(item)) is not None]
        shown = [(item, true) for item, true in pairs if None not in (item.estimate, item.lower, item.upper)]
        if shown:
            chart = charts.against_truth(shown, f"Estimate against truth, {data.levels[level]}")
            held = sum(charts.holds(item, true) for item, true in shown)
            found.append(Scatter(level, chart, wording.coverage(held, len(shown)), len(items) - len(shown)))
    return found


def accuracy(data: ReportData) -> list[tuple[str, dict[str, Any]]]:
    """(homes counted, figures by level) of our own estimates."""
    if data.truth is None:
        return []
    return [(wording.topic(topic), levels) for topic, levels in data.summary.get("topics", {}).items() if levels]


def panels(data: ReportData, topic: str) -> list[Panel]:
    """Methods by level, where there is truth."""
    if data.truth is None:
        return []
    found = []
    for level, words in data.levels.items():
        methods = sorted(_methods(data, topic, level), key=lambda method: method.figures["rmse"])
        if len(methods) > 1 and any(method.ours for method in methods):
            errors = {method.name: method.figures["rmse"] for method in methods}
            chart = charts.methods(errors, data.methods["skyglow"], _label(words, methods))
            found.append(Panel(level, chart, _verdict(methods), methods))
    return found


def _methods(data: ReportData, topic: str, level: str) -> list[Method]:
    by_method = {"skyglow": data.summary.get("topics", {}), **data.summary.get("methods", {})}
    return [
        Method(data.methods[name], wording.METHODS.get(name, ""), name == "skyglow", figures)
        for name, topics in by_method.items()
        if name in data.methods and "rmse" in (figures := topics.get(topic, {}).get(level, {}))
    ]


def _label(areas: str, methods: list[Method]) -> str:
    errors = "; ".join(f"{method.name} {wording.points(method.figures['rmse'])}" for method in methods)
    return f"Typical error in percentage points, {areas}: {errors}"


def _verdict(methods: list[Method]) -> str:
    """Which method was nearest to the truth, ours or not."""
    best, second = methods[0], methods[1]
    ours = next(method for method in methods if method.ours)
    gap = second.figures["rmse"] - best.figures["rmse"]
    if gap < _TIE and ours in (best, second):
        return f"Level: {best.name} and {second.name}, {wording.points(best.figures['rmse'])} points off."
    if best.ours:
        return (
            f"Ours came nearest: {wording.points(best.figures['rmse'])} points off; next, {second.name}, "
            f"{wording.points(second.figures['rmse'])}."
        )
    return (
        f"Ours did not come nearest: {best.name} was {wording.points(best.figures['rmse'])} points off, "
        f"ours {wording.points(ours.figures['rmse'])}."
    )
