# SPDX-License-Identifier: Apache-2.0
"""Whatever the wire brings, a message is read exactly as it was sealed or refused with a typed error."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared import messages
from skyglow_shared.errors import ProtocolError, SignatureError
from skyglow_shared.messages import (
    Approval,
    Envelope,
    Refusal,
    RoundRequest,
    Share,
    StudyRequest,
    decode_integers,
    decode_weights,
    encode_integers,
    encode_weights,
    open_reply,
    open_request,
    seal_reply,
    seal_request,
)
from skyglow_shared.signing import REPLY, REQUEST, Identity

REFUSED = (ProtocolError, SignatureError)
REQUESTS = (
    StudyRequest(study=b'{"name":"x"}', signature=bytes(64)),
    RoundRequest(study="ab" * 32, phase="training", round=3, attempt=1, weights={"m": bytes(16)}),
)
REPLIES = (
    Approval(study="ab" * 32, supplier="north", signature=bytes(64)),
    Share(study="ab" * 32, phase="p", round=0, attempt=0, step="share", supplier="north", blocks={"b": bytes(8)}),
    Refusal(code=32, rule="budget", message="too dear"),
)
INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture(scope="module")
def office():
    return Identity.generate()


@pytest.fixture(scope="module")
def north():
    return Identity.generate()


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_read_as_it_was_sealed(office, request_):
    assert open_request(seal_request(request_, office), office.public_key) == request_


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_is_read_as_it_was_sealed(north, reply):
    assert open_reply(seal_reply(reply, "north", north), "north", north.public_key) == reply


def test_a_message_cut_at_any_byte_is_refused(office, north):
    request, reply = seal_request(REQUESTS[1], office), seal_reply(REPLIES[1], "north", north)
    for end in range(len(request)):
        with pytest.raises(REFUSED):
            open_request(request[:end], office.public_key)
    for end in range(len(reply)):
        with pytest.raises(REFUSED):
            open_reply(reply[:end], "north", north.public_key)


def test_a_message_with_more_behind_it_is_refused(office):
    with pytest.raises(REFUSED):
        open_request(seal_request(REQUESTS[1], office) + b"\x00", office.public_key)


def test_any_flipped_bit_is_refused(north):
    reply = seal_reply(REPLIES[1], "north", north)
    for place in range(8 * len(reply)):
        flipped = bytearray(reply)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(REFUSED):
            open_reply(bytes(flipped), "north", north.public_key)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_noise_on_the_wire_is_a_protocol_error(north, content):
    with pytest.raises(REFUSED):
        open_reply(content, "north", north.public_key)
    with pytest.raises(REFUSED):
        open_request(content, north.public_key)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(st.none() | st.integers(-9, 9) | st.binary(max_size=9) | st.text(max_size=9), st.lists, max_leaves=9)
)
def test_a_well_signed_message_of_another_shape_is_a_protocol_error(content):
    sender = Identity.generate()
    body = msgspec.msgpack.encode(content)
    for domain, open_ in ((REQUEST, open_request), (REPLY, lambda sealed, key: open_reply(sealed, "north", key))):
        sealed = msgspec.msgpack.encode(Envelope(messages.VERSION, "north", body, sender.sign(domain, body)))
        with pytest.raises(ProtocolError):
            open_(sealed, sender.public_key)


def test_deep_nesting_is_a_protocol_error(office):
    for content in (b"\x91" * 100_000, b"\x81\xa1a" * 100_000):
        with pytest.raises(ProtocolError):
            open_request(content, office.public_key)


@pytest.mark.parametrize("version", [0, 2, -1, 2**40])
def test_another_version_is_refused_before_anything_is_decoded(office, version):
    envelope = msgspec.msgpack.decode(seal_request(REQUESTS[0], office), type=Envelope)
    other = msgspec.msgpack.encode(msgspec.structs.replace(envelope, version=version, body=b"not decodable"))
    with pytest.raises(ProtocolError, match="version"):
        open_request(other, office.public_key)


def test_an_oversized_message_is_refused_unread(office, monkeypatch):
    sealed = seal_request(REQUESTS[0], office)
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", len(sealed))
    assert open_request(sealed, office.public_key) == REQUESTS[0]
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", len(sealed) - 1)
    with pytest.raises(ProtocolError, match="at most"):
        open_request(sealed, office.public_key)


def test_a_reply_is_no_request_and_a_request_no_reply(north):
    with pytest.raises(REFUSED):
        open_request(seal_reply(REPLIES[0], "north", north), north.public_key)
    with pytest.raises(REFUSED):
        open_reply(seal_request(REQUESTS[0], north), "office", north.public_key)


def test_a_reply_of_another_supplier_is_refused(office, north):
    with pytest.raises(SignatureError):
        open_reply(seal_reply(REPLIES[0], "north", office), "north", north.public_key)
    with pytest.raises(ProtocolError, match="another sender"):
        open_reply(seal_reply(REPLIES[0], "south", north), "north", north.public_key)


def test_unknown_fields_are_refused(office):
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(REQUESTS[1]))
    body = msgspec.msgpack.encode({**plain, "code": "import os"})
    sealed = msgspec.msgpack.encode(Envelope(messages.VERSION, "office", body, office.sign(REQUEST, body)))
    with pytest.raises(ProtocolError):
        open_request(sealed, office.public_key)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_weights_survive_the_wire(values):
    weights = np.array(values, dtype=np.float64)
    assert decode_weights(encode_weights(weights), len(values)).tobytes() == weights.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(value):
    with pytest.raises(ProtocolError, match="finite"):
        decode_weights(encode_weights(np.array([0.0, value])), 2)


@given(st.binary(max_size=40), st.integers(0, 5))
def test_weights_of_another_length_are_refused(content, size):
    if len(content) != 8 * size:
        with pytest.raises(ProtocolError):
            decode_weights(content, size)


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=9))
def test_integers_survive_the_wire(rows):
    values = np.array(rows, dtype=np.int64)
    decoded = decode_integers(encode_integers(values), values.shape)
    assert decoded.dtype == np.int64
    np.testing.assert_array_equal(decoded, values)
    for shape in ((len(rows) + 1, 2), (len(rows), 3)):
        with pytest.raises(ProtocolError):
            decode_integers(encode_integers(values), shape)
