# SPDX-License-Identifier: Apache-2.0
"""The section on where: map, ranking, table, and what the page's switches need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report import maps, ranking, wording
from skyglow_simulations.report.data import ReportData
from skyglow_simulations.report.scales import WIDTHS, Classes, axis, classes
from skyglow_simulations.report.when import LARGEST_FIRST, TOPIC, areas_of, curves_of, kinds_of

Numbers = list[float] | None
_LEVELS = ("MSOA", "LAD")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic's answer and tables.

    Attributes
    ----------
    name, words : str
        The topic, and the homes it counts.
    district : Estimate or None
    answer : Markup or None
    tables : list of (str, list of Estimate)
        By level.
    withheld : str
        How many areas are withheld; empty if none.
    """

    name: str
    words: str
    district: Estimate | None
    answer: Markup | None
    tables: list[tuple[str, list[Estimate]]]
    withheld: str


@dataclass(frozen=True, slots=True)
class Where:
    """What the section shows: every topic, and the first one on the map and in order.

    Attributes
    ----------
    topics : list of Topic
    map, ranking : Markup or None
    legend : list of (str, str)
        Colour and words of each class.
    levels : list of (str, str)
        Name and words of every level that the map can show.
    """

    topics: list[Topic]
    map: Markup | None
    ranking: Markup | None
    legend: list[tuple[str, str]]
    levels: list[tuple[str, str]]


def section(data: ReportData, names: Sequence[str]) -> Where:
    """Put the section together for topics that have one estimate an area, the one that is shown first in front."""
    districts = [found[0] for name in names if len(found := data.pick(name, "LAD")) == 1]
    high = _answers_end(districts)
    topics = [_topic(data, name, high) for name in names]
    first, msoas = topics[0], data.pick(topics[0].name, "MSOA")
    district, words = first.district, first.words
    whole, within = data.pick(first.name, "LAD"), {area.msoa: area.lad for area in data.study.areas}
    steps = _share_classes([*msoas, *whole])
    drawn = None
    if data.boundaries is not None and data.boundaries["features"] and msoas:
        label = f"Map of MSOAs by the estimated share of {words}"
        drawn = maps.draw(data.boundaries, [*msoas, *whole], within, steps, label)
    return Where(
        topics=topics,
        map=drawn,
        ranking=ranking.draw(msoas, district, _share_axis(msoas), f"MSOAs in order of the estimated share of {words}")
        if msoas
        else None,
        legend=steps.labels(),
        levels=[(level, wording.CHOICES[level]) for level in _LEVELS] if drawn and whole else [],
    )


def payload(data: ReportData, topics: Sequence[str]) -> dict[str, Any]:
    """Return the values that the page's switches show, as plain JSON data."""
    found = {topic: _share_payload(data, topic) for topic in topics if data.pick(topic, "MSOA")}
    curves = [item for level in LARGEST_FIRST for item in curves_of(data, level)]
    if curves:
        found[TOPIC] = _day_payload(data, curves)
    shown = [item for item in data.estimates if item.level != "LSOA"] + curves
    return {"names": {item.area_code: item.area_name for item in shown}, "topics": found}


def _topic(data: ReportData, name: str, high: float) -> Topic:
    districts = data.pick(name, "LAD")
    district = districts[0] if len(districts) == 1 else None
    return Topic(
        name=name,
        words=wording.topic(name),
        district=district,
        answer=_answer(data, district, high),
        tables=[(level, items) for level in ("MSOA", "LSOA") if (items := data.pick(name, level))],
        withheld=_withheld(data, name),
    )


def _answers_end(districts: Sequence[Estimate]) -> float:
    """The high end of the axis that all answers are drawn on."""
    uppers = [item.upper for item in districts if item.upper is not None]
    room = 1.5 if len(uppers) == 1 else 1.2
    return min(axis([room * max(uppers)], zero=True)[1], 1.0) if uppers else 1.0


