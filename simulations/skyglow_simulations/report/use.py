# SPDX-License-Identifier: Apache-2.0
"""The report's section on electricity use: the district by part of the day, and every MSOA's day."""

from collections.abc import Iterable
from dataclasses import dataclass

from skyglow_server.estimation import Estimate
from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT
from skyglow_server.publication import words
from skyglow_shared.electricity import PARTS
from skyglow_simulations.report.data import ReportData

_NAMES = {ALL_DAY: "All day, mean", MEDIAN: "All day, median", VACANT: "Vacant homes"}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure in words: what or where, estimate, lower and upper end; marks in their places where it is withheld."""

    name: str
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What a district uses, by part of the day, and how much a home uses in each MSOA."""

    district: str
    parts: tuple[Line, ...]
    msoas: tuple[Line, ...]


def section(data: ReportData) -> Section | None:
    """The section, or None where a study does not ask for electricity use."""
    districts = [item for item in data.use if item.level == "LAD"]
    if not districts:
        return None
    first = [item for item in districts if item.area_code == districts[0].area_code]
    order = (ALL_DAY, MEDIAN, *PARTS, VACANT)
    parts = sorted(first, key=lambda item: order.index(item.group))
    msoas = [item for item in data.use if (item.level, item.group) == ("MSOA", ALL_DAY)]
    return Section(
        districts[0].area_name,
        tuple(Line(_NAMES.get(item.group, item.group), _numbers(item)) for item in parts),
        tuple(Line(item.area_name, _numbers(item)) for item in _by_name(msoas)),
    )


def _by_name(items: Iterable[Estimate]) -> list[Estimate]:
    return sorted(items, key=lambda item: item.area_name)


def _numbers(item: Estimate) -> tuple[str, ...]:
    if item.estimate is None or item.lower is None or item.upper is None:
        return (words.shorthand(item),) * 3
    if item.group == VACANT:
        return tuple(f"{100 * number:.1f}%" for number in (item.estimate, item.lower, item.upper))
    return tuple(f"{number:.2f}" for number in (item.estimate, item.lower, item.upper))
