# SPDX-License-Identifier: Apache-2.0
"""Ingestion: every fault a supplier's files may have is repaired, quarantined and counted, or refused by type."""

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_client.readings.calendar import half_hours, to_clock_slots
from skyglow_client.readings.gaps import fill_gaps
from skyglow_shared.errors import DataError, FormatError, GeographyError


def test_sound_files_come_through_unchanged(supplier, row_of):
    report, store = supplier.ingest()
    assert report.counts["homes"] == len(supplier.meters) == len(store.kwh)
    assert store.kwh.dtype == np.float32
    assert store.valid.all()
    for number in range(len(supplier.meters)):
        got, want = store.kwh[row_of(supplier, store, number)], supplier.kwh[number].copy()
        np.testing.assert_array_equal(np.delete(got, 20, axis=0), np.delete(want, 20, axis=0))
        np.testing.assert_array_equal(got[20, [0, 1, *range(4, 48)]], want[20, [0, 1, *range(4, 48)]])
        step = (want[20, 4] - want[20, 1]) / 3
        np.testing.assert_allclose(got[20, 2:4], want[20, 1] + step * np.array([1, 2]), rtol=1e-5)
    assert report.counts["interpolated"] == 2 * len(supplier.meters)
    assert all(
        report.counts[name] == 0 for name in ("missing", "negative", "days_masked", "days_conflicting", "typical")
    )


def test_homes_are_sorted_by_pseudonym_and_keep_their_area(supplier, row_of):
    _, store = supplier.ingest()
    rows = [row.tobytes() for row in store.pseudonyms]
    assert rows == sorted(rows)
    area = dict(supplier.postcodes)
    for number, (_, postcode) in enumerate(supplier.meters):
        assert store.lsoa21cd[row_of(supplier, store, number)] == area[postcode]


def test_neither_meter_nor_postcode_reaches_the_store(supplier):
    _, store = supplier.ingest()
    assert store.folder.parent == supplier.store
    for path in supplier.store.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for meter, postcode in supplier.meters:
                assert meter.encode() not in content
                assert postcode.encode() not in content
                assert postcode.replace(" ", "").encode() not in content
    table = pl.read_parquet(store.folder / "homes.parquet")
    assert table.columns == ["pseudonym", "lsoa21cd", "valid_days"]


def test_the_autumn_hour_is_averaged(new_supplier, row_of):
    autumn = new_supplier(start=datetime.date(2026, 10, 12))
    _, store = autumn.ingest()
    got = store.kwh[row_of(autumn, store, 1), 13]
    want = autumn.kwh[1, 13].copy()
    want[2:4] += 0.1
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("year", [2009, 2025, 2026, 2032])
def test_clock_changes_agree_with_the_time_zone_database(year):
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        london = zoneinfo.ZoneInfo("Europe/London")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time-zone database here")
    for ordinal in range(datetime.date(year, 1, 1).toordinal(), datetime.date(year + 1, 1, 1).toordinal()):
        day = datetime.date.fromordinal(ordinal)
        begin, end = (
            datetime.datetime.combine(when, datetime.time(), london).timestamp()
            for when in (day, day + datetime.timedelta(days=1))
        )
        assert half_hours(day) == (end - begin) / 1800


def test_a_repeated_hour_read_once_is_that_reading():
    periods = np.arange(1.0, 51.0, dtype=np.float32)[None].repeat(3, axis=0)
    periods[0, 2] = periods[1, 4] = np.nan
    periods[2, [2, 4]] = np.nan
    slots = to_clock_slots(periods, np.array([50, 50, 50]))
    assert slots[0, 2] == 5 and slots[1, 2] == 3 and np.isnan(slots[2, 2])
    assert slots[0, 3] == 5 and slots[0, 4] == 7 and slots[0, 47] == 50


