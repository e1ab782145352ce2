# SPDX-License-Identifier: Apache-2.0
"""Noise for dropouts alone: as wide as it says, the same for the same key, and no more of it than is needed."""

import math

import msgspec
import numpy as np
import pytest

from skyglow_shared.privacy.noise import SIGMA_STEPS
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.privacy.spare import deviation_steps, draw_key, spare_noise, spare_steps
from skyglow_shared.study import Aggregation, Supplier

TOLERATED = [(3, 1, 0), (5, 1, 1), (6, 1, 1), (6, 2, 1), (9, 3, 2), (20, 5, 3)]


def among(study, suppliers, dropouts, colluders):
    roster = tuple(Supplier(name=f"s{n}", public_key=f"{n:02x}" * 32) for n in range(suppliers))
    lost = Aggregation(dropouts=dropouts, colluders=colluders)
    return msgspec.structs.replace(study, trust_mode="aggregate", suppliers=roster, aggregation=lost)


@pytest.mark.parametrize("tolerated", TOLERATED, ids=str)
def test_whoever_is_missing_the_honest_hold_all_that_is_charged_and_hardly_more_where_all_that_may_are(
    study, tolerated
):
    suppliers, dropouts, colluders = tolerated
    town = among(study, *tolerated)
    needed = math.sqrt(town.noise_shares) * SIGMA_STEPS
    assert deviation_steps(town, suppliers - colluders, 0) == needed
    for gone in range(1, dropouts + 1):
        honest = suppliers - gone - colluders
        assert deviation_steps(town, honest, honest) >= needed
        assert deviation_steps(town, honest, 0) < needed
    least = suppliers - dropouts - colluders
    assert deviation_steps(town, least, least) < needed * (1 + 1e-4)


def test_it_is_as_wide_as_it_says_and_the_same_for_the_same_key(study):
    town = among(study, 6, 2, 1)
    key, other = (draw_key(town, SystemRandomness(), "s", n) for n in range(2))
    noise = spare_noise(town, key, 200_000)
    np.testing.assert_array_equal(noise, spare_noise(town, key, 200_000))
    assert abs(np.corrcoef(noise, spare_noise(town, other, 200_000))[0, 1]) < 0.02
    assert noise.std() == pytest.approx(spare_steps(town), rel=0.01)
    assert abs(noise.mean()) < 5 * spare_steps(town) / math.sqrt(noise.size)
    together = deviation_steps(town, 6, 2)
    assert together == pytest.approx(math.hypot(math.sqrt(6) * SIGMA_STEPS, math.sqrt(2) * noise.std()), rel=0.01)


@pytest.mark.parametrize("tolerated", [None, (4, 0, 2)], ids=str)
def test_where_nobody_may_be_missing_there_is_none(study, tolerated):
    town = study if tolerated is None else among(study, *tolerated)
    assert spare_steps(town) == 0
    assert draw_key(town, SystemRandomness(), "s") == b""
    assert not spare_noise(town, b"", 5).any()
    assert deviation_steps(town, 9, 9) == 3 * SIGMA_STEPS
