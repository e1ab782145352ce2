# SPDX-License-Identifier: Apache-2.0
"""The 22 features against a slow plain reading of their definitions, and the contract that scales them."""

import dataclasses
import itertools
import math
import statistics

import numpy as np
import pytest

from skyglow_client.features.class22 import class22
from skyglow_shared.errors import StudyError
from skyglow_shared.models.features import Feature, FeatureContract, contract, normalise

CLASS22 = contract("class22-v1")


def _week(homes, seed=1):
    return np.random.default_rng(seed).gamma(0.8, 0.4, (homes, 7, 48)).astype(np.float32)


def _peaks(day):
    hours = [(day[2 * h] + day[2 * h + 1]) / 2 for h in range(24)]
    return sum(hours[h] - hours[h - 1] > 0.2 and hours[h] - hours[h + 1] > 0.2 for h in range(1, 23))


def _first(day, level):
    return next((slot for slot, value in enumerate(day) if value > level), 48)


def _plain(kwh):
    """One home, by lists and loops, after the definitions."""
    power = [[2.0 * float(value) for value in day] for day in kwh]
    whole = [not any(math.isnan(value) for value in day) for day in power]
    weekdays = [day for day, ok in zip(power[:5], whole[:5], strict=True) if ok]
    weekend = [day for day, ok in zip(power[5:], whole[5:], strict=True) if ok]
    if len(weekdays) < 3 or not weekend:
        return [math.nan] * 22
    every = weekdays + weekend
    mean = statistics.fmean

    def over(days, what):
        return mean(what(day) for day in days)

    def window(days, first_hour, end_hour):
        return over(days, lambda day: mean(day[2 * first_hour : 2 * end_hour]))

    def ratio(above, below):
        return max(above, 0.01) / max(below, 0.01)

    def above_mean(day):
        return sum(value > mean(day) for value in day)

    noon = window(weekdays, 10, 14)
    return [
        window(every, 6, 22),
        window(weekdays, 18, 22),
        window(weekdays, 6, 10),
        window(weekdays, 1, 5),
        noon,
        over(weekdays, mean),
        over(weekend, mean),
        over(weekdays, lambda day: sum(abs(b - a) for a, b in itertools.pairwise(day))),
        over(weekdays, lambda day: _first(day, 1.0)),
        over(weekdays, lambda day: _first(day, 2.0)),
        over(weekdays, lambda day: day.index(max(day))),
        over(every, max),
        over(every, min),
        over(weekdays, _peaks),
        over(weekdays, above_mean),
        over(weekend, above_mean),
        over(every, statistics.pvariance),
        ratio(window(weekdays, 6, 10), noon),
        ratio(window(weekdays, 18, 22), noon),
        ratio(window(every, 1, 5), window(every, 6, 22)),
        ratio(over(every, min), over(every, mean)),
        ratio(over(weekdays, mean), over(weekend, mean)),
    ]


def test_every_feature_is_its_definition():
    kwh = _week(24)
    holes = np.random.default_rng(2).random((24, 7)) < 0.15
    kwh[holes, 11] = np.nan
    kwh[0] = 0.0
    kwh[1, :2] = np.nan
    np.testing.assert_allclose(class22(kwh), [_plain(home) for home in kwh], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("missing", "usable"),
    [((0, 1), True), ((0, 1, 2), False), ((5,), True), ((5, 6), False), ((0, 1, 6), True)],
)
def test_a_week_needs_three_weekdays_and_a_weekend_day(missing, usable):
    kwh = _week(1)
    kwh[0, list(missing), 47] = np.nan
    assert np.isfinite(class22(kwh)).all() == usable
    assert np.isnan(class22(kwh)).all() == (not usable)


def test_a_home_is_described_by_itself_alone():
    kwh = _week(5)
    alone = class22(kwh[2:3])
    kwh[[0, 1, 3, 4]] = np.nan
    np.testing.assert_array_equal(class22(kwh)[2:3], alone)


def test_no_homes_and_wrong_shapes():
    assert class22(np.empty((0, 7, 48))).shape == (0, 22)
    with pytest.raises(ValueError, match="homes, 7, 48"):
        class22(np.zeros((3, 48, 7)))


def test_normalise_maps_bounds_to_one_and_clips_beyond():
    low = np.array([feature.low for feature in CLASS22.features])
    high = np.array([feature.high for feature in CLASS22.features])
    x, usable = normalise(CLASS22, np.stack([low, high, low - 100, high + 1e9]))
    assert usable.all()
    np.testing.assert_allclose(x, np.array([-1.0, 1, -1, 1])[:, None] * np.ones(22), atol=1e-12)
    assert np.abs(x).max() <= 1


def test_a_logarithm_halves_at_the_geometric_mean():
    one = FeatureContract("one", (Feature("level", "log", 0.1, 10.0), Feature("root", "sqrt", 0.0, 16.0)))
    np.testing.assert_allclose(normalise(one, np.array([[1.0, 4.0]]))[0], [[0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_silences_only_its_own_home(bad):
    raw = class22(_week(3))
    clean, _ = normalise(CLASS22, raw)
    raw[1, 7] = bad
    x, usable = normalise(CLASS22, raw)
    assert usable.tolist() == [True, False, True]
    assert not x[1].any()
    np.testing.assert_array_equal(x[[0, 2]], clean[[0, 2]])


def test_the_digest_pins_every_bound():
    first = dataclasses.replace(CLASS22.features[0], high=CLASS22.features[0].high * 1.01)
    changed = dataclasses.replace(CLASS22, features=(first, *CLASS22.features[1:]))
    swapped = dataclasses.replace(CLASS22, features=CLASS22.features[::-1])
    assert len({CLASS22.digest, changed.digest, swapped.digest}) == 3
    assert CLASS22.digest == "b82f0af5a20b8b7b613f79d630b020734c0e5dff93c05400ba6d4dd12d180d56"


def test_contracts_refuse_what_they_do_not_know():
    with pytest.raises(StudyError, match="update the older side"):
        contract("class99-v1")
    with pytest.raises(StudyError, match="columns"):
        normalise(CLASS22, np.zeros((2, 21)))
    for bad in (("log", 0.0, 1.0), ("sqrt", -1.0, 1.0), ("none", 1.0, 1.0), ("none", 0.0, np.inf), ("cube", 0.0, 1.0)):
        with pytest.raises(StudyError, match="contract"):
            Feature("bad", *bad)
