# SPDX-License-Identifier: Apache-2.0
"""The bound on what one home can do to a sum holds in exact integers, whatever the home's data are."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skyglow_shared.errors import InternalError
from skyglow_shared.privacy.noise import SIGMA_STEPS, sensitivity_steps
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import (
    ExactSum,
    add_noise,
    clip_rows,
    grouped_sum,
    noise_deviation,
    quantise,
    step_size,
)
from skyglow_shared.study import Block

ABSURD = st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1.7976931348623157e308, 5e-324, -5e-324, 0.0, -0.0])
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True) | ABSURD
BLOCKS = st.builds(
    lambda bound, multiplier: Block(name="b", source="area_score", l2_bound=bound, noise_multiplier=multiplier),
    st.floats(1e-9, 1e9) | st.sampled_from([1.0, 0.1, 3.0**0.5]),
    st.floats(0.1, 1000) | st.sampled_from([0.1, 1.0, 4.0, 1000.0]),
)


def vectors(elements=ANY_FLOAT, homes=6):
    shape = st.tuples(st.integers(0, homes), st.integers(1, 9))
    return shape.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=elements))


def squared_norm(row):
    return sum(int(entry) ** 2 for entry in np.ravel(row))


@pytest.fixture(autouse=True)
def no_warning():
    """A warning from numpy would be a line on a supplier's screen that depends on one home."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@settings(max_examples=500, deadline=None)
@given(vectors(), BLOCKS)
def test_no_home_is_longer_than_its_bound_whatever_its_data(homes, block):
    steps = quantise(clip_rows(homes, block.l2_bound), block)
    assert steps.dtype == np.int64
    for row in steps:
        assert squared_norm(row) <= sensitivity_steps(block.noise_multiplier) ** 2


@settings(max_examples=300, deadline=None)
@given(vectors(st.floats(-1e6, 1e6)), BLOCKS)
def test_a_home_on_the_very_edge_stays_within(homes, block):
    """Clipped vectors have norm l2_bound up to float error: that error must not survive the grid."""
    length = np.sqrt(np.square(homes).sum(axis=1, keepdims=True))
    edge = homes[length[:, 0] > 1e-3] / length[length[:, 0] > 1e-3] * block.l2_bound * (1 + 4e-16)
    bound = sensitivity_steps(block.noise_multiplier)
    for row in quantise(edge, block):
        assert squared_norm(row) <= bound**2


@given(vectors(ABSURD | st.floats(-1, 1)))
def test_a_home_with_one_bad_number_contributes_nothing(homes):
    clipped = clip_rows(homes, 1.0)
    bad = ~np.isfinite(homes).all(axis=1)
    assert np.isfinite(clipped).all()
    assert not clipped[bad].any()


@given(vectors(st.floats(-1, 1)))
def test_a_home_within_the_bound_is_left_alone(homes):
    np.testing.assert_array_equal(clip_rows(homes, 3.001), homes)


@given(st.floats(1e-3, 1e300), st.floats(0.1, 10))
def test_clipping_keeps_the_direction(size, bound):
    clipped = clip_rows(np.array([[3.0, -4.0]]) * size / 5, bound)
    np.testing.assert_allclose(clipped, np.array([[3.0, -4.0]]) * min(size, bound) / 5, rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(vectors(homes=8), BLOCKS, st.data())
def test_one_home_more_or_less_moves_the_sum_by_at_most_the_sensitivity(homes, block, data):
    group = data.draw(hnp.arrays(np.intp, homes.shape[0], elements=st.integers(0, 3)))
    whole = grouped_sum(homes, group, 4, block)
    for left_out in range(homes.shape[0]):
        rest = np.delete(homes, left_out, axis=0), np.delete(group, left_out)
        moved = whole - grouped_sum(*rest, 4, block)
        assert squared_norm(moved) <= sensitivity_steps(block.noise_multiplier) ** 2


@settings(max_examples=200, deadline=None)
@given(vectors(homes=8), BLOCKS, st.data())
def test_sums_add_up_and_do_not_depend_on_order(homes, block, data):
    group = data.draw(hnp.arrays(np.intp, homes.shape[0], elements=st.integers(0, 3)))
    whole = grouped_sum(homes, group, 4, block)
    cut = data.draw(st.integers(0, homes.shape[0]))
    parts = [grouped_sum(homes[part], group[part], 4, block) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    order = np.array(data.draw(st.permutations(range(homes.shape[0]))), dtype=np.intp)
    np.testing.assert_array_equal(grouped_sum(homes[order], group[order], 4, block), whole)


@given(vectors(st.floats(-1, 1)))
def test_the_grid_loses_less_than_a_step_an_entry_and_only_toward_zero(homes):
    block = Block(name="b", source="area_score", l2_bound=4.0, noise_multiplier=4.0)
    steps = quantise(homes, block)
    exact = homes / step_size(block)
    assert (np.abs(exact - steps) < 1 + 1e-9).all()
    assert (np.abs(steps) <= np.abs(exact) + 1e-9).all()


def test_days_flattened_into_homes_are_caught(make_block):
    days = np.zeros((5, 7, 3))
    for wrong, group in (
        (days, np.zeros(5, int)),
        (days.reshape(35, 3), np.zeros(5, int)),
        (days[:, 0], np.zeros(4, int)),
    ):
        with pytest.raises(InternalError):
            grouped_sum(wrong, group, 1, make_block())


@given(st.floats(0.1, 1000))
def test_the_sensitivity_is_the_largest_whole_number_the_multiplier_allows(multiplier):
    bound = sensitivity_steps(multiplier)
    assert bound * Fraction(multiplier) <= SIGMA_STEPS < (bound + 1) * Fraction(multiplier)


def test_the_sensitivity_is_never_rounded_up():
    """Where SIGMA_STEPS / n is rounded up to a float, division in floats would allow n steps: a hair too many."""
    for n in range(65, 655_361, 499):
        multiplier = SIGMA_STEPS / n
        assert sensitivity_steps(multiplier) * Fraction(multiplier) <= SIGMA_STEPS


def test_noise_is_added_to_every_number_and_nothing_else(make_block):
    exact = ExactSum(np.arange(12, dtype=np.int64).reshape(4, 3) * 10**6)
    noise = add_noise(ExactSum(np.zeros((4, 3), np.int64)), ByteStream(bytes(32)))
    noised = add_noise(exact, ByteStream(bytes(32)))
    assert noised.dtype == np.int64
    np.testing.assert_array_equal(noised - noise, exact)
    assert (noise != 0).all()
    assert len(np.unique(noise)) == 12


def test_the_stated_deviation_is_the_deviation(make_block):
    """20,000 numbers: the sample deviation is within 3 % but for a chance of 1e-9; the key is fixed."""
    block = make_block(l2_bound=1.5, noise_multiplier=3.0)
    noise = add_noise(ExactSum(np.zeros((20_000, 1), np.int64)), ByteStream(bytes(range(32)))) * step_size(block)
    assert noise_deviation(block) == pytest.approx(noise.std(), rel=0.03)
    assert noise_deviation(block) == pytest.approx(1.5 * 3.0, rel=1e-4)
    assert noise_deviation(block, SIGMA_STEPS * 6**0.5) == pytest.approx(1.5 * 3.0 * 6**0.5, rel=1e-4)
