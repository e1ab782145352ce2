# SPDX-License-Identifier: Apache-2.0
"""The section on when: curves of the day for the district and every area that the study has curves of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report import charts, wording
from skyglow_simulations.report.data import ReportData

TOPIC = "occupancy"
LARGEST_FIRST = ("LAD", "MSOA", "LSOA")
#: The local time that is asked first: when most people who go out to work are out.
AT = "11:00"


@dataclass(frozen=True, slots=True)
class When:
    """What the section shows.

    Attributes
    ----------
    area : str
        The name of the area that is shown first: the district, where the study has its curve.
    charts : list of (str, Markup)
        Day type and chart, for that area.
    small : list of (str, list of (str, Markup))
        Day type, then area name and chart for every MSOA.
    levels : list of (str, str)
        Name and words of every level that has curves, the largest areas first.
    choices : list of (str, str)
        Code and name of every area of the first of them.
    at : str
        The local time that is asked first.
    parts : list of Estimate
        LSOAs then, on a weekday.
    mapped : bool
        Whether MSOAs have curves, for the map to show.
    sentences : list of str
    least : str
        When the fewest of the district's homes have somebody in on a weekday; empty if that is withheld.
    """

    area: str
    charts: list[tuple[str, Markup]]
    small: list[tuple[str, list[tuple[str, Markup]]]]
    levels: list[tuple[str, str]]
    choices: list[tuple[str, str]]
    at: str
    parts: list[Estimate]
    mapped: bool
    sentences: list[str]
    least: str


def section(data: ReportData) -> When | None:
    """Put the section together; None where the study has no curves."""
    found = {level: own for level in LARGEST_FIRST if (own := areas_of(curves_of(data, level)))}
    if not found:
        return None
    first, msoas = next(iter(found.values())), found.get("MSOA", {})
    items = next(iter(first.values()))
    district = kinds_of(items) if "LAD" in found else {}
    low = _floor(data)
    return When(
        area=items[0].area_name,
        charts=[(kind, _chart(data, kind, slots, low)) for kind, slots in kinds_of(items).items()],
        small=[
            (
                kind,
                [
                    (area[0].area_name, _chart(data, kind, kinds_of(area)[kind], low, small=True))
                    for area in msoas.values()
                    if kind in kinds_of(area)
                ],
            )
            for kind in kinds_of(items)
        ],
        levels=[(level, wording.CHOICES[level]) for level in found],
        choices=[(code, area[0].area_name) for code, area in first.items()],
        at=AT,
        parts=[item for item in curves_of(data, "LSOA") if item.group == f"weekday {AT}"],
        mapped=bool(msoas),
        sentences=[sentence for kind, slots in district.items() for sentence in _sentences(data, kind, slots)],
        least=_least(district.get("weekday", [])),
    )


def curves_of(data: ReportData, level: str) -> list[Estimate]:
    """All half-hours of a level's areas, by name: in the order in which somebody looks for one."""
    return sorted(data.pick(TOPIC, level), key=lambda item: item.area_name)


def areas_of(estimates: Iterable[Estimate]) -> dict[str, list[Estimate]]:
    """Estimates by area code."""
    areas: dict[str, list[Estimate]] = {}
    for item in estimates:
        areas.setdefault(item.area_code, []).append(item)
    return areas


def kinds_of(items: Iterable[Estimate]) -> dict[str, list[Estimate]]:
    """One area's estimates by day type, in order of the half-hours."""
    kinds: dict[str, list[Estimate]] = {}
    for item in sorted(items, key=lambda item: item.group):
        kinds.setdefault(item.group.split(" ")[0], []).append(item)
    return kinds


def _chart(data: ReportData, kind: str, slots: Sequence[Estimate], low: float, *, small: bool = False) -> Markup:
    label = f"Share of homes with somebody in, by half-hour of a {wording.DAYS.get(kind, kind)}, {slots[0].area_name}"
    public = None if small else _public(data).get(kind)
    return charts.day(slots, _true(data, slots), public, low, label, small=small)


def _true(data: ReportData, slots: Sequence[Estimate]) -> list[float] | None:
    known = [value for item in slots if (value := data.true(item)) is not None]
    return known if len(known) == len(slots) == charts.SLOTS else None


def _public(data: ReportData) -> Mapping[str, Sequence[float]]:
    half = charts.SLOTS
    return {"weekday": data.public_curve[:half], "weekend": data.public_curve[half : 2 * half]}


def _floor(data: ReportData) -> float:
    """Lower end of every curve's axis: a tenth below which nothing is drawn."""
    shown = [item for level in LARGEST_FIRST for item in data.pick(TOPIC, level)]
    values = [value for item in shown for value in (item.lower, data.true(item)) if value is not None]
    return min(0.9, math.floor(10 * min([*values, *data.public_curve, 0.9])) / 10)


def _sentences(data: ReportData, kind: str, slots: Sequence[Estimate]) -> list[str]:
    shown = [item for item in slots if item.estimate is not None]
    if len(shown) != charts.SLOTS:
        return []
    where = shown[0].area_name
    said = [f"In {where}, on a {wording.DAYS.get(kind, kind)}, fewest homes have somebody in {_least(shown)}."]
    truth, public = _true(data, shown), _public(data).get(kind)
    if truth and public:
        ours = _error([float(item.estimate or 0) for item in shown], truth)
        before = _error(public, truth)
        said[0] += (
            f" Over the day the estimated curve is {wording.points(ours)} points from the simulated truth; "
            f"the public curve alone would have been {wording.points(before)}."
        )
    return said


def _least(slots: Sequence[Estimate]) -> str:
    shown = [item for item in slots if item.estimate is not None]
    if not shown:
        return ""
    least = min(shown, key=lambda item: item.estimate or 0)
    return f"at {least.group.split(' ')[1]}: {wording.percent(least.estimate)} (95% interval {wording.interval(least)})"


def _error(values: Sequence[float], truth: Sequence[float]) -> float:
    return math.sqrt(sum((value - true) ** 2 for value, true in zip(values, truth, strict=True)) / len(truth))
