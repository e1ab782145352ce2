# SPDX-License-Identifier: Apache-2.0
"""No message crashes a supplier or moves its ledger, whoever sends it: even the office's own key only gets refusals."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared import messages, signing
from skyglow_shared.messages import Approval, Refusal, RoundRequest, Share, StudyRequest
from skyglow_shared.study import canonical_bytes, digest

ODD = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=300)
    | st.sampled_from(("training", "release", "share", "advertise", "local", "0" * 64, "../..", "all_aged_66_plus"))
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def watched(town):
    """A supplier with an approved study and one round sealed; afterwards its ledger must be as it was."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        yield supplier, study
        supplier.gate.ledger.verify()


def signed(town, body):
    return msgspec.msgpack.encode(messages.Envelope(1, "office", body, town.office.sign(signing.REQUEST, body)))


def nothing_moves(town, supplier, message, *, known=()):
    head = supplier.gate.ledger.head
    reply = supplier.handle(message)
    assert isinstance(town.read(reply), Refusal) or reply in known, town.read(reply)
    assert supplier.gate.ledger.head == head


@ODD
@given(data=st.data())
def test_any_bytes(town, watched, data):
    supplier, _ = watched
    nothing_moves(town, supplier, data.draw(st.binary(max_size=300) | TREES.map(msgspec.msgpack.encode)))


@ODD
@given(data=st.data())
def test_any_bytes_in_a_request_that_is_signed(town, watched, data):
    supplier, _ = watched
    body = data.draw(st.binary(max_size=300) | TREES.map(msgspec.msgpack.encode))
    nothing_moves(town, supplier, signed(town, body))


@ODD
@given(data=st.data())
def test_a_round_with_any_field_changed(town, watched, data):
    """Fields of the sealed round's own request, some replaced by anything: refused, or answered with the same bytes."""
    supplier, study = watched
    whole = messages.open_envelope(town.request(study)).body
    plain = msgspec.msgpack.decode(whole)
    sealed = supplier.handle(town.request(study))
    for name in data.draw(st.lists(st.sampled_from(sorted(plain)), min_size=1, max_size=3)):
        plain[name] = data.draw(TREES)
    if (plain["phase"], plain["round"], type(plain["round"])) == ("training", 1, int):
        plain["round"] = 2  # the next round is a request like any other
    nothing_moves(town, supplier, signed(town, msgspec.msgpack.encode(plain)), known=[sealed])


@ODD
@given(data=st.data())
def test_one_bit_turned(town, watched, data):
    supplier, study = watched
    for message in (town.request(study, round_=1), town.proposal(study)):
        place = data.draw(st.integers(0, 8 * len(message) - 1))
        turned = bytearray(message)
        turned[place // 8] ^= 1 << place % 8
        reply = town.read(supplier.handle(bytes(turned)))
        sender_only = messages.open_envelope(message).body in bytes(turned)
        if not isinstance(reply, Refusal):  # a bit of the sender's name, which is not signed and not used
            assert sender_only and isinstance(reply, Approval | Share)
        else:
            assert reply.message and "Traceback" not in reply.message


@ODD
@given(data=st.data())
def test_a_study_with_any_field_changed(town, watched, data):
    """It may be kept as a proposal, which costs nothing; nothing is approved, charged or sealed by itself."""
    supplier, study = watched
    plain = msgspec.json.decode(canonical_bytes(study))
    for name in data.draw(st.lists(st.sampled_from(sorted(plain)), min_size=1, max_size=2)):
        plain[name] = data.draw(TREES)
    try:
        body = msgspec.json.encode(plain, order="sorted")
    except (TypeError, UnicodeEncodeError, msgspec.MsgspecError):
        return
    request = StudyRequest(study=body, signature=town.office.sign(signing.STUDY, body))
    before = len(supplier.gate.ledger.entries("approval", "charge", "seal"))
    reply = town.ask(supplier, messages.seal_request(request, town.office))
    assert isinstance(reply, Refusal) or body == canonical_bytes(study)
    assert not (isinstance(reply, Refusal) and reply.code == 70), "a study that only a bug can be blamed for"
    assert len(supplier.gate.ledger.entries("approval", "charge", "seal")) == before


@ODD
@given(weights=st.dictionaries(st.text(max_size=20), st.binary(max_size=200), max_size=3))
def test_any_parameters(town, watched, weights):
    supplier, study = watched
    request = RoundRequest(study=digest(study), phase="training", round=1, weights=weights)
    nothing_moves(town, supplier, messages.seal_request(request, town.office))
