# SPDX-License-Identifier: Apache-2.0
"""The table of estimates as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Estimate
from skyglow_shared.files import write_atomically

COLUMNS = ("area_code", "area_name", "level", "topic", "group", "estimate", "lower", "upper", "status")

#: A true value's address: area code, topic, group.
Truth = Mapping[tuple[str, str, str], float]


def write_estimates_csv(path: Path, estimates: Iterable[Estimate], truth: Truth | None = None) -> None:
    """Write estimates, one line each, sorted by topic, level (smallest areas first), area and group.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    estimates : iterable of Estimate
    truth : mapping of (area_code, topic, group) to float, optional
        Simulations only: adds a column `truth`; empty where unknown.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if truth is None else (*COLUMNS, "truth"))
    for item in sorted(estimates, key=_place):
        line = [
            item.area_code,
            item.area_name,
            item.level,
            item.topic,
            item.group,
            *map(_rounded, (item.estimate, item.lower, item.upper)),
            item.status,
        ]
        if truth is not None:
            line.append(_rounded(truth.get((item.area_code, item.topic, item.group))))
        writer.writerow(line)
    write_atomically(path, text.getvalue().encode("utf-8"))


def _place(item: Estimate) -> tuple[str, int, str, bool, str]:
    return item.topic, LEVELS.index(item.level), item.area_code, item.group.startswith("weekend"), item.group


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
