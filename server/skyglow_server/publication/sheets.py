# SPDX-License-Identifier: Apache-2.0
"""Electricity use as tables of the spreadsheet: an area a row, the day, its parts and the share of vacant homes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from skyglow_server.estimation.electricity import ALL_DAY, MEDIAN, VACANT
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import words
from skyglow_shared.electricity import PARTS

SCOPE = "kWh a home and day; percentage of homes"
_LIMITS = ("Mean, all day (kWh)", "Lower limit (kWh)", "Upper limit (kWh)")
_HEADS = {MEDIAN: "Median, all day (kWh)", **{part: f"{part} (kWh)" for part in PARTS}, VACANT: "Vacant homes (%)"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One level's table, its title, and the figures in it."""

    title: str
    table: pd.DataFrame
    items: Sequence[Estimate]


def sheets(use: Iterable[Estimate]) -> Iterable[Sheet]:
    """Yield a table a level, districts first."""
    every = list(use)
    for level in reversed(LEVELS):
        items = sorted((item for item in every if item.level == level), key=lambda item: item.area_code)
        if items:
            yield Sheet(f"Electricity use of homes, {words.LEVELS[level]}", _table(items), items)


def _table(items: Sequence[Estimate]) -> pd.DataFrame:
    areas: dict[tuple[str, str], dict[str, Estimate]] = {}
    for item in items:
        areas.setdefault((item.area_code, item.area_name), {})[item.group] = item
    groups = [group for group in _HEADS if any(group in own for own in areas.values())]
    rows = [[*area, *_day(own[ALL_DAY]), *(_cell(own[group]) for group in groups)] for area, own in areas.items()]
    return pd.DataFrame(rows, columns=["Area code", "Area name", *_LIMITS, *(_HEADS[group] for group in groups)])


def _day(item: Estimate) -> list[str | float]:
    ends = (item.estimate, item.lower, item.upper)
    return [words.shorthand(item) if end is None else round(end, 2) for end in ends]


def _cell(item: Estimate) -> str | float:
    if item.estimate is None:
        return words.shorthand(item)
    return round(100 * item.estimate, 1) if item.group == VACANT else round(item.estimate, 2)