@pytest.mark.parametrize(
    ("value", "rule"),
    [(-0.001, "negative"), (15.01, "impossible"), (float("inf"), "infinite"), (None, "missing"), (np.nan, "missing")],
)
def test_an_unbelievable_reading_is_interpolated(supplier, row_of, value, rule):
    supplier.set(2, 3, {"hh20": value})
    report, store = supplier.ingest()
    assert report.counts[rule] == 1
    assert report.counts["interpolated"] == 2 * len(supplier.meters) + 1
    day = store.kwh[row_of(supplier, store, 2), 3]
    assert day[19] == pytest.approx((supplier.kwh[2, 3, 18] + supplier.kwh[2, 3, 20]) / 2, rel=1e-5)


def test_fifteen_kwh_is_still_believed(supplier, row_of):
    supplier.set(2, 3, {"hh20": 15.0})
    report, store = supplier.ingest()
    assert report.counts["impossible"] == 0
    assert store.kwh[row_of(supplier, store, 2), 3, 19] == 15.0


def test_a_longer_gap_gets_the_homes_typical_day(supplier, row_of):
    supplier.set(0, 1, {f"hh{n:02d}": None for n in range(11, 21)})
    report, store = supplier.ingest()
    assert report.counts["typical"] == 10
    weekdays = [day for day in range(28) if day % 7 < 5 and day != 1]
    want = supplier.kwh[0, weekdays][:, 10:20].mean(axis=0)
    np.testing.assert_allclose(store.kwh[row_of(supplier, store, 0), 1, 10:20], want, rtol=1e-5)


def test_a_day_with_more_than_half_missing_is_masked(supplier, row_of):
    supplier.set(0, 1, {f"hh{n:02d}": None for n in range(1, 26)})
    supplier.set(1, 1, {f"hh{n:02d}": None for n in range(1, 25)})
    report, store = supplier.ingest()
    masked, kept = row_of(supplier, store, 0), row_of(supplier, store, 1)
    assert report.counts["days_masked"] == 1
    assert not store.valid[masked, 1] and np.isnan(store.kwh[masked, 1]).all()
    assert store.valid[kept, 1] and np.isfinite(store.kwh[kept, 1]).all()


def test_a_gap_is_interpolated_across_midnight(supplier, row_of):
    supplier.set(0, 1, {"hh47": None, "hh48": None})
    supplier.set(0, 2, {"hh01": None, "hh02": None})
    _, store = supplier.ingest()
    got = store.kwh[row_of(supplier, store, 0)].reshape(-1)[48 + 46 : 48 + 50]
    left, right = supplier.kwh[0, 1, 45], supplier.kwh[0, 2, 2]
    np.testing.assert_allclose(got, left + (right - left) * np.arange(1, 5) / 5, rtol=1e-5)


def test_equal_duplicates_are_dropped_and_conflicting_ones_masked(supplier, row_of):
    equal, other = supplier.row(1, 4), supplier.row(2, 6).with_columns(pl.col("hh05") + 0.5)
    supplier.readings = pl.concat([supplier.readings, equal, equal, other, other])
    report, store = supplier.ingest()
    assert report.counts["rows_repeated"] == 2
    assert report.counts["days_conflicting"] == 1
    assert store.valid[row_of(supplier, store, 1)].all()
    assert np.flatnonzero(~store.valid[row_of(supplier, store, 2)]).tolist() == [6]
    np.testing.assert_array_equal(store.kwh[row_of(supplier, store, 1), 4], supplier.kwh[1, 4])


def test_a_day_with_too_many_half_hours_is_masked(supplier, row_of):
    supplier.set(3, 2, {"hh49": 0.1})
    supplier.set(3, 20, {"hh47": 0.1})
    report, store = supplier.ingest()
    assert report.counts["days_of_wrong_length"] == 2
    assert np.flatnonzero(~store.valid[row_of(supplier, store, 3)]).tolist() == [2, 20]


def test_a_meter_that_repeats_itself_is_not_believed(supplier, row_of):
    supplier.set(3, 8, {f"hh{n:02d}": 0.25 for n in range(1, 49)})
    report, store = supplier.ingest()
    assert report.counts["stuck"] == 47
    assert not store.valid[row_of(supplier, store, 3), 8]


