# SPDX-License-Identifier: Apache-2.0
"""A supplier's sum that is held to a cap: right below and above it, and no more sensitive than a count."""

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.homes import Homes
from skyglow_shared.models import presence
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import Block

K = presence.load("presence_basis_v2").components.shape[1]
CAP = 20
COUNT = Block(name="spread", source="area_capped_count", l2_bound=1.0, noise_multiplier=8.0, cap=CAP)


@pytest.fixture
def study(town):
    made = town.study()
    phase = made.phases[-1]
    phase = msgspec.structs.replace(phase, blocks=(*phase.blocks, COUNT))
    return msgspec.structs.replace(made, phases=(*made.phases[:-1], phase))


def homes_of(*counts, metered=True):
    """So many homes in each of the study's areas."""
    lsoa = np.repeat(np.arange(len(counts)), counts)
    number = len(lsoa)
    return Homes(
        pseudonyms=np.random.default_rng(1).integers(0, 256, (number, 16), dtype=np.uint8),
        lsoa=lsoa,
        msoa=lsoa // 2,
        x={"all_aged_66_plus": np.zeros((number, 22))},
        profile=np.zeros((number, 2, K)),
        metered=np.full(number, metered),
        composition=np.full(number, -1, dtype=np.int8),
        diary=np.full((number, 2, K), np.nan),
        calibrates=np.zeros(number, dtype=bool),
    )


def summed(study, homes):
    return block_sum(study, COUNT, homes, {})[:, 0]


def test_each_area_counts_up_to_the_cap(study):
    found = summed(study, homes_of(CAP - 1, CAP, 400)) * step_size(COUNT)
    np.testing.assert_allclose(found, [CAP - 1, CAP, CAP], atol=CAP * step_size(COUNT))
    assert not summed(study, homes_of(5, 5, 5, metered=False)).any()


@pytest.mark.parametrize("number", [0, 1, CAP - 1, CAP, CAP + 1, 3 * CAP])
def test_one_home_more_moves_the_sum_by_at_most_what_is_charged(study, number):
    """The cap is on the grid too: no step more than the sensitivity, to the integer."""
    before, after = summed(study, homes_of(number, 7, 7)), summed(study, homes_of(number + 1, 7, 7))
    moved = (after - before).tolist()
    bound = sensitivity_steps(COUNT.noise_multiplier)
    assert moved[1:] == [0, 0]
    assert 0 <= moved[0] <= bound
    assert (moved[0] == bound) == (number < CAP)
    assert (moved[0] == 0) == (number >= CAP)
