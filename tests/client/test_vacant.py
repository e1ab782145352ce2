# SPDX-License-Identifier: Apache-2.0
"""A home where nobody lives: what presence makes of it, and that use for the whole period tells it apart."""

import numpy as np
import pytest

from skyglow_client.features.presence import presence_rule
from skyglow_shared.electricity import VACANT_KWH

DAYS = 28


def at_home(kwh):
    """Share of half-hours that the rule calls somebody home."""
    return float(presence_rule(np.asarray(kwh, dtype=np.float32).reshape(1, DAYS, 48)).mean())


def fridge():
    rng = np.random.default_rng(1)
    return 0.008 + 0.03 * (rng.random(DAYS * 48) < 0.4)


@pytest.mark.parametrize("watt_hours", [0.0, 1.0, 5.0, 6.0])
def test_a_home_that_draws_the_same_all_the_time_is_empty_all_the_time(watt_hours):
    kwh = np.full(DAYS * 48, watt_hours / 1000)
    assert at_home(kwh) == 0.0
    assert kwh.sum() / DAYS < VACANT_KWH, "and counts as vacant"


def test_whoever_is_out_by_day_is_not_vacant():
    kwh = np.tile(np.r_[np.full(16, 0.03), np.full(20, 0.04), np.full(12, 0.4)], DAYS)
    assert 0.3 < at_home(kwh) < 0.9
    assert kwh.sum() / DAYS > 10 * VACANT_KWH


def test_a_fridge_alone_passes_for_people_and_is_not_called_vacant():
    """A known limit: the rule looks at a home on its own scale, and the bound on use is below what a fridge draws."""
    assert at_home(fridge()) > 0.5
    assert VACANT_KWH < fridge().sum() / DAYS < 1.5
