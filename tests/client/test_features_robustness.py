# SPDX-License-Identifier: Apache-2.0
"""Features whatever comes in: bounds hold for any number, real homes fit them, the cache survives a crash."""

import datetime
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_client.features import build_features, class22, presence_rule
from skyglow_client.features import table as tables
from skyglow_client.features.presence import RULE, RULE_VERSION, PresenceRule
from skyglow_shared.models.features import contract, normalise

MONDAY = datetime.date(2026, 3, 16)
REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=22, max_size=22))
def test_normalised_features_are_bounded_whatever_comes_in(values):
    row = np.array([values, [1.0] * 22])
    x, usable = normalise(contract("class22-v1"), row)
    assert usable.tolist() == [all(math.isfinite(value) for value in values), True]
    assert (np.abs(x) <= 1).all()
    assert usable[0] or not x[0].any()
    np.testing.assert_array_equal(x[1], normalise(contract("class22-v1"), row[1:])[0][0])


def test_real_homes_lie_within_the_bounds_and_spread():
    if not (REAL / "edrp-scotland-622.npz").is_file():
        pytest.skip("the Scottish readings for local checks are not here")
    with np.load(REAL / "edrp-scotland-622.npz") as file:
        kwh = file["kwh"].T.reshape(622, 92, 48)
    plain = contract("class22-v1")
    raw = np.concatenate([class22(kwh[:, day : day + 7]) for day in range(1, 85, 21)])
    low, high = (np.array([getattr(feature, side) for feature in plain.features]) for side in ("low", "high"))
    assert (np.mean((raw < low) | (raw > high), axis=0) < 0.05).all()
    x, usable = normalise(plain, raw)
    assert usable.all()
    assert (x.std(axis=0) > 0.3).all() and (np.abs(x.mean(axis=0)) < 0.5).all()


def _homes(homes=60, days=28, seed=11):
    """Homes that idle at night and when nobody is in: truth and kWh."""
    rng = np.random.default_rng(seed)
    hour = (np.arange(48) + 0.5) / 2
    leave, back = rng.uniform(7.5, 9.5, (2, homes, days, 1))
    home = ~((hour > leave) & (hour < back + 8.5)) | (rng.random((homes, days, 1)) < 0.35)
    home[: homes // 4, 9:16] = False
    awake = home & (hour > 6.5) & (hour < 23)
    kwh = 0.06 * rng.lognormal(0, 0.3, home.shape) * rng.lognormal(0, 0.5, (homes, 1, 1))
    return home, (kwh + awake * rng.gamma(1.5, 0.18, home.shape)).astype(np.float32)


def _matthews(guess, truth):
    return np.corrcoef(guess.ravel(), truth.ravel())[0, 1]


def test_the_rule_finds_who_is_home_and_who_is_away_for_days():
    truth, kwh = _homes()
    guess = presence_rule(kwh)
    assert guess.dtype == np.uint8 and set(np.unique(guess)) == {0, 1}
    assert _matthews(guess, truth) > 0.75
    away = ~truth.any(axis=2)
    assert (~guess.any(axis=2) & away).sum() > 0.7 * away.sum()
    assert (~guess.any(axis=2) & ~away).mean() < 0.01


def test_chunks_make_no_difference(monkeypatch):
    _, kwh = _homes(9)
    want = presence_rule(kwh)
    monkeypatch.setattr("skyglow_client.features.presence._HOMES_AT_ONCE", 4)
    np.testing.assert_array_equal(presence_rule(kwh), want)


def test_days_left_out_are_empty_and_hardly_touch_the_others():
    truth, kwh = _homes()
    want = presence_rule(kwh)
    kwh[:, 4], kwh[:, 20, 3], kwh[0] = np.nan, np.nan, np.nan
    got = presence_rule(kwh)
    assert not got[:, [4, 20]].any() and not got[0].any()
    rest = [day for day in range(28) if day not in (4, 20)]
    assert np.mean(got[1:, rest] != want[1:, rest]) < 0.02
    assert _matthews(got[1:, rest], truth[1:, rest]) > 0.75


def test_the_rules_parameters_change_only_with_its_version():
    parameters = PresenceRule(0.005, 5, 0.1, 0.9, 0.25, 7, 0.4, 40, 18)
    assert ("presence-rule-1", parameters) == (RULE_VERSION, RULE)


def test_days_left_out_do_not_move_the_homes_levels():
    _, kwh = _homes()
    want = presence_rule(kwh[:, :14])
    kwh[:, 14:] = np.nan
    assert np.mean(presence_rule(kwh)[:, :13] != want[:, :13]) < 0.001


def test_a_night_after_a_day_left_out_is_judged_by_its_own_evening():
    _, kwh = _homes()
    kwh[:, 3] = np.nan
    home = presence_rule(kwh).astype(bool)
    at_home = home[:, 4, 40:].any(axis=1)
    assert at_home.mean() > 0.9
    assert home[at_home, 4, :12].all()


def test_another_week_rule_or_store_is_built_anew(supplier, monkeypatch):
    _, store = supplier.ingest()
    first = build_features(supplier.store, week_start=MONDAY)
    other = build_features(supplier.store, week_start=MONDAY - datetime.timedelta(days=7))
    assert not np.array_equal(first.features, other.features)
    monkeypatch.setattr(tables, "RULE_VERSION", "presence-rule-0")
    build_features(supplier.store, week_start=MONDAY)
    assert len(list(store.folder.glob("features-*.npy"))) == len(list(store.folder.glob("profile-*.npy"))) == 2
    supplier.set(0, 9, {"hh30": 3.0})
    supplier.ingest()
    assert not np.array_equal(build_features(supplier.store, week_start=MONDAY).features, first.features)


def test_a_crash_while_keeping_leaves_nothing_half_written(supplier, monkeypatch):
    _, store = supplier.ingest()

    def dying(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            build_features(supplier.store, week_start=MONDAY)
    assert sorted(path.name for path in store.folder.iterdir()) == ["homes.parquet", "kwh.npy", "valid.npy"]


def test_an_empty_store_has_an_empty_table(supplier):
    supplier.meters = [(meter, "XX9 9XX") for meter, _ in supplier.meters]
    supplier.ingest()
    for _ in range(2):
        table = build_features(supplier.store, week_start=MONDAY)
        assert table.features.shape == (0, 22) and table.profile.shape == (0, 2, 48)
