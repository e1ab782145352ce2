# SPDX-License-Identifier: Apache-2.0
"""Every format of raw files gives the same store; what is wrong with one is counted or refused by type."""

import datetime
import errno
import resource
import subprocess
import sys

import msgspec
import numpy as np
import polars as pl
import pytest

from skyglow_client.readings import Store, ingest, rows
from skyglow_client.readings.calendar import day_lengths, midnight
from skyglow_client.readings.formats import FORMATS, load_format
from skyglow_shared.errors import DataError, FormatError

PERIODS = [f"hh{n:02d}" for n in range(1, 51)]
HALF_HOUR = datetime.timedelta(minutes=30)
MAPPING = 'layout = "coded"\nfiles = "a-*.txt"\nmeter = "m"\ntime = "c"\nvalue = "k"\nnames = ["m", "c", "k"]\n'


@pytest.fixture
def long_rows(supplier):
    """The supplier's readings, a row each: meter, date, period, UTC stamp, kWh."""

    def make(one=supplier):
        table = one.readings.unpivot(PERIODS, index=["meter_id", "date"], variable_name="period", value_name="kwh")
        table = table.drop_nulls("kwh").with_columns(period=pl.col("period").str.slice(2).cast(pl.Int64))
        begins = np.concatenate([[0], np.cumsum(day_lengths(one.start, one.days))])
        day = (table["date"] - one.start).dt.total_days().to_numpy()
        half_hours = begins[day] + table["period"].to_numpy() - 1
        stamp = pl.lit(midnight(one.start)) + pl.Series(half_hours) * HALF_HOUR
        return table.with_columns(stamp=stamp).sort("date", "period", "meter_id")

    return make


def write(one, form, table):
    """Write the rows in a format, in two files, and the other files as ever."""
    one.write()
    for old in one.raw.glob("readings-*"):
        old.unlink()
    stamp, name = pl.col("stamp"), "readings-{}.csv"
    if form == "wide-csv":
        table = one.readings
    elif form in {"long", "long-csv"}:
        name = "readings-{}.parquet" if form == "long" else name
        stamp = stamp if form == "long" else stamp.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        table = table.select("meter_id", stamp, "kwh")
    elif form == "lcl":
        stamp = stamp.dt.strftime("%Y-%m-%d %H:%M:%S.0000000")
        table = table.select(
            pl.col("meter_id").alias("LCLid"),
            pl.lit("Std").alias("stdorToU"),
            stamp.alias("DateTime"),
            pl.col("kwh").alias("KWH/hh (per half hour) "),
        )
    elif form == "serl":
        end = (stamp + HALF_HOUR).dt.strftime("%Y-%m-%d %H:%M:%S")
        table = table.select(
            pl.col("meter_id").alias("PUPRN"),
            end.alias("Read_date_time_UTC"),
            (pl.col("kwh").cast(pl.Float64) * 1000).round(3).alias("Elec_act_imp_hh_Wh"),
        )
    elif form == "cer":
        name = "readings-{}.txt"
        day = (pl.col("date") - datetime.date(one.start.year, 1, 1)).dt.total_days() + 1
        code = (day * 100 + pl.col("period")).cast(pl.String).str.zfill(5)
        table = table.select("meter_id", code.alias("code"), "kwh")
    half = table.height // 2
    for number, part in enumerate((table[:half], table[half:])):
        path = one.raw / name.format(number)
        if form == "cer":
            part.write_csv(path, include_header=False, separator=" ")
        elif form == "long":
            part.write_parquet(path)
        else:
            part.write_csv(path)


