# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes arrive, a decoder gives a message of its own kind or an error of the tree, and nothing else."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_shared import audit, messages, signing
from skyglow_shared.errors import SkyglowError
from skyglow_shared.secagg import messages as steps
from skyglow_shared.signing import Identity
from skyglow_shared.soundness import decode_study

OFFICE = Identity.generate()
NORTH = Identity.generate()
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=20,
)
NAMES = ("StudyRequest", "RoundRequest", "StepRequest", "Approval", "Share", "StepReply", "Refusal")
FIELDS = ("study", "signature", "phase", "round", "attempt", "step", "weights", "supplier", "blocks", "content", "code")
#: Records that look like messages: known tags and fields, values of any kind.
LIKE_MESSAGES = st.builds(
    lambda tag, fields: {"type": tag, **fields},
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from((*FIELDS, "rule", "message", "session", "sender")), TREES, max_size=8),
)
PACKED = (TREES | LIKE_MESSAGES).map(msgspec.msgpack.encode)
BYTES = st.binary(max_size=400) | PACKED


def of_the_tree(function, *arguments):
    try:
        return function(*arguments)
    except SkyglowError:
        return None


@settings(max_examples=300, deadline=None)
@given(BYTES)
def test_any_bytes_as_an_envelope(content):
    assert of_the_tree(messages.open_request, content, OFFICE.public_key) is None
    assert of_the_tree(messages.open_reply, content, "north", NORTH.public_key) is None


@settings(max_examples=300, deadline=None)
@given(BYTES)
def test_any_bytes_signed_by_the_right_key(body):
    """Nobody but the office can do this: it too gets errors alone."""
    request = messages.Envelope(1, "office", body, OFFICE.sign(signing.REQUEST, body))
    found = of_the_tree(messages.open_request, msgspec.msgpack.encode(request), OFFICE.public_key)
    assert found is None or isinstance(found, messages.Request)
    reply = messages.Envelope(1, "north", body, NORTH.sign(signing.REPLY, body))
    found = of_the_tree(messages.open_reply, msgspec.msgpack.encode(reply), "north", NORTH.public_key)
    assert found is None or isinstance(found, messages.Reply)


@settings(max_examples=200, deadline=None)
@given(BYTES)
def test_any_bytes_as_a_step_of_secure_aggregation(content):
    for decode, kind in ((steps.decode_reply, steps.FromSupplier), (steps.decode_request, steps.FromOffice)):
        found = of_the_tree(decode, content)
        assert found is None or isinstance(found, kind)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | TREES.map(lambda tree: msgspec.json.encode(str(tree))) | st.text().map(str.encode))
def test_any_bytes_as_a_study(content):
    assert of_the_tree(decode_study, content) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 12))
def test_any_bytes_as_numbers(content, size):
    weights = of_the_tree(messages.decode_weights, content, size)
    assert weights is None or (weights.shape == (size,) and np.isfinite(weights).all())
    integers = of_the_tree(messages.decode_integers, content, (size, 1))
    assert integers is None or integers.tobytes() == content


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("book") / "book.jsonl"


@settings(max_examples=200, deadline=None)
@given(content=BYTES | st.text(max_size=200).map(str.encode))
def test_any_bytes_as_a_book(place, content):
    place.write_bytes(content)
    assert of_the_tree(audit.read, place, audit.LEDGER) is None
