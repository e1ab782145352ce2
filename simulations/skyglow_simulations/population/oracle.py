# SPDX-License-Identifier: Apache-2.0
"""Cleaning by somebody who knows every fault: raw files and the list of faults give the true readings exactly.

It reads the files as a supplier does and then does nothing but what the list says. Whatever the list leaves out stays
wrong, or is refused here; so the list is complete.
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.formats import Format
from skyglow_client.readings.rows import HALF_HOUR, PERIODS, files_of, reading_rows, wide_rows
from skyglow_shared.errors import DataError
from skyglow_simulations.population.dirty import VALUE_FAULTS
from skyglow_simulations.population.timeline import Timeline

_UNLISTED = "the files hold a fault that the list lacks; it is not the list of these files"


def restore(
    source: Path, form: Format, faults: pl.DataFrame, meter_id: NDArray[np.int64], timeline: Timeline
) -> NDArray[np.float32]:
    """Undo every fault of a list.

    Parameters
    ----------
    source : Path
        Folder of the raw files.
    form : Format
    faults : DataFrame
        Of `dirty.SCHEMA`, in the order written.
    meter_id : ndarray of int64, shape (homes,)
        The meters wanted, in the order wanted.
    timeline : Timeline

    Returns
    -------
    ndarray of float32, shape (homes, days, 48)
        True readings by clock slot; NaN where the clock skips.

    Raises
    ------
    DataError
        The files hold stamps, copies or readings that the list does not explain.
    """
    row = {int(meter): place for place, meter in enumerate(meter_id)}
    rows = _read(source, form, timeline)
    home = np.array([row[int(meter)] for meter in rows["meter_id"]], dtype=np.int64)
    seconds, kwh = rows["seconds"].to_numpy().copy(), rows["kwh"].to_numpy()
    for fault in _of(faults, "moved_stamp"):
        first, last = fault["half_hour"], fault["half_hour"] + fault["half_hours"]
        true = seconds - fault["seconds"]
        inside = (home == row[fault["meter_id"]]) & (true >= first * HALF_HOUR) & (true < last * HALF_HOUR)
        seconds[inside & (true % HALF_HOUR == 0)] -= fault["seconds"]
    half_hour = seconds // HALF_HOUR
    if (seconds % HALF_HOUR).any() or (half_hour < 0).any() or (half_hour >= len(timeline.day)).any():
        raise DataError(_UNLISTED)
    line = _without_copies(home, half_hour, kwh, faults, row, timeline)
    for kind in reversed(VALUE_FAULTS):
        for fault in reversed(_of(faults, kind)):
            run = slice(fault["half_hour"], fault["half_hour"] + fault["half_hours"])
            one = row[fault["meter_id"]]
            if kind == "swapped":
                other = row[fault["other_meter_id"]]
                line[[one, other], run] = line[[other, one], run]
            else:
                line[one, run] = np.array(fault["kwh"], np.float32)
    return timeline.clock(line)


def _of(faults: pl.DataFrame, kind: str) -> list[dict[str, int]]:
    return faults.filter(pl.col("kind") == kind).to_dicts()


def _read(source: Path, form: Format, timeline: Timeline) -> pl.DataFrame:
    """Every reading there is: meter, seconds from the first midnight, kWh."""
    days = len(timeline.lengths)
    tables = []
    for path in files_of(source, form):
        if form.layout != "wide":
            tables += list(reading_rows(path, form, timeline.start, days))
            continue
        for block in wide_rows(path, form):
            long = block.unpivot(PERIODS, index=["meter_id", "date"], variable_name="number", value_name="kwh")
            day = (long["date"] - timeline.start).dt.total_days().to_numpy()
            number = long["number"].str.slice(2).cast(pl.Int64).to_numpy() - 1
            seconds = pl.Series("seconds", (timeline.begins[day] + number) * HALF_HOUR)
            tables.append(long.with_columns(seconds).select("meter_id", "seconds", "kwh"))
    return pl.concat([table.cast({"kwh": pl.Float32, "seconds": pl.Int64}) for table in tables]).drop_nulls("kwh")


def _without_copies(  # noqa: PLR0917 - three aligned columns and what explains them
    home: NDArray[np.int64],
    half_hour: NDArray[np.int64],
    kwh: NDArray[np.float32],
    faults: pl.DataFrame,
    row: dict[int, int],
    timeline: Timeline,
) -> NDArray[np.float32]:
    """The readings as a line a home, listed copies left out."""
    line = np.full((len(row), len(timeline.day)), np.nan, np.float32)
    expected = np.zeros(line.shape, np.int64)
    wrong = np.full(line.shape, np.nan, np.float32)
    for kind in ("equal_duplicate", "conflicting_duplicate"):
        for fault in _of(faults, kind):
            place = (row[fault["meter_id"]], slice(fault["half_hour"], fault["half_hour"] + fault["half_hours"]))
            expected[place] += 1
            if kind == "conflicting_duplicate":
                wrong[place] = np.array(fault["kwh"], np.float32)
    count = np.zeros(line.shape, np.int64)
    np.add.at(count, (home, half_hour), 1)
    if (count > 1 + expected).any():
        raise DataError(_UNLISTED)
    right = ~((kwh == wrong[home, half_hour]) & (count[home, half_hour] > 1))
    line[home[right], half_hour[right]] = kwh[right]
    differs = line[home[right], half_hour[right]] != kwh[right]
    if differs.any():
        raise DataError(_UNLISTED)
    return line
