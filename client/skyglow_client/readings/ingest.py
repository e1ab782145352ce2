# SPDX-License-Identifier: Apache-2.0
"""From the files a supplier's systems give to the cleaned wide store."""

import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from skyglow_client.readings import store as stores
from skyglow_client.readings.calendar import LONGEST_DAY, SLOTS, day_lengths, to_clock_slots, weekdays
from skyglow_client.readings.cleaning import READING_RULES, SERIES_RULES, clean
from skyglow_client.readings.gaps import fill_gaps
from skyglow_client.readings.meters import Meters, load_meters
from skyglow_client.readings.report import COUNTS, IngestReport
from skyglow_client.readings.tables import guarded, scan_parquet
from skyglow_shared.errors import DataError, FormatError

LEAST_VALID_DAYS: Final = 14
MOST_DAYS: Final = 366  # as in a study
_ROWS_AT_ONCE: Final = 100_000
_HOMES_AT_ONCE: Final = 1_000
_PERIODS: Final = tuple(f"hh{n:02d}" for n in range(1, LONGEST_DAY + 1))
_COLUMNS: Final = {"meter_id": (pl.String,), "date": (pl.Date,)} | dict.fromkeys(_PERIODS, (pl.Float32, pl.Float64))


def ingest(
    source: Path, store: Path, *, start: datetime.date, days: int, postcodes: Path, pseudonym_key: bytes
) -> IngestReport:
    """Read raw files, clean them and write the store.

    Parameters
    ----------
    source : Path
        Folder with ``meters.csv`` and ``readings-*.parquet``.
    store : Path
        Folder of the store, made or replaced in one step.
    start : date
        First local day of the period.
    days : int
        Days of the period, from 14 to 366.
    postcodes : Path
        Public lookup of postcodes to LSOAs.
    pseudonym_key : bytes
        The supplier's own secret, at least 16 bytes.

    Returns
    -------
    IngestReport
        What was found and repaired; for the supplier only.

    Raises
    ------
    FormatError
        If a file is missing, corrupt, truncated or has other columns; the store is then as it was.
    GeographyError
        If the lookup is not one of postcodes to LSOAs.
    DataError
        If the period is too short or too long, or the key too short.

    Notes
    -----
    Memory: some hundred MB besides the page cache; readings are gathered in a scratch file in the store's folder.
    The same files give the same bytes. Homes with fewer than 14 valid days, or valid on less than half of the
    period, are left out.
    """
    if not LEAST_VALID_DAYS <= days <= MOST_DAYS:  # before any room is made for them
        raise DataError(f"a period has from {LEAST_VALID_DAYS} to {MOST_DAYS} days; give other days")
    meters = load_meters(source / "meters.csv", postcodes, pseudonym_key)
    counts = Counter(meters.counts)
    with stores.incoming(store) as folder:
        gathered = _Gathered.empty(folder / "gathered.npy", len(meters.pseudonyms), days)
        for rows in _read_rows(source, counts):
            _gather(rows, meters.rows, gathered, start, counts)
        valid = _repair(gathered, weekdays(start, days), counts)
        keep = valid.sum(axis=1) >= max(LEAST_VALID_DAYS, -(-days // 2))
        _write(folder, meters, gathered.kwh, valid, keep)
        counts.update(homes=int(keep.sum()), homes_with_few_days=int((~keep).sum()))
        stores.publish(store, folder, start=start, days=days)
    return IngestReport(MappingProxyType({name: counts[name] for name in COUNTS}))


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Readings by home and day as rows come in; a scratch file backs `kwh`."""

    kwh: NDArray[np.float32]
    seen: NDArray[np.bool_]
    refused: NDArray[np.bool_]

    @classmethod
    def empty(cls, path: Path, homes: int, days: int) -> "_Gathered":
        shape = (homes, days, SLOTS)
        kwh = open_memmap(path, mode="w+", dtype=np.float32, shape=shape) if homes else np.empty(shape, np.float32)
        for first in range(0, homes, _HOMES_AT_ONCE):
            kwh[first : first + _HOMES_AT_ONCE] = np.nan
        return cls(kwh, np.zeros((homes, days), dtype=bool), np.zeros((homes, days), dtype=bool))


def _read_rows(source: Path, counts: Counter[str]) -> Iterator[pl.DataFrame]:
    """Rows of all readings files, some at a time."""
    paths = sorted(source.glob("readings-*.parquet"))
    if not paths:
        raise FormatError(f"there are no readings-*.parquet in the folder {source.name}; correct the path")
    for path in paths:
        scan = scan_parquet(path, _COLUMNS)
        height = guarded(path, "Parquet", lambda scan=scan: scan.select(pl.len()).collect().item())  # type: ignore[misc]
        counts["rows"] += height
        for first in range(0, height, _ROWS_AT_ONCE):
            part = scan.slice(first, _ROWS_AT_ONCE)
            yield guarded(path, "Parquet", lambda part=part: part.collect())  # type: ignore[misc]


def _gather(
    rows: pl.DataFrame, meters: pl.DataFrame, gathered: _Gathered, start: datetime.date, counts: Counter[str]
) -> None:
    """Put rows of the period and of known meters in their place."""
    days = gathered.seen.shape[1]
    keyed = rows.drop_nulls(["meter_id", "date"])
    listed = keyed.join(meters, on="meter_id", how="inner", maintain_order="left")
    known = listed.drop_nulls("home")
    offset = (pl.col("date") - pl.lit(start)).dt.total_days()
    inside = known.with_columns(day=offset).filter(pl.col("day").is_between(0, days - 1))
    counts["rows_without_key"] += rows.height - keyed.height
    counts["rows_of_unknown_meters"] += keyed.height - listed.height
    counts["rows_of_meters_left_out"] += listed.height - known.height
    counts["rows_outside_period"] += known.height - inside.height
    if inside.height:
        place = inside["home"].to_numpy().astype(np.int64) * days + inside["day"].to_numpy()
        periods = inside.select(pl.col(_PERIODS).cast(pl.Float32)).to_numpy()
        _place(place, periods, day_lengths(start, days)[place % days], gathered, counts)


def _place(
    place: NDArray[np.int64],
    periods: NDArray[np.float32],
    length: NDArray[np.int64],
    gathered: _Gathered,
    counts: Counter[str],
) -> None:
    """Write the first row of each meter-day, compare later ones with it."""
    surplus = (~np.isnan(periods) & (np.arange(LONGEST_DAY) >= length[:, None])).any(axis=1)
    kwh = to_clock_slots(periods, length)
    counts["missing"] += int(np.isnan(kwh).sum()) - 2 * int((length == 46).sum())
    counts.update(clean(kwh, READING_RULES))
    all_kwh = gathered.kwh.reshape(-1, SLOTS)
    seen, refused = gathered.seen.reshape(-1), gathered.refused.reshape(-1)
    first = np.zeros(place.size, dtype=bool)
    first[np.unique(place, return_index=True)[1]] = True
    first &= ~seen[place]
    all_kwh[place[first]] = kwh[first]
    seen[place[first]] = True
    again = np.flatnonzero(~first)
    before, now = all_kwh[place[again]], kwh[again]
    differs = ((before != now) & ~(np.isnan(before) & np.isnan(now))).any(axis=1)
    counts["rows_repeated"] += int((~differs).sum())
    counts["days_conflicting"] += _refuse(place[again[differs]], refused)
    counts["days_of_wrong_length"] += _refuse(place[surplus], refused)


def _refuse(place: NDArray[np.int64], refused: NDArray[np.bool_]) -> int:
    """Mark meter-days as refused; how many were not before."""
    fresh = np.unique(place[~refused[place]])
    refused[fresh] = True
    return int(fresh.size)


def _repair(gathered: _Gathered, weekday: NDArray[np.bool_], counts: Counter[str]) -> NDArray[np.bool_]:
    """Clean and fill all series in place; which days are valid, [homes, days]."""
    valid = np.zeros(gathered.seen.shape, dtype=bool)
    for first in range(0, len(valid), _HOMES_AT_ONCE):
        part = slice(first, first + _HOMES_AT_ONCE)
        kwh = np.array(gathered.kwh[part])
        kwh[gathered.refused[part]] = np.nan
        counts.update(clean(kwh.reshape(kwh.shape[0], -1), SERIES_RULES))
        filled = fill_gaps(kwh, weekday)
        gathered.kwh[part] = kwh
        valid[part] = filled.valid
        counts.update(interpolated=filled.interpolated, typical=filled.typical, days_masked=filled.masked)
    return valid


def _write(
    folder: Path, meters: Meters, gathered: NDArray[np.float32], valid: NDArray[np.bool_], keep: NDArray[np.bool_]
) -> None:
    """Write the files of the store's data for the homes kept, and remove the scratch file."""
    homes = np.flatnonzero(keep)
    shape = (homes.size, gathered.shape[1], SLOTS)
    if homes.size:
        kwh = open_memmap(folder / "kwh.npy", mode="w+", dtype=np.float32, shape=shape)
        for first in range(0, homes.size, _HOMES_AT_ONCE):
            kwh[first : first + _HOMES_AT_ONCE] = gathered[homes[first : first + _HOMES_AT_ONCE]]
        kwh.flush()
    else:
        np.save(folder / "kwh.npy", np.empty(shape, dtype=np.float32))
    np.save(folder / "valid.npy", valid[keep])
    table = pl.DataFrame(
        {
            "pseudonym": [row.tobytes() for row in meters.pseudonyms[keep]],
            "lsoa21cd": meters.lsoa21cd[keep].tolist(),
            "valid_days": valid[keep].sum(axis=1).astype(np.int16),
        },
        schema={"pseudonym": pl.Binary, "lsoa21cd": pl.String, "valid_days": pl.Int16},
    )
    table.write_parquet(folder / "homes.parquet")
    (folder / "gathered.npy").unlink(missing_ok=True)
