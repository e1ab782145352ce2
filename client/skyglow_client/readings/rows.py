# SPDX-License-Identifier: Apache-2.0
"""Raw files as tables, some rows at a time: meter-days of wide files, single readings of all others."""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import polars as pl

from skyglow_client.readings.calendar import LONGEST_DAY, day_lengths, midnight
from skyglow_client.readings.formats import Format
from skyglow_client.readings.tables import guarded, require_columns, scan_parquet, unreadable
from skyglow_shared.errors import FormatError

ROWS_AT_ONCE: Final = 100_000
BYTES_AT_ONCE: Final = 16 << 20
LONGEST_LINE: Final = 1 << 20  # bytes; a file without ends of lines would else be read whole
HALF_HOUR: Final = 1800  # seconds
PERIODS: Final = tuple(f"hh{n:02d}" for n in range(1, LONGEST_DAY + 1))
_FLOATS: Final = (pl.Float32, pl.Float64)
_WIDE: Final = {"meter_id": (pl.String,), "date": (pl.Date,)} | dict.fromkeys(PERIODS, _FLOATS)


def files_of(source: Path, form: Format) -> list[Path]:
    """The files of a folder that the format names; FormatError if there is none."""
    paths = sorted(source.glob(form.files))
    if not paths:
        raise FormatError(
            f"there are no {form.files} in the folder {source.name}; correct the path, or give their --format"
        )
    return paths


def wide_rows(path: Path, form: Format) -> Iterator[pl.DataFrame]:
    """Meter-days of a file: ``meter_id``, ``date`` and ``hh01`` … ``hh50``, null where there is no reading."""
    if path.suffix == ".parquet":
        yield from _parquet(path, _WIDE)
        return
    numbers = pl.col(PERIODS).cast(pl.Float32, strict=False)
    for block in _text(path, form, list(_WIDE), exact=True):
        yield block.with_columns(numbers, pl.col("date").str.to_date("%Y-%m-%d", strict=False))


def reading_rows(path: Path, form: Format, start: datetime.date, days: int) -> Iterator[pl.DataFrame]:
    """Readings of a long or coded file.

    Yields
    ------
    DataFrame
        ``meter_id``; ``seconds`` from the period's first midnight to the start of the half-hour, as stamped, null if
        it cannot be read; ``kwh``, float32, null if there is none.
    """
    if path.suffix == ".parquet":
        wanted = dict(zip(form.columns, ((pl.String,), (pl.Datetime, pl.Int32, pl.Int64), _FLOATS), strict=True))
        blocks = _parquet(path, wanted)
    else:
        blocks = _text(path, form, list(form.columns), exact=False)
    number = pl.col("kwh").cast(pl.Float64, strict=False) / (1000 if form.unit == "wh" else 1)
    for block in blocks:
        rows = block.rename(dict(zip(form.columns, ("meter_id", "time", "kwh"), strict=True)))
        timed = _coded(rows, form, start, days) if form.layout == "coded" else _stamped(rows, form, start)
        yield timed.select("meter_id", "seconds", number.cast(pl.Float32))


def _stamped(rows: pl.DataFrame, form: Format, start: datetime.date) -> pl.DataFrame:
    stamp = pl.col("time")
    if rows.schema["time"] == pl.String:
        stamp = stamp.str.to_datetime(form.pattern, strict=False, time_unit="us")
    elif not isinstance(rows.schema["time"], pl.Datetime):
        raise FormatError(f"the column {form.time} must hold stamps; export it as a date and time in UTC")
    stamp = stamp.dt.replace_time_zone(None)
    late = HALF_HOUR if form.marks == "end" else 0
    return rows.with_columns(seconds=(stamp - pl.lit(midnight(start))).dt.total_seconds() - late)


def _coded(rows: pl.DataFrame, form: Format, start: datetime.date, days: int) -> pl.DataFrame:
    """Codes of five digits: three for the day, two for the half-hour of the local day, both from one."""
    if form.day_one is None:
        raise FormatError("a coded format needs `day_one`, the local day that codes count from; add it")
    code = rows["time"].cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    day, period = code // 100 - 1 + (form.day_one - start).days, code % 100 - 1
    lengths = day_lengths(start, days)
    begins = np.concatenate([[0], np.cumsum(lengths)])
    inside = (day >= 0) & (day < days)
    place = np.where(inside, day, 0)
    seconds = np.where(inside, begins[place] + period, 48 * day + period) * HALF_HOUR
    wrong = (code < 0) | (period < 0) | (period >= np.where(inside, lengths[place], LONGEST_DAY))
    return rows.with_columns(seconds=pl.Series(seconds).set(pl.Series(wrong), None))


def _parquet(path: Path, wanted: Mapping[str, tuple[type[pl.DataType], ...]]) -> Iterator[pl.DataFrame]:
    scan = scan_parquet(path, wanted)
    height = guarded(path, "Parquet", lambda: scan.select(pl.len()).collect().item())
    for first in range(0, height, ROWS_AT_ONCE):
        part = scan.slice(first, ROWS_AT_ONCE)
        yield guarded(path, "Parquet", lambda part=part: part.collect())  # type: ignore[misc]


def _text(path: Path, form: Format, wanted: Sequence[str], *, exact: bool) -> Iterator[pl.DataFrame]:
    """Blocks of whole lines, every value as text; a value may not contain a line's end."""
    for head, body in _blocks(path, headed=not form.names):
        table = guarded(path, "text in columns", _parser(head + body, form))
        names = [name.strip() for name in table.columns]
        table.columns = names
        if exact or not set(wanted) <= set(names):
            require_columns(path, names, list(wanted))
        yield table.select(wanted)


def _parser(content: bytes, form: Format) -> Callable[[], pl.DataFrame]:
    names = list(form.names) or None

    def parse() -> pl.DataFrame:
        return pl.read_csv(
            content, infer_schema=False, has_header=not names, new_columns=names, separator=form.separator
        )

    return parse


def _blocks(path: Path, *, headed: bool) -> Iterator[tuple[bytes, bytes]]:
    """The header line, if any, with some whole lines at a time."""

    def begin() -> tuple[bytes, int]:
        with path.open("rb") as file:
            return (_line(file), file.tell()) if headed else (b"", 0)

    head, place = guarded(path, "text in columns", begin)

    def block() -> bytes:
        with path.open("rb") as file:
            file.seek(place)
            content = file.read(BYTES_AT_ONCE)
            return content + _line(file) if content else content

    if headed and not head:
        raise unreadable(path, "text in columns with a header")
    while body := guarded(path, "text in columns", block):
        place += len(body)
        yield head, body


def _line(file: BinaryIO) -> bytes:
    """The rest of a line; ValueError if it has no end within `LONGEST_LINE`."""
    found = file.readline(LONGEST_LINE)
    if len(found) == LONGEST_LINE:
        raise ValueError
    return found