def test_an_empty_home_that_reads_zero_is_believed(supplier, row_of):
    supplier.set(3, 8, {f"hh{n:02d}": 0.0 for n in range(1, 49)})
    _, store = supplier.ingest()
    assert (store.kwh[row_of(supplier, store, 3), 8] == 0).all()


def test_rows_that_belong_nowhere_are_counted(supplier):
    row = supplier.row(0, 0)
    supplier.readings = pl.concat(
        [
            supplier.readings,
            row.with_columns(pl.lit("9999999999999").alias("meter_id")),
            row.with_columns(pl.lit(None, dtype=pl.String).alias("meter_id")),
            row.with_columns(pl.lit(None, dtype=pl.Date).alias("date")),
            row.with_columns(pl.col("date") - pl.duration(days=1)),
            row.with_columns(pl.col("date") + pl.duration(days=28)),
        ]
    )
    report, store = supplier.ingest()
    assert report.counts["rows_of_unknown_meters"] == 1
    assert report.counts["rows_without_key"] == 2
    assert report.counts["rows_outside_period"] == 2
    assert store.valid.all()


def test_meters_without_a_clear_area_are_left_out(supplier, row_of):
    supplier.meters[1] = (supplier.meter(1), "XX9 9XX")
    supplier.meters += [supplier.meters[0], (supplier.meter(2), supplier.meters[0][1])]
    report, store = supplier.ingest()
    assert report.counts["homes_without_area"] == 1
    assert report.counts["meters_repeated"] == 1
    assert report.counts["meters_conflicting"] == 1
    assert report.counts["rows_of_meters_left_out"] == 2 * 28
    assert report.counts["rows_of_unknown_meters"] == 0
    assert [row_of(supplier, store, number) >= 0 for number in range(6)] == [True, False, False, True, True, True]


def test_spacing_and_case_of_postcodes_do_not_matter(supplier):
    supplier.meters = [(meter, postcode.replace(" ", "").lower() + " ") for meter, postcode in supplier.meters]
    report, _ = supplier.ingest()
    assert report.counts["homes"] == 6


def test_homes_with_few_days_are_left_out(supplier, row_of):
    late = pl.col("date") >= supplier.date(13)
    keep_fourteen = pl.col("date") >= supplier.date(14)
    first, second = pl.col("meter_id") == supplier.meter(0), pl.col("meter_id") == supplier.meter(1)
    supplier.readings = supplier.readings.filter(~(first & late), ~(second & keep_fourteen))
    report, store = supplier.ingest()
    assert report.counts["homes_with_few_days"] == 1
    assert row_of(supplier, store, 0) == -1
    assert store.valid[row_of(supplier, store, 1)].sum() == 14


def test_a_supplier_without_a_usable_home_has_an_empty_store(supplier):
    supplier.meters = [(meter, "XX9 9XX") for meter, _ in supplier.meters]
    report, store = supplier.ingest()
    assert report.counts["homes"] == 0
    assert store.kwh.shape == (0, 28, 48) and store.pseudonyms.shape == (0, 16) and store.lsoa21cd.shape == (0,)


def test_the_report_reads_as_text(supplier):
    report, _ = supplier.ingest()
    lines = report.lines()
    assert len(lines) == len(report.counts)
    assert any("168" in line and "rows read" in line for line in lines)


@pytest.mark.parametrize("days", [13, 0, -5, 367, 2_000_000])
def test_a_period_too_short_or_too_long_is_refused_before_any_room_is_made(supplier, days):
    supplier.days = days
    with pytest.raises(DataError, match="from 14 to 366 days"):
        supplier.ingest()


def test_a_short_key_is_refused(supplier):
    supplier.key = b"short"
    with pytest.raises(DataError, match="16 bytes"):
        supplier.ingest()


def test_another_key_gives_other_pseudonyms(supplier):
    _, first = supplier.ingest()
    before = {row.tobytes() for row in first.pseudonyms}
    supplier.key = supplier.key[::-1]
    _, second = supplier.ingest()
    assert not before & {row.tobytes() for row in second.pseudonyms}


