# SPDX-License-Identifier: Apache-2.0
"""What the model of presence sees: each home by itself, within public bounds, nothing of days left out."""

import datetime

import numpy as np
import pytest

from skyglow_client.learning.half_hours import half_hours
from skyglow_shared.models.temporal import CONTRACT

START = datetime.date(2026, 3, 9)  # a Monday


@pytest.fixture
def kwh():
    return np.random.default_rng(0).gamma(0.6, 0.4, (5, 14, 48))


def test_inputs_are_within_bounds_and_in_the_contracts_order(kwh):
    x, valid = half_hours(kwh, START)
    assert x.shape == (5, 14, 48, len(CONTRACT.features)) and x.dtype == np.float32
    assert valid.all() and abs(x).max() <= 1
    names = [feature.name for feature in CONTRACT.features]
    weekend = x[0, :, 0, names.index("weekend")]
    np.testing.assert_array_equal(weekend, np.where(np.arange(14) % 7 >= 5, 1, -1))
    clock = [names.index(name) for name in ("sine_of_the_time_of_day", "cosine_of_the_time_of_day")]
    np.testing.assert_allclose((x[..., clock] ** 2).sum(-1), 1, atol=1e-6)
    wanted = 2 * (np.log(np.clip(kwh, 0.005, 4)) - np.log(0.005)) / (np.log(4) - np.log(0.005)) - 1
    np.testing.assert_allclose(x[..., names.index("kwh")], wanted, atol=1e-6)
    assert set(np.unique(x[..., names.index("presence_by_the_rule")])) <= {-1.0, 1.0}


def test_a_home_is_seen_by_itself(kwh):
    whole, _ = half_hours(kwh, START)
    for home in range(5):
        np.testing.assert_array_equal(half_hours(kwh[home : home + 1], START)[0][0], whole[home])


def test_nothing_of_a_day_left_out_is_seen(kwh):
    kwh[1, 3, 7] = np.nan
    x, valid = half_hours(kwh, START)
    assert not valid[1, 3] and valid.sum() == 5 * 14 - 1
    assert not x[1, 3].any()
    kwh[1, 3] = 9e9
    kwh[1, 3, 7] = np.nan
    np.testing.assert_array_equal(half_hours(kwh, START)[0], x)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-300, 1e300])
def test_a_home_that_never_changes_has_inputs_too(value):
    x, _ = half_hours(np.full((1, 14, 48), value), START)
    assert np.isfinite(x).all()
    empty, valid = half_hours(np.full((1, 14, 48), np.nan), START)
    assert not empty.any() and not valid.any()
