# SPDX-License-Identifier: Apache-2.0
"""What every tidy table of figures has in common: whose a figure is, how good it is, and why it may be withheld."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import words

#: Figures are published to a tenth of a percentage point, or a watt-hour a day: the rounding rule.
DIGITS = 3

#: Columns by name: their CSVW type, and what they say.
Columns = Mapping[str, tuple[Any, str]]

SHARE = {"base": "decimal", "minimum": "0", "maximum": "1"}
AREA: Columns = {
    "area_code": ({"base": "string", "format": "[EW][0-9]{8}"}, "Nine-character GSS code of the area"),
    "area_name": ("string", "Name of the area"),
    "level": ({"base": "string", "format": "LSOA|MSOA|LAD"}, "Kind of area: LSOA, MSOA or LAD"),
}


def state(shorthand: str) -> Columns:
    """The last columns of a table, of which `shorthand` says what its marks mean."""
    return {
        "quality": ("string", "Quality in plain words, from the coefficient of variation"),
        "status": ({"base": "string", "format": "published|suppressed"}, "Whether a figure is published or suppressed"),
        "shorthand": ({"base": "string", "format": r"\[[cuxz]\]"}, shorthand),
        "reason": ("string", "Name of the release rule that withheld it"),
    }


def number(value: float | None) -> str:
    """A figure as it is published; empty where there is none."""
    return "" if value is None else f"{value:.{DIGITS}f}"


def line(item: Estimate, numbers: Iterable[float | None], *more: str) -> list[str]:
    """One figure's line: its area and group, `more` about it, its numbers, empty where there is none, and its state."""
    return [
        item.area_code,
        item.area_name,
        item.level,
        item.topic,
        item.group,
        *more,
        *map(number, numbers),
        words.quality(item),
        item.status,
        words.shorthand(item),
        item.reason,
    ]


def table(columns: Iterable[str], lines: Iterable[Sequence[str]]) -> bytes:
    """A table as CSV, with the line end that CSVW readers expect by default."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue().encode("utf-8")
