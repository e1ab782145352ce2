# SPDX-License-Identifier: Apache-2.0
"""What an office could write into a study that it signs, to learn more than is charged or to hold a supplier up."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import InternalError, StudyError
from skyglow_shared.privacy.release import grouped_sum
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Block


def encoded(plain):
    return msgspec.json.encode(plain, order="sorted")


@pytest.mark.parametrize("bound", [5e-324, 1e-310, 1e-300, 9e-10, 1.1e9, 1e300, 1.7e308])
@pytest.mark.parametrize("block", [0, 1])
def test_a_bound_that_no_grid_can_hold_is_refused(plain, bound, block):
    """A bound so small that steps over it are infinite made integers overflow: a sum told whether homes were odd."""
    plain["phases"][1]["blocks"][block]["l2_bound"] = bound
    with pytest.raises(StudyError, match="l2_bound"):
        decode_study(encoded(plain))


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("bound", [5e-324, 1e-310, 1e-305])
def test_what_is_beyond_the_grid_is_never_added(bound):
    """Whatever a study says: integers that do not fit are a bug that stops, not numbers of their own."""
    block = Block(name="homes", source="area_score", l2_bound=bound, noise_multiplier=1.0)
    with pytest.raises(InternalError):
        grouped_sum(np.ones((2, 2)), np.zeros(2, dtype=np.int64), 1, block)
