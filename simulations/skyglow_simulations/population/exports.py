# SPDX-License-Identifier: Apache-2.0
"""Writing simulated readings as raw files, in every format that a supplier's cleaning reads."""

import datetime
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.calendar import midnight
from skyglow_client.readings.formats import FORMATS, Format
from skyglow_shared.errors import RunError
from skyglow_simulations.population.dirty import Soiled
from skyglow_simulations.population.timeline import Timeline

_PERIODS = [f"hh{number:02d}" for number in range(1, 51)]
_HALF_HOUR = datetime.timedelta(minutes=30)


def form_of(name: str, start: datetime.date) -> Format:
    """The format of a name, its days counted from the first of January of the period's year.

    Raises
    ------
    RunError
        There is no such format.
    """
    if name not in FORMATS:
        raise RunError(f"--format must be one of {', '.join(FORMATS)}")
    form = FORMATS[name]
    if form.day_one is None:
        return form
    return msgspec.structs.replace(form, day_one=datetime.date(start.year, 1, 1))


def mapping_toml(form: Format) -> str:
    """The mapping with which a supplier loads such files."""
    lines = [f'{name} = "{getattr(form, name)}"' for name in ("layout", "files", "meter", "time", "value")]
    if form.names:
        lines += [f'separator = "{form.separator}"', f"names = [{', '.join(f'{name!r}' for name in form.names)}]"]
    lines += [f'pattern = "{form.pattern}"', f'marks = "{form.marks}"', f'unit = "{form.unit}"']
    if form.day_one:
        lines.append(f"day_one = {form.day_one}")
    return "\n".join(lines) + "\n"


def write(stem: Path, name: str, meter_id: NDArray[np.int64], soiled: Soiled, timeline: Timeline) -> None:
    """Write one file of readings.

    Parameters
    ----------
    stem : Path
        The file's path without its ending.
    name : str
        Of `skyglow_client.readings.formats.FORMATS`.
    meter_id : ndarray of int64, shape (homes,)
    soiled : Soiled
    timeline : Timeline
    """
    if name in {"wide", "wide-csv"}:
        table = _wide(meter_id, soiled, timeline)
        if name == "wide":
            table.write_parquet(stem.with_suffix(".parquet"), compression="zstd", compression_level=1, statistics=False)
        else:
            table.write_csv(stem.with_suffix(".csv"), float_precision=3)
        return
    rows = _readings(meter_id, soiled, timeline)
    _WRITERS[name](stem, rows, timeline)


