# SPDX-License-Identifier: Apache-2.0
"""Electricity use as a tidy table of its own: its figures are kWh a home and day, not shares."""

from collections.abc import Iterable

from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Estimate
from skyglow_server.publication.columns import AREA, Columns, line, state
from skyglow_shared.electricity import PARTS

NAME, TITLE = "electricity-use.csv", "Electricity use of homes, and the share that is vacant"

_NUMBER = {"base": "decimal", "minimum": "0"}
COLUMNS: Columns = {
    **AREA,
    "topic": ("string", "electricity_use"),
    "group": ("string", "Part of the local day, all day, the median of all day, or the share of vacant homes"),
    "unit": ("string", "kWh a home and day, or share of homes"),
    "estimate": (_NUMBER, "Estimate; empty when withheld"),
    "lower": (_NUMBER, "Lower end of the 95% interval"),
    "upper": (_NUMBER, "Upper end of the 95% interval, with what homes held to the public bound may use beyond it"),
    "standard_error": (_NUMBER, "Standard error: privacy noise, and homes without a meter"),
    **state("As in the tables of shares"),
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
    return line(item, numbers, "share of homes" if item.group == VACANT else "kWh a home and day")
