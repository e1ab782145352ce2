# SPDX-License-Identifier: Apache-2.0
"""Raw files as a supplier's own systems would give them, with faults: meters, readings by day, panel, diaries."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_shared.files import write_atomically
from skyglow_shared.study import COMPOSITION_CLASSES, Period
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.presence import clock_change

_COLUMNS = [f"hh{slot:02d}" for slot in range(1, 51)]
_DIARY_COLUMNS = _COLUMNS[:48]
_ABSURD = np.array([-1.0, -0.05, 400.0, 99999.0], np.float32)  # what faulty meters report, kWh


def write_readings(
    path: Path, meter_id: NDArray[np.int64], kwh: NDArray[np.float32], period: Period, rng: np.random.Generator
) -> None:
    """Write one readings file: a row a meter and local day, half-hours in the order of the day.

    Parameters
    ----------
    path : Path
    meter_id : ndarray of int64, shape (homes,)
    kwh : ndarray of float32, shape (homes, days, 48)
        True readings by local clock slot.
    period : Period
    rng : numpy Generator
        Draws the faults.
    """
    homes, days, _ = kwh.shape
    wide = np.full((homes, days, 50), np.nan, np.float32)
    wide[..., :48] = _with_gaps(kwh, rng)
    for day in range(days):
        change = clock_change(period.start + datetime.timedelta(days=day))
        if change > 0:
            wide[:, day, 2:46], wide[:, day, 46:] = wide[:, day, 4:48].copy(), np.nan
        elif change < 0:
            wide[:, day, 4:50] = wide[:, day, 2:48].copy()
    absurd = (rng.random(wide.shape, np.float32) < p.ABSURD_READING) & np.isfinite(wide)
    wide[absurd] = rng.choice(_ABSURD, int(absurd.sum()))
    rows = wide.reshape(-1, 50)
    keep = rng.random(len(rows)) >= p.MISSING_DAY
    index = np.flatnonzero(keep)
    equal = index[rng.random(len(index)) < p.EQUAL_DUPLICATE]
    conflicting = index[rng.random(len(index)) < p.CONFLICTING_DUPLICATE]
    values = np.concatenate([rows[index], rows[equal], rows[conflicting] * np.float32(1.5)])
    index = np.concatenate([index, equal, conflicting])
    dates = np.datetime64(period.start) + np.arange(days)
    frame = pl.DataFrame(
        {"meter_id": pl.Series(np.repeat(meter_id, days)[index]).cast(pl.String), "date": np.tile(dates, homes)[index]}
    )
    columns = [pl.Series(name, np.ascontiguousarray(values[:, slot])) for slot, name in enumerate(_COLUMNS)]
    frame = frame.with_columns(columns).with_columns(pl.col("date").cast(pl.Date), pl.col(_COLUMNS).fill_nan(None))
    frame.write_parquet(path, compression="zstd", compression_level=1, statistics=False)


def write_meters(path: Path, meter_id: NDArray[np.int64], postcodes: Sequence[str]) -> None:
    """Write the supplier's customer list."""
    _write_csv(path, pl.DataFrame({"meter_id": meter_id.astype(str), "postcode": list(postcodes)}))


def write_panel(path: Path, meter_id: NDArray[np.int64], composition: NDArray[np.int8]) -> None:
    """Write the consenting, surveyed homes and their composition."""
    names = np.array(COMPOSITION_CLASSES)[composition]
    _write_csv(path, pl.DataFrame({"meter_id": meter_id.astype(str), "composition": names}))


def write_diaries(
    path: Path, meter_id: NDArray[np.int64], day: NDArray[np.int64], presence: NDArray[np.uint8], period: Period
) -> None:
    """Write diary days: presence 0/1 by half-hour, one row a home and day."""
    dates = [str(period.start + datetime.timedelta(days=int(number))) for number in day]
    frame = pl.DataFrame(
        {"meter_id": meter_id.astype(str), "date": dates}, schema={"meter_id": pl.String, "date": pl.String}
    )
    slots = [pl.Series(name, presence[:, slot]) for slot, name in enumerate(_DIARY_COLUMNS)]
    _write_csv(path, frame.with_columns(slots))


def _write_csv(path: Path, table: pl.DataFrame) -> None:
    write_atomically(path, table.write_csv().encode())


def _with_gaps(kwh: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    homes, days, slots = kwh.shape
    slot = np.arange(slots)
    result = kwh.copy()
    for share, shortest, longest in ((p.SHORT_GAP, 1, 4), (p.LONG_GAP, 6, 20)):
        home, day = np.nonzero(rng.random((homes, days)) < share)
        start = rng.integers(0, slots, len(home))[:, None]
        length = rng.integers(shortest, longest + 1, len(home))[:, None]
        rows = result[home, day]
        rows[(slot >= start) & (slot < start + length)] = np.nan
        result[home, day] = rows
    return result
