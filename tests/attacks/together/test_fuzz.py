# SPDX-License-Identifier: Apache-2.0
"""Mangled messages of secure aggregation to a supplier with a real ledger: a refusal, no crash, and nothing is kept."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import InternalError, ProtocolError
from skyglow_shared.messages import Refusal, StepRequest
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.study import digest

VICTIM = "up"
STEPS = ("share_keys", "mask", "confirm", "unmask")
TRIES = 60


def mangled(content, drawn):
    """Some bytes changed, cut out, or put in."""
    found = bytearray(content)
    for _ in range(drawn.integers(1, 4)):
        start = int(drawn.integers(0, len(found)))
        found[start : start + int(drawn.integers(0, 3))] = drawn.bytes(int(drawn.integers(0, 3)))
    return bytes(found)


def values(drawn):
    """A value for a field that is not what it should be."""
    return [None, True, -1, 2**63, 1.5, "", "north", b"", bytes(32), bytes(250), [], ["north"], {}, {"north": b""}][
        int(drawn.integers(0, 14))
    ]


def other_fields(content, drawn):
    """The message with one field, or one entry of one, something else."""
    plain = msgspec.msgpack.decode(content)
    field = sorted(plain)[int(drawn.integers(0, len(plain)))]
    if isinstance(plain[field], dict) and plain[field] and drawn.integers(0, 2):
        entries = list(plain[field])
        inner = plain[field] | {entries[int(drawn.integers(0, len(entries)))]: values(drawn)}
    else:
        inner = values(drawn)
    return msgspec.msgpack.encode(plain | {field: inner})


def enough_right(wrong, right):
    """Whether what was mangled are codes that are not needed: four survivors of five are enough."""
    try:
        found = secagg.decode_request(wrong)
        given, codes = (secagg.by_name(one.senders, one.codes, 32) for one in (right, found))
    except (ProtocolError, AttributeError):
        return False
    return (found.session, found.recipient) == (right.session, right.recipient) and enough(given, codes)


def enough(right, found):
    """Three others' codes are right, and the rest are at least of others."""
    return found.keys() <= right.keys() and len(right.items() & found.items()) >= 3


@pytest.mark.parametrize("how", [mangled, other_fields], ids=lambda how: how.__name__)
def test_no_mangled_message_moves_a_supplier(league, how):
    drawn, messages = np.random.default_rng(11), league.advertised()
    place = {"study": digest(league.study), "phase": "training", "round": 0, "attempt": 0}
    for step in STEPS:
        right, entries = secagg.encode(messages[VICTIM]), league.entries(VICTIM)
        for _ in range(TRIES):
            wrong = how(right, drawn)
            if wrong == right or (step == "unmask" and enough_right(wrong, messages[VICTIM])):
                continue
            reply = league.handle(VICTIM, StepRequest(**place, content=wrong))
            assert isinstance(reply, Refusal), wrong
            assert reply.code != InternalError.exit_code, wrong
        assert league.entries(VICTIM) == entries
        messages = league.take(league.everybody(messages))
    assert messages.survivors == tuple(league.towns)
