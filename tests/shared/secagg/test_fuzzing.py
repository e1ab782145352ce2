# SPDX-License-Identifier: Apache-2.0
"""No bytes, and no message however mangled, do anything to a supplier or the office but raise skyglow's own errors."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared.errors import LedgerError, ProtocolError, SkyglowError
from skyglow_shared.secagg import messages
from skyglow_shared.secagg.rounds import Round

STEPS = ("shared", "masked", "confirmed", "unmasked")
VICTIM = "s00"
NAMES = st.one_of(st.sampled_from(["s00", "s01", "s02", "s03", "s09", ""]), st.text(max_size=8))
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def stages(make_attempt):
    """An attempt at each step, with the bytes that the office sends and the suppliers answer."""
    found = {}
    for step in STEPS:
        attempt = make_attempt().until(step)
        replies = {name: attempt.ask(name, attempt.requests[name])[1] for name in attempt.names}
        found[step] = attempt, attempt.requests[VICTIM], replies
    return found


def plain_values():
    """Anything that msgpack can say."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), NAMES, st.binary())
    return st.recursive(leaves, lambda inner: st.one_of(st.lists(inner), st.dictionaries(NAMES, inner)), max_leaves=8)


@st.composite
def mangled_bytes(draw, content):
    """Bytes with some of them changed, cut out or put in."""
    mangled = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(mangled)))
        mangled[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(mangled)


@st.composite
def mangled_fields(draw, message):
    """A message of which one field, or one entry of one, is something else."""
    plain = msgspec.to_builtins(message, builtin_types=(bytes,))
    field = draw(st.sampled_from(sorted(plain)))
    inner = plain[field]
    if isinstance(inner, dict) and draw(st.booleans()):
        entry = draw(st.sampled_from([*inner.values(), bytes(33), bytes(64), bytes(250), b""]))
        inner = {**inner, draw(NAMES): entry}
    elif isinstance(inner, list | tuple) and draw(st.booleans()):
        inner = draw(st.lists(st.one_of(st.sampled_from([*inner, None]), NAMES), max_size=6))
    else:
        inner = draw(plain_values())
    return msgspec.msgpack.encode({**plain, field: inner})


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content):
    for decode in (messages.decode_reply, messages.decode_request):
        with pytest.raises(ProtocolError):
            decode(content)
    with pytest.raises(LedgerError):
        Round.decode(content)


@FUZZ
@given(plain_values())
def test_any_plain_value_is_refused(value):
    for decode in (messages.decode_reply, messages.decode_request):
        with pytest.raises(ProtocolError):
            decode(msgspec.msgpack.encode(value))


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_and_oversized_messages_are_refused(depth):
    for content in (b"\x91" * depth, b"\x81\xa1a" * depth, b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(ProtocolError):
            messages.decode_request(content)
    with pytest.raises(ProtocolError):
        messages.decode_reply(bytes(messages.MAX_BYTES + 1))


@pytest.mark.parametrize("step", STEPS)
@FUZZ
@given(data=st.data())
def test_a_mangled_request_moves_no_supplier(stages, step, data):
    attempt, request, replies = stages[step]
    how = data.draw(st.sampled_from([mangled_fields, lambda message: mangled_bytes(messages.encode(message))]))
    content = data.draw(how(request))
    stands = attempt.rounds[VICTIM]
    before = stands.encode()
    try:
        mangled = messages.decode_request(content)
        after, reply = stands.answer(mangled, lambda: attempt.vectors[VICTIM], attempt.witness(VICTIM))
    except SkyglowError:
        pass
    else:  # it came out as it went in, or says who is there in another lawful way
        assert mangled == request or step in {"confirmed", "unmasked"} or reply != replies[VICTIM]
        assert Round.decode(after.encode()) == after
    assert stands.encode() == before


@pytest.mark.parametrize("step", STEPS)
@FUZZ
@given(data=st.data())
def test_a_mangled_reply_crashes_no_office(stages, step, data):
    attempt, _, replies = stages[step]
    how = data.draw(st.sampled_from([mangled_fields, lambda message: mangled_bytes(messages.encode(message))]))
    content = data.draw(how(replies[VICTIM]))
    try:
        mangled = messages.decode_reply(content)
        getattr(attempt.office, step)({**replies, VICTIM: mangled})
    except SkyglowError:
        pass


@pytest.mark.parametrize("step", STEPS)
@FUZZ
@given(data=st.data())
def test_a_request_of_another_step_moves_no_supplier(stages, step, data):
    attempt = stages[step][0]
    other = data.draw(st.sampled_from([each for each in STEPS if each != step]))
    foreign = msgspec.structs.replace(stages[other][1], session=attempt.session.identifier())
    before = attempt.rounds[VICTIM].encode()
    with pytest.raises(SkyglowError):
        attempt.rounds[VICTIM].answer(foreign, None, attempt.witness(VICTIM))
    assert attempt.rounds[VICTIM].encode() == before
