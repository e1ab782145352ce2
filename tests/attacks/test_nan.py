# SPDX-License-Identifier: Apache-2.0
"""A number that is none, to escape clipping: at a peer it carries the rest of the update past the bound."""

import numpy as np
import pytest

from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import grouped_sum
from skyglow_shared.study import Block

UPDATE = np.array([1e6, 1e6, 1e6])
BLOCK = Block(name="gradient", source="gradient", model="", l2_bound=1.0, noise_multiplier=5.0)


@pytest.mark.slow
def test_flower_does_not_clip_an_update_with_a_nan(peer):
    """Flower scales by the norm, which is no number then, and the comparison with the bound is false."""
    found = peer("flower_nan")
    assert found["succeeded"]
    assert found["norm"] > 1e6 * found["bound"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("place", range(3))
def test_a_home_with_a_nan_moves_nothing(bad, place):
    """The same update, of one home among others: it is left out whole, and the others' sum is what it was."""
    attack, others = UPDATE.copy(), np.random.default_rng(5).normal(0, 1, (20, 3))
    attack[place] = bad
    group = np.zeros(21, dtype=np.intp)
    with_it = grouped_sum(np.vstack([others, attack]), group, 1, BLOCK)
    without = grouped_sum(others, group[:20], 1, BLOCK)
    moved = np.linalg.norm((with_it - without).astype(np.float64))
    assert moved <= sensitivity_steps(BLOCK.noise_multiplier)
    if not np.isfinite(bad):
        assert moved == 0