def _wide(meter_id: NDArray[np.int64], soiled: Soiled, timeline: Timeline) -> pl.DataFrame:
    """A row a meter-day that has a reading, copies last."""
    days = len(timeline.lengths)
    rows = timeline.rows(soiled.kwh).reshape(-1, 50)
    index = np.concatenate([np.arange(len(rows)), soiled.copied_home * days + soiled.copied_day])
    values = np.concatenate([rows, soiled.copied_kwh])
    some = ~np.isnan(values).all(axis=1)
    index, values = index[some], values[some]
    dates = np.datetime64(timeline.start) + np.arange(days)
    frame = pl.DataFrame(
        {"meter_id": pl.Series(meter_id[index // days]).cast(pl.String), "date": pl.Series(dates[index % days])}
    )
    columns = [pl.Series(name, np.ascontiguousarray(values[:, slot])) for slot, name in enumerate(_PERIODS)]
    return frame.with_columns(columns).with_columns(pl.col("date").cast(pl.Date), pl.col(_PERIODS).fill_nan(None))


def _readings(meter_id: NDArray[np.int64], soiled: Soiled, timeline: Timeline) -> pl.DataFrame:
    """A row a half-hour, null where it was not read: meter, half-hour, seconds its stamp is off, kWh; copies last."""
    homes, half_hours = soiled.kwh.shape
    copy, number = np.nonzero(np.arange(50) < timeline.lengths[soiled.copied_day][:, None])
    home = np.concatenate([np.repeat(np.arange(homes), half_hours), soiled.copied_home[copy]])
    again = timeline.begins[soiled.copied_day[copy]] + number
    half_hour = np.concatenate([np.tile(np.arange(half_hours), homes), again])
    moved = soiled.moved[home, half_hour if soiled.moved.shape[1] > 1 else 0]
    kwh = np.concatenate([soiled.kwh.reshape(-1), soiled.copied_kwh[copy, number]])
    frame = pl.DataFrame({"meter": meter_id[home], "half_hour": half_hour, "moved": moved, "kwh": kwh})
    return frame.with_columns(pl.col("meter").cast(pl.String), pl.col("kwh").fill_nan(None))


def _stamp(timeline: Timeline) -> pl.Expr:
    begin = pl.lit(midnight(timeline.start)).cast(pl.Datetime("ms"))
    return begin + pl.duration(seconds=pl.col("half_hour") * 1800 + pl.col("moved"), time_unit="ms")


def _long(stem: Path, rows: pl.DataFrame, timeline: Timeline) -> None:
    table = rows.drop_nulls("kwh").select(pl.col("meter").alias("meter_id"), _stamp(timeline).alias("stamp"), "kwh")
    table.write_parquet(stem.with_suffix(".parquet"), compression="zstd", compression_level=1, statistics=False)


def _long_csv(stem: Path, rows: pl.DataFrame, timeline: Timeline) -> None:
    stamp = _stamp(timeline).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    table = rows.drop_nulls("kwh").select(pl.col("meter").alias("meter_id"), stamp.alias("stamp"), "kwh")
    table.write_csv(stem.with_suffix(".csv"), float_precision=3)


def _cer(stem: Path, rows: pl.DataFrame, timeline: Timeline) -> None:
    first = (timeline.start - datetime.date(timeline.start.year, 1, 1)).days + 1
    codes = (first + timeline.day) * 100 + timeline.number + 1
    table = rows.drop_nulls("kwh")
    code = pl.Series("code", codes[table["half_hour"].to_numpy()]).cast(pl.String).str.zfill(5)
    table = table.with_columns(code).select("meter", "code", "kwh")
    table.write_csv(stem.with_suffix(".txt"), include_header=False, separator=" ", float_precision=3)


def _lcl(stem: Path, rows: pl.DataFrame, timeline: Timeline) -> None:
    stamp = _stamp(timeline).dt.strftime("%Y-%m-%d %H:%M:%S.0000000")
    columns = [pl.col("meter").alias("LCLid"), pl.lit("Std").alias("stdorToU"), stamp.alias("DateTime")]
    table = rows.select(*columns, pl.col("kwh").alias("KWH/hh (per half hour) "))
    table.write_csv(stem.with_suffix(".csv"), float_precision=3, null_value="Null")


def _serl(stem: Path, rows: pl.DataFrame, timeline: Timeline) -> None:
    rows = rows.drop_nulls("kwh")
    half_hour = rows["half_hour"].to_numpy()
    dates = np.datetime64(timeline.start) + timeline.day
    rows = rows.with_columns(pl.Series("date", dates[half_hour]), pl.Series("number", timeline.number[half_hour] + 1))
    table = rows.select(
        pl.col("meter").alias("PUPRN"),
        pl.col("date").alias("Read_date_effective_local"),
        (_stamp(timeline) + _HALF_HOUR).dt.strftime("%Y-%m-%d %H:%M:%S").alias("Read_date_time_UTC"),
        pl.col("number").alias("HH"),
        pl.lit(1).alias("Elec_act_imp_flag"),
        (pl.col("kwh").cast(pl.Float64) * 1000).round().cast(pl.Int64).alias("Elec_act_imp_hh_Wh"),
    )
    table.write_csv(stem.with_suffix(".csv"))


_WRITERS: Final = MappingProxyType[str, Callable[[Path, pl.DataFrame, Timeline], None]](
    {"long": _long, "long-csv": _long_csv, "cer": _cer, "lcl": _lcl, "serl": _serl}
)
#: Formats whose rows have stamps.
STAMPED: Final = ("long", "long-csv", "lcl", "serl")
