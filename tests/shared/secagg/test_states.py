# SPDX-License-Identifier: Apache-2.0
"""States are silent about what they hold, come back from storage at every step, and forget what is not needed."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import InternalError, LedgerError, StudyError
from skyglow_shared.secagg import messages
from skyglow_shared.secagg.rounds import Round

STEPS = ("shared", "masked", "confirmed", "unmasked")
VICTIM = "s00"


def secrets(value):
    """All byte strings of 32 bytes or more inside a state."""
    if isinstance(value, bytes):
        return [value] if len(value) >= 32 else []
    if isinstance(value, dict):
        return [each for one in value.values() for each in secrets(one)]
    if isinstance(value, tuple | list):
        return [each for one in value for each in secrets(one)]
    if isinstance(value, msgspec.Struct):
        return [each for one in msgspec.structs.astuple(value) for each in secrets(one)]
    return []


@pytest.mark.parametrize("step", [*STEPS, "over"])
def test_a_state_never_shows_what_it_holds(make_attempt, step):
    attempt = reached(make_attempt, step)
    for stands in attempt.rounds.values():
        held = secrets(stands)
        assert held or step == "over"
        for text in (repr(stands), repr(stands.state), str(stands), f"{[stands]}", f"{stands.state!s}"):
            assert len(text) < 60
            for secret in held:
                assert secret.hex()[:8] not in text
                assert repr(secret[:6])[2:-1] not in text


@pytest.mark.parametrize("step", [*STEPS, "over"])
def test_a_round_comes_back_from_storage(make_attempt, step):
    for stands in reached(make_attempt, step).rounds.values():
        back = Round.decode(stands.encode())
        assert back == stands
        assert type(back.state) is type(stands.state)
        assert back.encode() == stands.encode()


@pytest.mark.parametrize("step", [*STEPS, "over"])
def test_a_damaged_round_is_refused(make_attempt, step):
    content = reached(make_attempt, step).rounds[VICTIM].encode()
    for size in range(0, len(content), 7):
        with pytest.raises(LedgerError):
            Round.decode(content[:size])
    with pytest.raises(LedgerError):
        Round.decode(b"\xff" + content)


def test_states_hold_no_more_than_later_steps_need(make_attempt):
    attempt = make_attempt().until("shared")
    drawn = attempt.rounds[VICTIM].state
    own = {drawn.channel, drawn.seed, drawn.recovery, drawn.polynomials, drawn.mask, drawn.recovering}
    left = []
    while attempt.step < len(STEPS) + 1:
        attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
        left.append(own & set(secrets(attempt.rounds[VICTIM])))
        if attempt.collect():
            break
    assert left == [{drawn.mask}, set(), set(), set()]
    assert secrets(attempt.rounds[VICTIM].state) == []


def test_the_same_request_would_get_the_same_reply(make_attempt):
    """A step draws nothing: done again from the stored state after a crash, it gives the same bytes."""
    for step in STEPS:
        attempt = make_attempt().until(step)
        one, other = (attempt.ask(VICTIM, attempt.requests[VICTIM]) for _ in range(2))
        assert messages.encode(one[1]) == messages.encode(other[1])
        assert one[0] == other[0]


@pytest.mark.parametrize("vector", [np.zeros(4, np.int64), np.zeros((3, 1), np.int64), np.zeros(3, np.int32)])
def test_a_vector_of_another_shape_or_type_is_a_bug(make_attempt, vector):
    attempt = make_attempt().until("masked")
    attempt.vectors[VICTIM] = vector
    with pytest.raises(InternalError):
        attempt.answer(VICTIM)


def test_a_number_out_of_bounds_is_refused_without_naming_it(make_attempt):
    attempt = make_attempt().until("masked")
    attempt.vectors[VICTIM] = np.array([0, 12345, 0])
    with pytest.raises(StudyError) as refusal:
        attempt.answer(VICTIM)
    assert "12345" not in str(refusal.value)


def reached(make_attempt, step):
    attempt = make_attempt().until("unmasked" if step == "over" else step)
    if step == "over":
        attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
    return attempt
