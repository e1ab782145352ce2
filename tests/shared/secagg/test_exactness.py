# SPDX-License-Identifier: Apache-2.0
"""The secure sum is the plain sum for every pattern of dropouts that is allowed, and none for every other."""

from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared.errors import ProtocolError, StudyError
from skyglow_shared.secagg import codec
from skyglow_shared.secagg.session import Parameters

STEPS = 5
EVERY_STEP = range(STEPS + 1)  # the step from which on a supplier is gone; the last: it never is


def tolerated():
    """All (K, d, c) up to K = 12 that are allowed."""
    return [(k, d, c) for k, d, c in product(range(2, 13), range(6), range(11)) if k > 2 * d + c and k - d - c >= 2]


def allowed(parameters, fails_at):
    """Whether enough are left at each step: K − d until the vectors are in, then the threshold."""
    left = [sum(step > done for step in fails_at) for done in range(STEPS)]
    return min(left[:3]) >= parameters.floor and min(left[3:]) >= parameters.threshold


def check(attempt, fails_at):
    names = attempt.names
    if not allowed(attempt.session.parameters, fails_at):
        with pytest.raises(ProtocolError):
            attempt.run(dict(zip(names, fails_at, strict=True)))
        return
    result = attempt.run(dict(zip(names, fails_at, strict=True)))
    survivors = [name for name, step in zip(names, fails_at, strict=True) if step > 2]
    assert list(result.survivors) == survivors
    plain = [sum(int(attempt.vectors[name][i]) for name in survivors) for i in range(attempt.session.words)]
    assert result.values.tolist() == plain


@st.composite
def cases(draw):
    k, d, c = draw(st.sampled_from(tolerated()))
    bits = draw(st.sampled_from(range(8, 65, 8)))
    words = draw(st.integers(1, 20))
    largest = ((1 << (bits - 1)) - 1) // k
    number = st.one_of(st.integers(-largest, largest), st.sampled_from([-largest, largest]))
    numbers = draw(st.lists(number, min_size=k * words, max_size=k * words))
    mostly_there = st.one_of(st.just(STEPS), st.sampled_from(EVERY_STEP))
    fails_at = [STEPS] * k
    for place in draw(st.permutations(range(k)))[: draw(st.integers(0, d + 1))]:
        fails_at[place] = draw(mostly_there)
    return (k, d, c), bits, np.array(numbers, dtype=np.int64).reshape(k, words), fails_at


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_the_secure_sum_is_the_plain_sum(make_session, make_attempt, case):
    (k, d, c), bits, numbers, fails_at = case
    session = make_session(k, d, c, words=numbers.shape[1], word_bits=bits)
    names = [supplier.name for supplier in session.roster]
    check(make_attempt(session, dict(zip(names, numbers, strict=True))), fails_at)


def test_every_pattern_of_dropouts_of_three_suppliers(make_session, make_attempt):
    for fails_at in product(EVERY_STEP, repeat=3):
        check(make_attempt(make_session(3, 1, 0, words=2)), fails_at)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "d", "c"), [(4, 1, 0), (4, 1, 1), (5, 1, 2), (5, 2, 0)])
def test_every_pattern_of_dropouts_of_more(make_session, make_attempt, k, d, c):
    for fails_at in product(EVERY_STEP, repeat=k):
        check(make_attempt(make_session(k, d, c, words=2)), fails_at)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", tolerated())
def test_d_dropouts_at_once_at_each_step(make_session, make_attempt, parameters):
    k, d, _ = parameters
    for step in range(STEPS):
        check(make_attempt(make_session(*parameters)), [step] * d + [STEPS] * (k - d))
        check(make_attempt(make_session(*parameters)), [STEPS] * (k - d - 1) + [step] * (d + 1))


def test_no_two_survivor_sets_can_both_be_completed():
    for k, d, c in tolerated():
        threshold = Parameters(k, d, c).threshold
        assert (k + c) / 2 < threshold <= k - d
        assert 2 * threshold - k > c  # any two sets of signers share one who does not collude


def test_other_numbers_of_dropouts_and_colluders_are_refused():
    for numbers in set(product(range(13), range(-1, 7), range(-1, 12))) - set(tolerated()):
        with pytest.raises(StudyError):
            Parameters(*numbers)


@given(st.integers(0, 2**62), st.integers(2, 255))
def test_words_are_as_wide_as_the_sum_and_no_wider(largest, suppliers):
    try:
        bits = codec.word_bits(largest, suppliers)
    except StudyError:
        assert largest * suppliers >= 2**63
        return
    assert bits % 8 == 0
    assert largest * suppliers < 2 ** (bits - 1)
    assert bits == 8 or largest * suppliers >= 2 ** (bits - 9)


@given(st.sampled_from(range(8, 65, 8)), st.data())
def test_integers_come_back_from_words_and_bytes(bits, data):
    largest = (1 << (bits - 1)) - 1
    numbers = np.array(data.draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=9)), dtype=np.int64)
    words = np.empty(numbers.size, codec.lane(bits))
    codec.encode(numbers, bits, 1, out=words)
    packed = codec.pack(words, bits)
    assert len(packed) == len(numbers) * bits // 8
    room = np.frombuffer(bytes(packed) + b"\xff" * 8, np.uint8)
    unpacked = codec.unpack(room, len(numbers), bits)
    np.testing.assert_array_equal(codec.decode(unpacked, bits), numbers)
    codec.check_length(packed, len(numbers), bits)
    with pytest.raises(ProtocolError):
        codec.check_length(memoryview(bytes(packed) + b"\0"), len(numbers), bits)


@pytest.mark.parametrize("bits", range(8, 65, 8))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_beyond_its_bounds_is_refused_before_it_wraps(bits, sign):
    largest = ((1 << (bits - 1)) - 1) // 3
    out = np.empty(1, codec.lane(bits))
    codec.encode(np.array([sign * largest]), bits, 3, out=out)
    with pytest.raises(StudyError):
        codec.encode(np.array([sign * (largest + 1)]), bits, 3, out=out)