def _answer(data: ReportData, district: Estimate | None, high: float) -> Markup | None:
    if district is None or district.upper is None:
        return None
    truth = data.true(district)
    label = f"Estimate {wording.percent(district.estimate)}, 95% interval {wording.interval(district)}"
    label += "" if truth is None else f", simulated truth {wording.percent(truth)}"
    return ranking.answer(district, truth, high, label)


def _withheld(data: ReportData, topic: str) -> str:
    counts = []
    for level in ("MSOA", "LSOA"):
        found = data.pick(topic, level)
        missing = sum(item.estimate is None for item in found)
        if missing:
            counts.append(f"{missing} of {len(found)} {wording.SHORT_LEVELS[level]}")
    hatched = "; hatched on the map" if any("MSOA" in count for count in counts) else ""
    return f"Withheld here: {' and '.join(counts)}{hatched}." if counts else ""


def _shown(estimates: Sequence[Estimate]) -> list[list[float]]:
    return [numbers for item in estimates if (numbers := _numbers(item)) is not None]


def _share_classes(estimates: Sequence[Estimate]) -> Classes:
    return classes([numbers[0] for numbers in _shown(estimates)])


def _share_axis(estimates: Sequence[Estimate]) -> tuple[float, float, float]:
    return axis([numbers[2] for numbers in _shown(estimates)], zero=True)


def _share_payload(data: ReportData, topic: str) -> dict[str, Any]:
    msoas = data.pick(topic, "MSOA")
    return {
        "words": wording.topic(topic),
        "scales": _scales({level: _shown(data.pick(topic, level)) for level in _LEVELS}),
        "axis": _share_axis(msoas),
        "areas": {item.area_code: _numbers(item) for item in [*data.pick(topic, "LAD"), *msoas]},
        "district": next((item.area_code for item in data.pick(topic, "LAD")), None),
    }


def _day_payload(data: ReportData, curves: Sequence[Estimate]) -> dict[str, Any]:
    """Return every curve; colours and axis are one for all hours, so that the day can be seen to pass."""
    shown = {level: _shown([item for item in curves if item.level == level]) for level in _LEVELS}
    areas: dict[str, dict[str, list[Numbers]]] = {}
    truths, levels = {}, dict[str, list[str]]()
    for code, items in areas_of(curves).items():
        levels.setdefault(items[0].level, []).append(code)
        areas[code] = {kind: [_numbers(item, 4) for item in slots] for kind, slots in kinds_of(items).items()}
        true = {kind: [data.true(item) for item in slots] for kind, slots in kinds_of(items).items()}
        if all(value is not None for values in true.values() for value in values):
            truths[code] = {kind: [round(value or 0, 4) for value in values] for kind, values in true.items()}
    return {
        "words": wording.topic(TOPIC),
        "scales": _scales(shown, most=12),
        "axis": axis([number for numbers in shown["MSOA"] for number in numbers]),
        "areas": areas,
        "truth": truths,
        "district": next((item.area_code for item in curves if item.level == "LAD"), None),
        "levels": levels,
        "within": {area.lsoa: area.msoa for area in data.study.areas if area.lsoa in areas},
        "homes": {code: round(data.households[code]) for code in areas if code in data.households},
    }


def _scales(shown: Mapping[str, Sequence[Sequence[float]]], most: int = 7) -> dict[str, Any]:
    """By level: one scale for estimates of all levels, so that colours mean the same, and one of its own for widths."""
    every = classes([numbers[0] for level in shown.values() for numbers in level], most=most)
    found = {}
    for level, own in shown.items():
        widths = classes([numbers[2] - numbers[1] for numbers in own], WIDTHS, most=most)
        both = {"estimate": every, "width": widths}
        found[level] = {name: {"edges": scale.edges, "labels": scale.labels()} for name, scale in both.items()}
    return found


def _numbers(item: Estimate, digits: int = 6) -> Numbers:
    if item.estimate is None or item.lower is None or item.upper is None:
        return None
    return [round(number, digits) for number in (item.estimate, item.lower, item.upper)]
