# SPDX-License-Identifier: Apache-2.0
"""Presence by rule on homes whose day is plain to see, and the table of features kept beside the store."""

import datetime

import numpy as np
import pytest

from skyglow_client.features import build_features, class22, day_profile, presence_rule
from skyglow_shared.errors import DataError, FormatError

MONDAY = datetime.date(2026, 3, 9)


def _workers(homes=6, days=14, seed=3):
    """Homes that are out 09:00-17:00 on weekdays, asleep 23:00-06:30, else busy; days 8 and 9 away."""
    rng = np.random.default_rng(seed)
    kwh = rng.uniform(0.04, 0.07, (homes, days, 48))
    busy = np.zeros((days, 48), dtype=bool)
    busy[:, 13:18] = busy[:, 34:46] = True
    busy[np.arange(days) % 7 >= 5, 18:34] = True
    busy[8:10] = False
    kwh[:, busy] = rng.uniform(0.25, 1.2, (homes, int(busy.sum())))
    kwh[:, 9, 20:44] = 0.13  # a freezer in an empty home
    return kwh.astype(np.float32)


def test_presence_follows_a_plain_life():
    home = presence_rule(_workers()).astype(bool)
    weekdays = [1, 2, 3, 4, 7, 11]
    assert home.shape == (6, 14, 48)
    assert home[:, weekdays, 37:].mean() > 0.97  # evening
    assert home[:, weekdays, :12].mean() > 0.97  # asleep
    assert home[:, weekdays, 21:31].mean() < 0.05  # at work
    assert home[:, [5, 6, 12, 13], 20:44].mean() > 0.95
    assert home[:, 9, 18:].mean() < 0.05  # away


def test_a_day_left_out_is_nobody_home_and_changes_no_other_home():
    kwh = _workers()
    before = presence_rule(kwh)
    kwh[1, 3] = np.nan
    after = presence_rule(kwh)
    assert not after[1, 3].any()
    np.testing.assert_array_equal(np.delete(after, 1, axis=0), np.delete(before, 1, axis=0))


def test_presence_does_not_depend_on_the_scale_of_a_home():
    kwh = _workers()
    np.testing.assert_array_equal(presence_rule(kwh), presence_rule(3 * kwh))


@pytest.mark.parametrize("value", [0.0, 0.2, np.nan])
def test_homes_without_a_pattern_are_no_error(value):
    out = presence_rule(np.full((2, 14, 48), value, dtype=np.float32))
    assert out.dtype == np.uint8
    assert set(np.unique(out)) <= {0, 1}


def test_profiles_average_valid_days_of_each_type():
    presence = np.zeros((2, 14, 48), dtype=np.uint8)
    presence[0, [0, 1, 5]] = 1
    valid = np.ones((2, 14), dtype=bool)
    valid[0, 1:4] = False
    valid[1, [5, 6, 12, 13]] = False
    profile = day_profile(presence, valid, MONDAY)
    np.testing.assert_allclose(profile[0, 0], 1 / 7)
    np.testing.assert_allclose(profile[0, 1], 1 / 4)
    assert np.isnan(profile[1, 1]).all()
    assert not profile[1, 0].any()


def test_the_table_is_what_its_parts_say(supplier):
    _, store = supplier.ingest()
    table = build_features(supplier.store, week_start=MONDAY + datetime.timedelta(days=7))
    np.testing.assert_array_equal(table.features, class22(store.kwh[:, 7:14]))
    expected = day_profile(presence_rule(store.kwh), store.valid, store.start)
    np.testing.assert_array_equal(table.profile, expected)


def test_the_second_call_reads_what_the_first_kept(supplier, monkeypatch):
    supplier.ingest()
    first = build_features(supplier.store, week_start=MONDAY)
    with monkeypatch.context() as patch:
        patch.setattr("skyglow_client.features.table.class22", None)
        second = build_features(supplier.store, week_start=MONDAY)
        with pytest.raises(TypeError):
            build_features(supplier.store, week_start=MONDAY + datetime.timedelta(days=7))
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.profile, second.profile)


def test_a_damaged_copy_is_built_again(supplier):
    supplier.ingest()
    first = build_features(supplier.store, week_start=MONDAY)
    wanted = np.array(first.features)
    del first
    for path in supplier.store.rglob("features-*"):
        path.write_bytes(path.read_bytes()[:-9])
    np.testing.assert_array_equal(build_features(supplier.store, week_start=MONDAY).features, wanted)


def test_new_readings_are_never_served_old_features(supplier):
    supplier.ingest()
    old = np.array(build_features(supplier.store, week_start=MONDAY).features)
    supplier.set(0, 2, {"hh20": 3.0})
    supplier.ingest()
    assert (np.asarray(build_features(supplier.store, week_start=MONDAY).features) != old).any(axis=1).sum() == 1


@pytest.mark.parametrize("shift", [1, -7, 28])
def test_a_week_must_start_on_a_monday_of_the_period(supplier, shift):
    supplier.ingest()
    with pytest.raises(DataError):
        build_features(supplier.store, week_start=MONDAY + datetime.timedelta(days=shift))


def test_features_need_a_store(tmp_path):
    with pytest.raises(FormatError):
        build_features(tmp_path / "nowhere", week_start=MONDAY)
