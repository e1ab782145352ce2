# SPDX-License-Identifier: Apache-2.0
"""What each sheet of the spreadsheet shows: shares, an area a row or a half-hour a column, then electricity use."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.release import Release
from skyglow_shared.electricity import PARTS

_AREA = ("Area code", "Area name")
_ONE = ("Estimate (%)", "Lower limit (%)", "Upper limit (%)", "Quality")
_DAYS: Mapping[str, str] = {"weekday": ", weekdays", "weekend": ", weekends"}
_DAY = ("Mean, all day (kWh)", "Lower limit (kWh)", "Upper limit (kWh)", "Quality of the mean")
_USE = {MEDIAN: "Median, all day (kWh)", **{part: f"{part} (kWh)" for part in PARTS}, VACANT: "Vacant homes (%)"}

_NO_OWN_SUM = " No sum is of an LSOA's own homes: a curve follows from its MSOA's and from what homes the census found."

Row = list[str | float]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table, its title, the figures in it, their unit, the notes it needs by name, and what is said beside it."""

    title: str
    table: pd.DataFrame
    items: Sequence[Estimate]
    scope: str
    notes: tuple[str, ...] = ()
    about: str = ""


def sheets(release: Release) -> Iterator[Sheet]:
    """Yield a release's tables in their order."""
    for (topic, level), items in release.tables.items():
        title = f"{words.title(topic)}, {words.LEVELS[level]}"
        if all(item.group == "all" for item in items):
            yield Sheet(title, _one_a_row(items), items, "Percentage of all households", ("interval", "quality"))
            continue
        about = "Estimates only; their intervals are in the CSV file of the same topic."
        about += _NO_OWN_SUM if level == "LSOA" else ""
        for day, on in _DAYS.items():
            chosen = [item for item in items if item.group.startswith(day)]
            yield Sheet(title + on, _by_half_hour(chosen), chosen, "Percentage of all households", about=about)
    yield from use_sheets(release.use)


def use_sheets(use: Sequence[Estimate]) -> Iterator[Sheet]:
    """Yield electricity use, a table a level, districts first."""
    for level in reversed(LEVELS):
        items = sorted((item for item in use if item.level == level), key=lambda item: item.area_code)
        if items:
            yield Sheet(
                f"Electricity use of homes, {words.LEVELS[level]}",
                _by_part(items),
                items,
                "kWh a home and day; percentage of homes",
                ("interval", "quality"),
                "Local time. Limits of the parts, the median and vacant homes are in electricity-use.csv.",
            )


def _one_a_row(items: Sequence[Estimate]) -> pd.DataFrame:
    return pd.DataFrame([_row(item) for item in items], columns=[*_AREA, *_ONE])


def _row(item: Estimate) -> Row:
    return [item.area_code, item.area_name, *_with_limits(item, _percent)]


def _with_limits(item: Estimate, shown: Callable[[float], float]) -> Row:
    """A figure, its limits and its quality; marks in their places where it is withheld."""
    mark = words.shorthand(item)
    if item.estimate is None:
        return [mark] * len(_ONE)
    quality = " ".join(filter(None, [words.quality(item), mark]))
    limits = [words.UNAVAILABLE if end is None else shown(end) for end in (item.lower, item.upper)]
    return [shown(item.estimate), *limits, quality or words.UNAVAILABLE]


def _alone(item: Estimate, shown: Callable[[float], float]) -> str | float:
    """A figure that stands without its limits: its mark where it is withheld or unreliable."""
    mark = words.shorthand(item)
    return mark if item.estimate is None or mark else shown(item.estimate)


def _by_half_hour(items: Sequence[Estimate]) -> pd.DataFrame:
    rows: dict[str, Row] = {}
    times: dict[str, None] = {}
    for item in items:
        row = rows.setdefault(item.area_code, [item.area_code, item.area_name])
        row.append(_alone(item, _percent))
        times.setdefault(item.group.split(" ")[-1])
    return pd.DataFrame(list(rows.values()), columns=[*_AREA, *times])


def _by_part(items: Sequence[Estimate]) -> pd.DataFrame:
    areas: dict[tuple[str, str], dict[str, Estimate]] = {}
    for item in items:
        areas.setdefault((item.area_code, item.area_name), {})[item.group] = item
    groups = [group for group in _USE if any(group in own for own in areas.values())]
    rows = [
        [*area, *_with_limits(own[ALL_DAY], _kwh), *(_alone(own[group], _unit(group)) for group in groups)]
        for area, own in areas.items()
    ]
    return pd.DataFrame(rows, columns=[*_AREA, *_DAY, *(_USE[group] for group in groups)])


def _unit(group: str) -> Callable[[float], float]:
    return _percent if group == VACANT else _kwh


def _kwh(value: float) -> float:
    return round(value, 2)


def _percent(share: float) -> float:
    return round(100 * share, DIGITS - 2)