def load(one, form):
    found = FORMATS[form]
    if form == "cer":
        found = msgspec.structs.replace(found, day_one=datetime.date(one.start.year, 1, 1))
    report = ingest(
        one.raw,
        one.store,
        start=one.start,
        days=one.days,
        postcodes=one.folder / "postcodes.csv",
        pseudonym_key=one.key,
        form=found,
    )
    return report, Store.open(one.store)


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "wide"])
@pytest.mark.parametrize("start", [datetime.date(2026, 3, 9), datetime.date(2026, 10, 12)])
def test_every_format_gives_the_same_store(form, start, new_supplier, long_rows, monkeypatch):
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", 100_000)
    one = new_supplier(start=start)
    _, wide = one.ingest()
    want = wide.kwh.copy()
    write(one, form, long_rows(one))
    report, store = load(one, form)
    np.testing.assert_allclose(store.kwh, want, rtol=3e-7 if form == "serl" else 0)
    assert report.counts["missing"] == report.counts["rows_outside_period"] == report.counts["stamps_moved"] == 0


def test_single_readings_are_compared_one_by_one(supplier, long_rows, row_of):
    table = long_rows()
    own = table.filter(pl.col("meter_id") == supplier.meter(2)).sort("stamp")
    equal, other, late, early = (own[number : number + 1] for number in (10, 20, 30, 40))
    table = pl.concat([table, equal, other.with_columns(pl.col("kwh") * 2)])
    moved = (own["stamp"][30] + datetime.timedelta(minutes=4), own["stamp"][40] - datetime.timedelta(minutes=9))
    here = pl.col("meter_id") == supplier.meter(2)
    for part, stamp in ((late, moved[0]), (early, moved[1])):
        table = table.with_columns(
            pl.when(here & (pl.col("stamp") == part["stamp"][0])).then(stamp).otherwise("stamp").alias("stamp")
        )
    write(supplier, "long-csv", table)
    report, store = load(supplier, "long-csv")
    found = {
        name: report.counts[name]
        for name in ("readings_repeated", "readings_conflicting", "stamps_moved", "stamps_between", "missing")
    }
    assert found == dict.fromkeys(found, 1) | {"missing": 2}
    day = store.kwh[row_of(supplier, store, 2), 0]
    assert day[30] == supplier.kwh[2, 0, 30]
    assert day[20] == pytest.approx((day[19] + day[21]) / 2)
    assert day[40] == pytest.approx((day[39] + day[41]) / 2)


def test_codes_and_words_that_mean_nothing_are_counted(supplier, long_rows):
    table = long_rows()
    write(supplier, "cer", table)
    meter = supplier.meter(0)
    path = supplier.raw / "readings-1.txt"
    lines = [f"{meter} 06849 0.1", f"{meter} 06800 0.1", f"{meter} x 0.1", f"{meter} 36501 0.1", f"{meter} 08848 0.1"]
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    report, _ = load(supplier, "cer")
    assert (report.counts["rows_without_key"], report.counts["rows_outside_period"]) == (4, 1)  # 29 March has no 47th
    write(supplier, "lcl", table)
    path = supplier.raw / "readings-0.csv"
    header, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, first.rsplit(",", 1)[0] + ",Null", *rest]) + "\n")
    assert load(supplier, "lcl")[0].counts["missing"] == 1


def test_a_day_in_watt_hours_is_missing_whole(supplier, row_of):
    values = {f"hh{n:02d}": float(supplier.kwh[1, 2, n - 1] * 1000 if n > 10 else 9.0) for n in range(1, 49)}
    supplier.set(1, 2, values)
    report, store = supplier.ingest()
    assert report.counts["other_unit"] == 48
    assert not store.valid[row_of(supplier, store, 1), 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MAPPING, "day_one"),
        (MAPPING + 'day_one = 2026-01-01\nzone = "local"\n', "zone"),
        ('layout = "long"\nfiles = "a.csv"\nmeter = "m"\ntime = "t"\n', "value"),
        (MAPPING.replace('"m", "c", "k"]', '"m", "c"]'), "names"),
        (MAPPING.replace("a-*.txt", "../a-*.txt") + "day_one = 2026-01-01\n", "path"),
        ('layout = "wide"\nfiles = "a.csv"\nmeter = "m"\ntime = "date"\n', "meter_id"),
        ("layout = ", "cannot be read"),
    ],
)
def test_a_mapping_that_is_wrong_says_where(text, says, tmp_path):
    (tmp_path / "mapping.toml").write_text(text)
    with pytest.raises(FormatError, match=says):
        load_format(str(tmp_path / "mapping.toml"))


