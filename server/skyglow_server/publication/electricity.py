# SPDX-License-Identifier: Apache-2.0
"""Electricity use as a tidy table of its own: its figures are kWh a home and day, not shares."""

from collections.abc import Iterable, Mapping
from typing import Any

from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import words
from skyglow_shared.electricity import PARTS

NAME, TITLE = "electricity-use.csv", "Electricity use of homes, and the share that is vacant"
DIGITS = 3

_NUMBER = {"base": "decimal", "minimum": "0"}
COLUMNS: Mapping[str, tuple[Any, str]] = {
    "area_code": ({"base": "string", "format": "[EW][0-9]{8}"}, "Nine-character GSS code of the area"),
    "area_name": ("string", "Name of the area"),
    "level": ({"base": "string", "format": "LSOA|MSOA|LAD"}, "Kind of area: LSOA, MSOA or LAD"),
    "topic": ("string", "electricity_use"),
    "group": ("string", "Part of the local day, all day, the median of all day, or the share of vacant homes"),
    "unit": ("string", "kWh a home and day, or share of homes"),
    "estimate": (_NUMBER, "Estimate; empty when withheld"),
    "lower": (_NUMBER, "Lower end of the 95% interval"),
    "upper": (_NUMBER, "Upper end of the 95% interval, with what homes held to the public bound may use beyond it"),
    "standard_error": (_NUMBER, "Standard error: privacy noise, and homes without a meter"),
    "quality": ("string", "Quality in plain words, from the coefficient of variation"),
    "status": ({"base": "string", "format": "published|suppressed"}, "Whether a figure is published or suppressed"),
    "shorthand": ({"base": "string", "format": r"\[[cuxz]\]"}, "As in the tables of shares"),
    "reason": ("string", "Name of the release rule that withheld it"),
}
_ORDER = (ALL_DAY, *PARTS, MEDIAN, VACANT)


def ordered(estimates: Iterable[Estimate]) -> list[Estimate]:
    """Districts first, areas by code, the day before its parts."""
    return sorted(estimates, key=lambda item: (-LEVELS.index(item.level), item.area_code, _ORDER.index(item.group)))


def lines(estimates: Iterable[Estimate]) -> list[list[str]]:
    """One line a figure, in order."""
    return [_line(item) for item in ordered(estimates)]


def _line(item: Estimate) -> list[str]:
    numbers = (item.estimate, item.lower, item.upper, item.deviation)
    return [
        item.area_code,
        item.area_name,
        item.level,
        item.topic,
        item.group,
        "share of homes" if item.group == VACANT else "kWh a home and day",
        *("" if number is None else f"{number:.{DIGITS}f}" for number in numbers),
        words.quality(item),
        item.status,
        words.shorthand(item),
        item.reason,
    ]
