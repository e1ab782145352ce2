# SPDX-License-Identifier: Apache-2.0
"""A sweep's cells as curves: each measure, by series and epsilon, with its band over the cities."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.frontier.sweep import Cell, Series

_BAND = (10, 90)  # percentiles over cities
_FEWEST = 4  # numbers of cities of which a band says anything


@dataclass(frozen=True, slots=True)
class Point:
    """One measure of one series at one level of epsilon, over cities.

    Attributes
    ----------
    measure : str
        ``rmse``, ``bias``, ``coverage``, ``interval_width`` (of estimates), ``auc`` (of a model), ``auc_start`` (of
        what its training began from) or ``auc_non_private`` (of a fit to the same homes without privacy).
    topic : str
    level : str
        Of geography; empty for `auc`.
    series : str
    epsilon : float or None
        None where the series has no level.
    value : float
        Root mean square over cities for ``rmse``, mean for all others.
    low, high : float or None
        10th and 90th percentile over cities; None of fewer than four.
    cities : int
    """

    measure: str
    topic: str
    level: str
    series: Series
    epsilon: float | None
    value: float
    low: float | None
    high: float | None
    cities: int


def points(cells: Iterable[Cell]) -> list[Point]:
    """Gather the cells of all cities, in the order in which series, levels and topics appear."""
    gathered: dict[tuple[str, str, str, Series, float | None], list[float]] = {}
    for cell in cells:
        for measure, topic, level, value in _measured(cell):
            gathered.setdefault((measure, topic, level, cell.series, cell.epsilon), []).append(value)
    return [_point(key, np.array(values)) for key, values in gathered.items()]


def to_csv(table: Sequence[Point]) -> str:
    """The table as tidy CSV, one line a point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Point)])
    for point in table:
        cells = (f"{value:.6g}" if isinstance(value, float) else value for value in astuple(point))
        writer.writerow(["" if value is None else value for value in cells])
    return text.getvalue()


def _measured(cell: Cell) -> Iterator[tuple[str, str, str, float]]:
    for topic, levels in cell.figures.items():
        for level, figures in levels.items():
            for measure in ("rmse", "bias", "coverage", "interval_width"):
                if measure in figures:
                    yield measure, topic, level, figures[measure]
    for name, figures in cell.models.items():
        yield "auc", name, "", figures["auc"]
        if cell.series == "without noise":
            for measure in ("auc_start", "auc_non_private"):
                if measure in figures:
                    yield measure, name, "", figures[measure]


def _point(key: tuple[str, str, str, Series, float | None], values: NDArray[np.float64]) -> Point:
    combine: Callable[..., float] = _root_mean_square if key[0] == "rmse" else np.mean
    low, high = (float(end) for end in np.percentile(values, _BAND)) if len(values) >= _FEWEST else (None, None)
    return Point(*key, float(combine(values)), low, high, len(values))


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
