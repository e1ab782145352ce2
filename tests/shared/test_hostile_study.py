# SPDX-License-Identifier: Apache-2.0
"""What an office could write into a study that it signs, to learn more than is charged or to hold a supplier up."""

import time

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import InternalError, StudyError
from skyglow_shared.privacy.accounting import LARGEST_EPSILON, Event, adaptive_cost, study_cost
from skyglow_shared.privacy.release import grouped_sum
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Block, Study, canonical_bytes


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


def too_many_phases(plain):
    phase = plain["phases"][0]
    plain["phases"] = [
        {**phase, "name": f"p{n}", "blocks": [{**phase["blocks"][0], "name": f"b{n}"}]} for n in range(33)
    ]


def too_many_blocks(plain):
    block = plain["phases"][1]["blocks"][0]
    plain["phases"][1]["blocks"] = [{**block, "name": f"b{n}"} for n in range(101)]


def too_many_models(plain):
    plain["models"] = [{**plain["models"][0], "name": f"m{n}"} for n in range(101)]


def too_many_areas(plain):
    plain["areas"] = [[f"E01{n:06d}", "E02000001", "E06000001"] for n in range(100_001)]


def too_many_suppliers(plain):
    plain["suppliers"] = [{"name": f"s{n}", "public_key": f"{n:064x}"} for n in range(1001)]


def too_long_a_title(plain):
    plain["title"] = "home " * 41


def too_long_a_reason(plain):
    plain["public_good"] = "good " * 401


@pytest.mark.parametrize(
    "spoil",
    [
        too_many_phases,
        too_many_blocks,
        too_many_models,
        too_many_areas,
        too_many_suppliers,
        too_long_a_title,
        too_long_a_reason,
    ],
)
def test_what_a_supplier_reads_before_it_agrees_is_bounded(plain, spoil):
    decode_study(canonical_bytes(msgspec.convert(plain, Study)))
    spoil(plain)
    with pytest.raises(StudyError, match="cannot be read: Expected"):
        decode_study(encoded(plain))


@pytest.mark.parametrize(
    "events",
    [
        [Event(0.1, 1.0, 10_000, 1000)],
        [Event(0.005, 1.0, 1, 1000)],
        [Event(0.03, 0.5, 10, 1000)],
        [Event(0.02, 0.01, 1, 1000, epoch=100)],
        [Event(0.001, 1e-12, 3, 1000), Event(4.0, 1.0, 1, 1000)],
    ],
)
def test_a_plan_that_no_policy_allows_is_costed_at_once(events):
    """Composing such a plan exactly takes minutes and gigabytes, on the machine of a supplier that was only asked."""
    begun = time.process_time()
    cost = study_cost(events, 1e-6)
    assert cost.epsilon_lower <= LARGEST_EPSILON < cost.epsilon_upper == adaptive_cost([events], 1e-6)
    assert time.process_time() - begun < 5


def test_a_dear_plan_is_still_composed_exactly():
    cost = study_cost([Event(2.0, 1.0, 50, 1)], 1e-6)
    assert LARGEST_EPSILON < cost.epsilon_lower <= cost.epsilon_upper < 1.001 * cost.epsilon_lower
