# SPDX-License-Identifier: Apache-2.0
"""Putting single readings in their place: a series of half-hours a home, the first reading of each kept."""

import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.calendar import LONGEST_DAY, day_lengths, to_clock_slots
from skyglow_client.readings.disk import scratch
from skyglow_client.readings.rows import HALF_HOUR

#: A stamp this near a half-hour, in seconds, is that half-hour's; others can't be told.
NEAR_ENOUGH: Final = 300
HOMES_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Series:
    """Readings by home and half-hour of the period, NaN where there is none; scratch files back both arrays.

    Attributes
    ----------
    kwh : ndarray of float32, shape (homes, half-hours)
    refused : ndarray of bool, shape (homes, half-hours)
        Given twice with different readings.
    lengths : ndarray of int64, shape (days,)
        Half-hours of each local day; they add up to the second axis.
    """

    kwh: NDArray[np.float32]
    refused: NDArray[np.bool_]
    lengths: NDArray[np.int64]

    @classmethod
    def empty(cls, folder: Path, homes: int, start: datetime.date, days: int) -> "Series":
        """Make room for homes in scratch files of `folder`."""
        lengths = day_lengths(start, days)
        shape = (homes, int(lengths.sum()))
        kwh = scratch(folder / "series.npy", shape, np.dtype(np.float32))
        for first in range(0, homes, HOMES_AT_ONCE):
            kwh[first : first + HOMES_AT_ONCE] = np.nan
        return cls(kwh, scratch(folder / "refused.npy", shape, np.dtype(np.bool_)), lengths)


def gather_readings(rows: pl.DataFrame, meters: pl.DataFrame, series: Series, counts: Counter[str]) -> None:
    """Put readings (``meter_id``, ``seconds``, ``kwh``) of the period and of known meters in their place."""
    keyed = rows.drop_nulls(["meter_id", "seconds"])
    listed = keyed.join(meters, on="meter_id", how="inner", maintain_order="left")
    known = listed.drop_nulls("home")
    counts["rows"] += rows.height
    counts["rows_without_key"] += rows.height - keyed.height
    counts["rows_of_unknown_meters"] += keyed.height - listed.height
    counts["rows_of_meters_left_out"] += listed.height - known.height
    seconds = known["seconds"].to_numpy()
    half_hour = (seconds + HALF_HOUR // 2) // HALF_HOUR
    away = np.abs(seconds - half_hour * HALF_HOUR)
    inside = (half_hour >= 0) & (half_hour < series.kwh.shape[1])
    read = inside & (away <= NEAR_ENOUGH) & known["kwh"].is_not_null().to_numpy()
    counts["rows_outside_period"] += int((~inside).sum())
    counts["stamps_between"] += int((inside & (away > NEAR_ENOUGH)).sum())
    counts["stamps_moved"] += int((read & (away > 0)).sum())
    home, kwh = known["home"].to_numpy().astype(np.int64), known["kwh"].to_numpy()
    _place(home[read] * series.kwh.shape[1] + half_hour[read], kwh[read], series, counts)


def _place(place: NDArray[np.int64], kwh: NDArray[np.float32], series: Series, counts: Counter[str]) -> None:
    """Write the first reading of each place, compare later ones with it."""
    there, kwh = place[~np.isnan(kwh)], kwh[~np.isnan(kwh)]
    flat, refused = series.kwh.reshape(-1), series.refused.reshape(-1)
    first = np.zeros(there.size, dtype=bool)
    first[np.unique(there, return_index=True)[1]] = True
    first &= np.isnan(flat[there])
    flat[there[first]] = kwh[first]
    again = there[~first]
    differs = flat[again] != kwh[~first]
    fresh = np.unique(again[differs & ~refused[again]])
    refused[fresh] = True
    counts["readings_repeated"] += int((~differs).sum())
    counts["readings_conflicting"] += int(fresh.size)


def clock_days(series: Series) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Some homes at a time, their readings by local day and clock slot, [homes, days, 48]."""
    days = series.lengths.size
    begins = np.cumsum(series.lengths) - series.lengths
    period = np.arange(LONGEST_DAY)
    exists = period < series.lengths[:, None]
    source = np.where(exists, begins[:, None] + period, 0)
    for first in range(0, len(series.kwh), HOMES_AT_ONCE):
        part = slice(first, first + HOMES_AT_ONCE)
        kwh = np.where(series.refused[part], np.float32(np.nan), series.kwh[part])
        by_day = np.where(exists, kwh[:, source], np.float32(np.nan))
        slots = to_clock_slots(by_day.reshape(-1, LONGEST_DAY), np.tile(series.lengths, len(kwh)))
        yield part, slots.reshape(len(kwh), days, -1)
