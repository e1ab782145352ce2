# SPDX-License-Identifier: Apache-2.0
"""Every fault of a raw file is in its list: whoever knows the list gets the true readings back, bit for bit."""

import dataclasses
import datetime
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_client.readings.formats import FORMATS, load_format
from skyglow_shared.errors import DataError, RunError
from skyglow_shared.study import Period
from skyglow_simulations.population import dirty, exports, oracle
from skyglow_simulations.population.timeline import Timeline

MARCH = Period(datetime.date(2026, 3, 23), 14)
OCTOBER = Period(datetime.date(2026, 10, 19), 14)
HEAVY = dirty.Amounts(0.2, 0.1, 0.1, 0.05, 0.3, 0.3, 0.05, 0.6, 0.5, 0.1, 0.1)
#: Which amounts make a kind of fault.
MADE_BY = {
    "gap": ("short_gap", "long_gap", "missing_day"),
    "shifted": ("moved",),
    "moved_stamp": ("moved",),
    **{kind: (kind,) for kind in ("stuck", "spike", "negative", "other_unit", "swapped")},
    **{kind: (kind,) for kind in ("equal_duplicate", "conflicting_duplicate")},
}
METERS = 10**12 + np.arange(8) * 7919


def truth(timeline: Timeline, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kwh = np.round(rng.gamma(1.2, 0.15, (len(METERS), len(timeline.lengths), 48)), 3).astype(np.float32)
    kwh[rng.random(kwh.shape) < 0.05] = 0
    return kwh


def exported(folder: Path, name: str, amounts: dirty.Amounts, timeline: Timeline, seed: int) -> dirty.Soiled:
    rng = np.random.default_rng([seed, 1])
    kwh = truth(timeline, seed)
    soiled = dirty.soil(kwh, METERS, timeline, amounts, rng, stamps=name in exports.STAMPED)
    exports.write(folder / "readings-00000", name, METERS, soiled, timeline)
    return soiled


def check(folder: Path, name: str, soiled: dirty.Soiled, timeline: Timeline, seed: int) -> None:
    want = truth(timeline, seed)
    want[:, np.flatnonzero(timeline.lengths == 46), 2:4] = np.nan
    form = exports.form_of(name, timeline.start)
    got = oracle.restore(folder, form, soiled.faults, METERS, timeline)
    np.testing.assert_array_equal(got, want)


#: Stamps are off in files with stamps, rows are shifted in others.
CASES = [
    (name, kind)
    for name in FORMATS
    for kind in MADE_BY
    if kind != ("shifted" if name in exports.STAMPED else "moved_stamp")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_each_fault_alone_is_listed(name: str, kind: str, tmp_path: Path):
    amounts = dataclasses.replace(dirty.CLEAN, **{field: getattr(HEAVY, field) for field in MADE_BY[kind]})
    timeline = Timeline.of(OCTOBER)
    soiled = exported(tmp_path, name, amounts, timeline, 3)
    assert set(soiled.faults["kind"]) == {kind, "clock_change"}
    check(tmp_path, name, soiled, timeline, 3)
    without = soiled.faults.filter(pl.col("kind") != kind)
    with pytest.raises((DataError, AssertionError)):
        check(tmp_path, name, dataclasses.replace(soiled, faults=without), timeline, 3)


@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(FORMATS)), period=st.sampled_from([MARCH, OCTOBER]))
@settings(max_examples=40, deadline=None)
def test_all_faults_together_are_listed(seed: int, name: str, period: Period):
    timeline = Timeline.of(period)
    with tempfile.TemporaryDirectory() as folder:
        soiled = exported(Path(folder), name, HEAVY, timeline, seed)
        check(Path(folder), name, soiled, timeline, seed)


@pytest.mark.parametrize("drop", range(6))
def test_a_list_that_lacks_one_fault_is_found_out(drop: int, tmp_path: Path):
    timeline = Timeline.of(MARCH)
    soiled = exported(tmp_path, "long", HEAVY, timeline, 4)
    faults = soiled.faults.filter(pl.col("kind") != "clock_change").with_row_index()
    place = drop * faults.height // 6
    cut = dataclasses.replace(soiled, faults=faults.filter(pl.col("index") != place).drop("index"))
    with pytest.raises((DataError, AssertionError)):
        check(tmp_path, "long", cut, timeline, 4)


@pytest.mark.parametrize(("period", "half_hours"), [(MARCH, 46), (OCTOBER, 50)])
def test_clock_changes_are_in_the_list(period: Period, half_hours: int, tmp_path: Path):
    soiled = exported(tmp_path, "cer", dirty.CLEAN, Timeline.of(period), 1)
    assert soiled.faults.select("kind", "half_hours").rows() == [("clock_change", half_hours)]
    codes = [line.split()[1] for line in (tmp_path / "readings-00000.txt").read_text().splitlines()]
    sunday = datetime.date(2026, 3, 29) if half_hours == 46 else datetime.date(2026, 10, 25)
    day = f"{sunday.timetuple().tm_yday:03d}"
    assert sorted({code[3:] for code in codes if code[:3] == day}) == [f"{n:02d}" for n in range(1, half_hours + 1)]


def test_the_mapping_beside_the_files_is_the_format(tmp_path: Path):
    for name in FORMATS:
        form = exports.form_of(name, MARCH.start)
        (tmp_path / "format.toml").write_text(exports.mapping_toml(form))
        assert load_format(str(tmp_path / "format.toml")) == form
    with pytest.raises(RunError, match="wide"):
        exports.form_of("xls", MARCH.start)


def test_a_timeline_there_and_back():
    for period in (MARCH, OCTOBER):
        timeline = Timeline.of(period)
        kwh = truth(timeline, 2)
        again = timeline.clock(timeline.series(kwh))
        there = ~np.isnan(again)
        assert (~there).sum() == (2 * len(METERS) if period is MARCH else 0)
        assert np.array_equal(again[there], kwh[there])