def _spoil(supplier, how):
    path = supplier.raw / "readings-001.parquet"
    match how:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-2000])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            path.write_bytes(b"PK\x03\x04 7.777 not parquet at all" * 50)
        case "corrupt":
            content = bytearray(path.read_bytes())
            content[100:4000] = b"7.777" * 780
            path.write_bytes(bytes(content))
        case "column missing":
            pl.read_parquet(path).drop("hh17").write_parquet(path)
        case "column too many":
            pl.read_parquet(path).with_columns(name=pl.lit("7.777")).write_parquet(path)
        case "text readings":
            pl.read_parquet(path).with_columns(pl.lit("7.777").alias("hh17")).write_parquet(path)
        case "text dates":
            pl.read_parquet(path).with_columns(pl.col("date").cast(pl.String)).write_parquet(path)
        case "no readings":
            for each in supplier.raw.glob("readings-*"):
                each.unlink()
        case "no meters":
            (supplier.raw / "meters.csv").unlink()
        case "meters without postcode":
            (supplier.raw / "meters.csv").write_text("meter_id,place\n7777777777777,7.777\n")
        case "ragged meters":
            (supplier.raw / "meters.csv").write_text("meter_id,postcode\n7777777777777,7.777,7.777,7.777\n")
        case "binary meters":
            (supplier.raw / "meters.csv").write_bytes(b"meter_id,postcode\n\xff\xfe7.777,\x00\xff\n")
        case "meters is empty":
            (supplier.raw / "meters.csv").write_bytes(b"")


_FAULTS = [
    *("truncated", "empty", "foreign", "corrupt", "column missing", "column too many", "text readings", "text dates"),
    *("no readings", "no meters", "meters without postcode", "ragged meters", "binary meters", "meters is empty"),
]


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_file_that_is_not_what_it_should_be_is_refused_and_the_old_store_stays(supplier, fault):
    supplier.ingest()
    before = {path: path.read_bytes() for path in supplier.store.rglob("*") if path.is_file()}
    _spoil(supplier, fault)
    with pytest.raises(FormatError) as caught:
        supplier.ingest_again()
    assert "7.777" not in str(caught.value) and "7777" not in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    assert {path: path.read_bytes() for path in supplier.store.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("code", ["E01000A01", "E0200001", "E0177", "S01000001", "E010000011", "e01000001"])
def test_a_lookup_to_other_areas_is_refused(supplier, code):
    supplier.postcodes.append(("ZZ77 7ZZ", code))
    with pytest.raises(GeographyError) as caught:
        supplier.ingest()
    assert code not in str(caught.value) and "ZZ77" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_filled_series_are_finite_where_valid_and_nan_elsewhere(data):
    homes, days = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    kwh = rng.random((homes, days, 48)).astype(np.float32)
    kwh[rng.random(kwh.shape) < data.draw(st.floats(0, 1))] = np.nan
    start = data.draw(st.integers(0, days * 48))
    kwh.reshape(homes, -1)[0, start : start + data.draw(st.integers(0, 100))] = np.nan
    raw = kwh.copy()
    filled = fill_gaps(kwh, np.arange(days) % 7 < 5)
    assert np.isfinite(kwh[filled.valid]).all() and np.isnan(kwh[~filled.valid]).all()
    read = ~np.isnan(raw) & filled.valid[:, :, None]
    np.testing.assert_array_equal(kwh[read], raw[read])
    assert filled.interpolated + filled.typical == int(np.isnan(raw[filled.valid]).sum())
    assert (np.isnan(raw).sum(axis=2)[filled.valid] <= 24).all()
    assert np.isfinite(kwh).sum() == 0 or (np.nanmin(kwh) >= 0 and np.nanmax(kwh) <= 1.000001)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_whatever_the_readings_the_store_holds_only_possible_ones(new_supplier, values):
    supplier = new_supplier(homes=2, days=14)
    supplier.set(0, 5, {f"hh{n + 1:02d}": value for n, value in enumerate(values)})
    _, store = supplier.ingest()
    assert np.isfinite(store.kwh[store.valid]).all()
    assert (store.kwh[store.valid] >= 0).all() and (store.kwh[store.valid] <= 15).all()
