# SPDX-License-Identifier: Apache-2.0
"""The report's page: everything it says and shows, put into the template."""

import json
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_shared.study import digest
from skyglow_simulations.report import charts, maps
from skyglow_simulations.report.data import ReportData

_LEVELS = {"LSOA": "LSOAs (about 650 homes)", "MSOA": "MSOAs (about 3,000 homes)", "LAD": "District"}
_SLOTS = 48
_PHASES = {
    "training": "Training",
    "calibration": "Calibration",
    "release": "Area sums",
}


def render(data: ReportData) -> str:
    """Render the report.

    Parameters
    ----------
    data : ReportData

    Returns
    -------
    str
        A whole HTML document that loads nothing from anywhere.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skyglow_simulations.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["percent"] = _percent
    topic = data.study.models[0].name
    return environment.get_template("report.html").render(
        data=data,
        study=data.study,
        summary=data.summary,
        digest=digest(data.study),
        topic=topic,
        district=data.pick(topic, "LAD"),
        msoas=data.pick(topic, "MSOA"),
        levels=_LEVELS,
        phases=_PHASES,
        map=_map(data, topic),
        legend=_legend(data.pick(topic, "MSOA")),
        scatters=_scatters(data, topic),
        errors=_errors(data, topic),
        comparison=_comparison(data, topic),
        verdict=_verdict(data, topic),
        district_days=_days(data, data.pick("occupancy", "LAD"), small=False),
        area_days=_days(data, data.pick("occupancy", "MSOA"), small=True),
        payload=_payload(data, topic),
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return "withheld" if value is None else f"{100 * value:.{digits}f} %"


def _map(data: ReportData, topic: str) -> Markup | None:
    estimates = data.pick(topic, "MSOA")
    if data.boundaries is None or not estimates:
        return None
    return maps.draw(data.boundaries, estimates, "Map of MSOAs by the estimated share of homes all aged 66 or over")


def _legend(estimates: Sequence[Estimate]) -> list[tuple[str, str]]:
    values = [item.estimate for item in estimates if item.estimate is not None]
    if not values:
        return []
    ends = [min(values), *maps.thresholds(values), max(values)]
    return [
        (colour, f"{100 * low:.0f}–{100 * high:.0f} %")
        for colour, low, high in zip(maps.RAMP, ends[:-1], ends[1:], strict=True)
    ]


def _scatters(data: ReportData, topic: str) -> list[tuple[str, Markup, float]]:
    """(level, chart, coverage) where there is truth."""
    found = []
    for level in ("MSOA", "LSOA"):
        pairs = [(item, true) for item in data.pick(topic, level) if (true := data.true(item)) is not None]
        shown = [(item, true) for item, true in pairs if item.lower is not None and item.upper is not None]
        if shown:
            held = sum(float(item.lower or 0) <= true <= float(item.upper or 0) for item, true in shown)
            chart = charts.against_truth(shown, f"Estimate against truth for {_LEVELS[level]}")
            found.append((level, chart, held / len(shown)))
    return found


def _errors(data: ReportData, topic: str) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by method and level, ours first; only where there is truth."""
    if data.truth is None:
        return {}
    figures = {"skyglow": data.summary["topics"].get(topic, {})}
    figures |= {name: found.get(topic, {}) for name, found in data.summary["methods"].items()}
    return {data.methods[name]: levels for name, levels in figures.items() if name in data.methods}


def _comparison(data: ReportData, topic: str) -> Markup | None:
    errors = {
        method: {level: figures["rmse"] for level, figures in levels.items() if "rmse" in figures}
        for method, levels in _errors(data, topic).items()
    }
    if not errors:
        return None
    return charts.methods(errors, _LEVELS, "Root-mean-square error of each method, in percentage points")


def _verdict(data: ReportData, topic: str) -> list[str]:
    """Which method was nearest to the truth at each level, in a sentence; ours or not."""
    sentences = []
    for level, name in _LEVELS.items():
        errors = {
            method: levels[level]["rmse"]
            for method, levels in _errors(data, topic).items()
            if "rmse" in levels.get(level, {})
        }
        if not errors:
            continue
        ours = data.methods["skyglow"]
        best = min(errors, key=lambda method: errors[method])
        if best == ours:
            second = min((method for method in errors if method != ours), key=lambda method: errors[method])
            sentences.append(
                f"{name}: ours was nearest to the truth, {100 * errors[ours]:.1f} points off; "
                f"the next, {second}, {100 * errors[second]:.1f}."
            )
        else:
            sentences.append(
                f"{name}: {best} was nearest, {100 * errors[best]:.1f} points off; ours {100 * errors[ours]:.1f}."
            )
    return sentences


def _days(data: ReportData, estimates: Sequence[Estimate], *, small: bool) -> list[tuple[str, list[Markup]]]:
    """(area name, [weekday chart, weekend chart]) by area."""
    areas: dict[str, list[Estimate]] = {}
    for item in estimates:
        areas.setdefault(item.area_code, []).append(item)
    found = []
    for items in areas.values():
        drawn = []
        for kind in ("weekday",) if small else ("weekday", "weekend"):
            slots = sorted((item for item in items if item.group.startswith(kind)), key=lambda item: item.group)
            truth = [data.true(item) for item in slots]
            known = [value for value in truth if value is not None]
            first = 0 if kind == "weekday" else _SLOTS
            public = None if small else data.public_curve[first : first + _SLOTS]
            label = f"Share of homes occupied on a {kind} in {items[0].area_name}"
            drawn.append(charts.day(slots, known if len(known) == _SLOTS else None, public, label, small=small))
        found.append((items[0].area_name, drawn))
    return found


def _payload(data: ReportData, topic: str) -> Markup:
    """What the map's switch needs, as JSON that cannot end its script element."""
    areas: dict[str, Any] = {}
    for item in data.pick(topic, "MSOA"):
        areas[item.area_code] = {"name": item.area_name, "share": _numbers(item), "day": {}}
    for item in data.pick("occupancy", "MSOA"):
        areas.setdefault(item.area_code, {"name": item.area_name, "share": None, "day": {}})
        areas[item.area_code]["day"][item.group] = _numbers(item)
    plain: dict[str, Any] = {"ramp": maps.RAMP, "areas": areas}
    return Markup(json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c"))  # noqa: S704 - escaped just here


def _numbers(item: Estimate) -> list[float] | None:
    if item.estimate is None or item.lower is None or item.upper is None:
        return None
    return [round(item.estimate, 4), round(item.lower, 4), round(item.upper, 4)]