def test_a_mapping_or_a_name_is_found(tmp_path):
    (tmp_path / "mapping.toml").write_text(MAPPING + "day_one = 2026-01-01\n")
    assert load_format(str(tmp_path / "mapping.toml")).day_one == datetime.date(2026, 1, 1)
    assert load_format("lcl") == FORMATS["lcl"]
    for name in ("ihd", str(tmp_path / "none.toml")):
        with pytest.raises(FormatError, match="format"):
            load_format(name)


@pytest.mark.parametrize("damage", ["no column", "not text", "none", "no header"])
def test_files_of_another_format_are_refused_and_the_store_stays(damage, supplier, long_rows):
    _, store = supplier.ingest()
    before = store.kwh.copy()
    write(supplier, "long-csv", long_rows())
    path = supplier.raw / "readings-1.csv"
    if damage == "no column":
        path.write_text(path.read_text().replace("stamp", "time", 1))
    elif damage == "not text":
        path.write_bytes(b"meter_id,stamp,kwh\n\xff\xfe\x00,1,2\n")
    elif damage == "no header":
        path.write_text("")
    else:
        for file in supplier.raw.glob("readings-*"):
            file.unlink()
    with pytest.raises(FormatError):
        load(supplier, "long-csv")
    np.testing.assert_array_equal(Store.open(supplier.store).kwh, before)


@pytest.mark.parametrize("form", ["wide", "long"])
def test_a_full_disk_is_a_typed_error_and_the_store_stays(form, supplier, long_rows, monkeypatch):
    _, store = supplier.ingest()
    before = store.kwh.copy()
    if form == "long":
        write(supplier, form, long_rows())
    files = sorted(supplier.store.rglob("*"))

    def full(handle, begin, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match="no room"):
        load(supplier, form)
    assert sorted(supplier.store.rglob("*")) == files
    np.testing.assert_array_equal(Store.open(supplier.store).kwh, before)


def test_a_disk_that_fills_while_writing_is_told_too(supplier, monkeypatch):
    def short(path, array):
        raise OSError("1344 requested and 12 written")

    monkeypatch.setattr("numpy.save", short)
    supplier.write()
    with pytest.raises(DataError, match="no room"):
        supplier.ingest_again()
    assert not [path for path in supplier.store.rglob("*") if path.is_file()]


def test_a_disk_that_is_truly_full_does_not_end_the_process(supplier):
    supplier.write()
    script = (
        "import datetime, resource, sys\nfrom pathlib import Path\n"
        "from skyglow_client.readings import ingest\nfrom skyglow_shared.errors import DataError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))\n"
        f"raw, store, codes = Path({str(supplier.raw)!r}), Path({str(supplier.store)!r}), "
        f"Path({str(supplier.folder / 'postcodes.csv')!r})\n"
        "try:\n"
        "    ingest(raw, store, start=datetime.date(2026, 3, 9), days=28, postcodes=codes, pseudonym_key=b'k' * 16)\n"
        "except DataError as error:\n    sys.exit('no room' not in str(error))\n"
        "sys.exit(2)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
    assert not [path for path in supplier.store.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"x" * 5_000, b"LCLid,DateTime\n" + b"x" * 5_000, b"\0" * 5_000])
def test_a_line_without_an_end_is_not_read_whole(tmp_path, monkeypatch, content):
    """A file of gigabytes in one line is an error in words, and not the end of the process."""
    for name, size in (("LONGEST_LINE", 1_000), ("BYTES_AT_ONCE", 500)):
        monkeypatch.setattr(rows, name, size)
    (tmp_path / "readings-0.csv").write_bytes(content)
    with pytest.raises(FormatError, match="truncated or of another format"):
        list(rows.reading_rows(tmp_path / "readings-0.csv", FORMATS["lcl"], datetime.date(2026, 3, 9), 28))
