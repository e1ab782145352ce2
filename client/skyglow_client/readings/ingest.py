# SPDX-License-Identifier: Apache-2.0
"""From the files a supplier's systems give to the cleaned wide store."""

import datetime
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings import store as stores
from skyglow_client.readings.calendar import LONGEST_DAY, SLOTS, day_lengths, to_clock_slots, weekdays
from skyglow_client.readings.cleaning import READING_RULES, SERIES_RULES, clean
from skyglow_client.readings.disk import room_for, scratch
from skyglow_client.readings.formats import WIDE, Format
from skyglow_client.readings.gaps import fill_gaps
from skyglow_client.readings.meters import Meters, load_meters, mark_of
from skyglow_client.readings.report import COUNTS, IngestReport
from skyglow_client.readings.rows import PERIODS, files_of, reading_rows, wide_rows
from skyglow_client.readings.series import HOMES_AT_ONCE, Series, clock_days, gather_readings
from skyglow_shared.errors import DataError

LEAST_VALID_DAYS: Final = 14
MOST_DAYS: Final = 366  # as in a study


def ingest(
    source: Path,
    store: Path,
    *,
    start: datetime.date,
    days: int,
    postcodes: Path,
    pseudonym_key: bytes,
    form: Format = WIDE,
) -> IngestReport:
    """Read raw files, clean them and write the store.

    Parameters
    ----------
    source : Path
        Folder with ``meters.csv`` and the files of readings that the format names.
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
    form : Format
        What the files of readings look like.

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
        If the period is too short or too long, the key too short, or the disk full; the store is then as it was.
    RunError
        If another process loads readings into the same store.

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
    with room_for("the readings", store), stores.incoming(store) as folder:
        gathered = _Gathered.empty(folder / "gathered.npy", len(meters.pseudonyms), days)
        if form.layout == "wide":
            for path in files_of(source, form):
                for rows in wide_rows(path, form):
                    _gather(rows, meters.rows, gathered, start, counts)
        else:
            _gather_series(source, form, meters.rows, gathered, folder, start, counts)
        valid = _repair(gathered, weekdays(start, days), counts)
        keep = valid.sum(axis=1) >= max(LEAST_VALID_DAYS, -(-days // 2))
        _write(folder, meters, gathered.kwh, valid, keep)
        counts.update(homes=int(keep.sum()), homes_with_few_days=int((~keep).sum()))
        stores.publish(store, folder, start=start, days=days, key=mark_of(pseudonym_key))
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
        kwh = scratch(path, shape, np.dtype(np.float32))
        for first in range(0, homes, HOMES_AT_ONCE):
            kwh[first : first + HOMES_AT_ONCE] = np.nan
        return cls(kwh, np.zeros((homes, days), dtype=bool), np.zeros((homes, days), dtype=bool))


def _gather_series(  # noqa: PLR0917 - like `_gather`, with where to find and to put
    source: Path,
    form: Format,
    meters: pl.DataFrame,
    gathered: _Gathered,
    folder: Path,
    start: datetime.date,
    counts: Counter[str],
) -> None:
    """Put single readings in their place, and make clock days of them."""
    homes, days = gathered.seen.shape
    series = Series.empty(folder, homes, start, days)
    for path in files_of(source, form):
        for rows in reading_rows(path, form, start, days):
            gather_readings(rows, meters, series, counts)
    skipped = 2 * int((series.lengths == 46).sum())
    for part, kwh in clock_days(series):
        counts["missing"] += int(np.isnan(kwh).sum()) - skipped * len(kwh)
        counts.update(clean(kwh.reshape(-1, SLOTS), READING_RULES))
        gathered.kwh[part] = kwh
        gathered.seen[part] = True
    for name in ("series.npy", "refused.npy"):
        (folder / name).unlink(missing_ok=True)


def _gather(
    rows: pl.DataFrame, meters: pl.DataFrame, gathered: _Gathered, start: datetime.date, counts: Counter[str]
) -> None:
    """Put rows of the period and of known meters in their place."""
    days = gathered.seen.shape[1]
    counts["rows"] += rows.height
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
        periods = inside.select(pl.col(PERIODS).cast(pl.Float32)).to_numpy()
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
    for first in range(0, len(valid), HOMES_AT_ONCE):
        part = slice(first, first + HOMES_AT_ONCE)
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
    kwh = scratch(folder / "kwh.npy", shape, np.dtype(np.float32))
    for first in range(0, homes.size, HOMES_AT_ONCE):
        kwh[first : first + HOMES_AT_ONCE] = gathered[homes[first : first + HOMES_AT_ONCE]]
    if isinstance(kwh, np.memmap):
        kwh.flush()
    else:
        np.save(folder / "kwh.npy", kwh)
    np.save(folder / "valid.npy", valid[keep])
    table = pl.DataFrame(
        {
            "pseudonym": [row.tobytes() for row in meters.pseudonyms[keep]],
            "lsoa21cd": meters.lsoa21cd[keep].tolist(),
            "valid_days": valid[keep].sum(axis=1).astype(np.int16),
        },
        schema={"pseudonym": pl.Binary, "lsoa21cd": pl.String, "valid_days": pl.Int16},
    )
    content = io.BytesIO()
    table.write_parquet(content)
    (folder / "homes.parquet").write_bytes(content.getvalue())
    (folder / "gathered.npy").unlink(missing_ok=True)
