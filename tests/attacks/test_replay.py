# SPDX-License-Identifier: Apache-2.0
"""Attacks by messages that were once right: replayed, reordered, doubled, of another study, round or sender."""

import msgspec
import numpy as np
import pytest

from skyglow_shared import signing
from skyglow_shared.messages import Envelope, Refusal, RoundRequest, Share, encode_weights, open_reply, seal_reply
from skyglow_shared.signing import Identity
from skyglow_shared.study import digest


@pytest.fixture
def approved(town):
    """A supplier that approved two studies, and these."""
    town.write_policy(epsilon=10.0)
    studies = town.study(), town.study(name="again")
    with town.open() as supplier:
        for study in studies:
            town.approve(supplier, study)
        yield supplier, *studies


def test_the_same_round_for_fresh_noise(town, approved):
    """The office asks one round many times to average its noise away: the same bytes each time, for one charge."""
    supplier, study, _ = approved
    first = supplier.handle(town.request(study))
    assert {supplier.handle(town.request(study)) for _ in range(5)} == {first}
    assert len(supplier.gate.ledger.entries("charge")) == 1


def test_the_same_round_after_a_restart(town):
    """The supplier's process is stopped and started, so that noise might be drawn again: still the same bytes."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        first = supplier.handle(town.request(study))
    with town.open() as later:
        assert later.handle(town.request(study)) == first
        assert len(later.gate.ledger.entries("charge")) == 1


@pytest.mark.parametrize("change", [{"attempt": 1}, {"step": "advertise"}, {"weights": {}}, "other weights"])
def test_the_same_round_a_little_otherwise(town, approved, change):
    """One round under another attempt, step or weights, to have it computed twice: refused, and no second charge."""
    supplier, study, _ = approved
    assert isinstance(town.ask(supplier, town.request(study)), Share)
    other = {"weights": {"all_aged_66_plus": encode_weights(np.ones(23))}} if isinstance(change, str) else change
    head = supplier.gate.ledger.head
    assert isinstance(town.ask(supplier, town.request(study, **other)), Refusal)
    assert supplier.gate.ledger.head == head


def test_rounds_out_of_order(town, approved):
    """Later rounds before earlier ones, to choose what is computed by what came out: refused and not charged."""
    supplier, study, _ = approved
    for phase, round_ in (("training", 1), ("training", 2), ("release", 0)):
        assert town.ask(supplier, town.request(study, phase, round_)).rule == "order"
    assert not supplier.gate.ledger.entries("charge")


def test_old_rounds_replayed_late(town, approved):
    """Messages recorded on the wire and sent again after later rounds: answered as before, byte for byte."""
    supplier, study, _ = approved
    requests = [town.request(study, "training", round_) for round_ in range(3)]
    first = [supplier.handle(request) for request in requests]
    head = supplier.gate.ledger.head
    assert [supplier.handle(request) for request in reversed(requests)] == first[::-1]
    assert supplier.gate.ledger.head == head


def test_a_round_of_another_study(town, approved):
    """One study's rounds open nothing in another: its first must come first, and its share is its own."""
    supplier, study, other = approved
    first = town.ask(supplier, town.request(study))
    town.ask(supplier, town.request(study, "training", 1))
    assert town.ask(supplier, town.request(other, "training", 1)).rule == "order"
    second = town.ask(supplier, town.request(other))
    assert second.study == digest(other) != first.study
    assert second.blocks != first.blocks


def test_a_reply_passed_off_as_another_suppliers(town, approved):
    """A reply under another supplier's name or signature is not read."""
    supplier, study, _ = approved
    reply, stranger = supplier.handle(town.request(study)), Identity.generate()
    with pytest.raises(Exception, match="another sender"):
        open_reply(reply, "south", stranger.public_key)
    with pytest.raises(Exception, match="not signed"):
        open_reply(seal_reply(town.read(reply), "north", stranger), "north", town.identity.public_key)


def test_a_reply_sent_back_as_a_request(town, approved):
    """The supplier's own signed reply reflected to it, and a request signed as something else: refused."""
    supplier, study, _ = approved
    reply = supplier.handle(town.request(study))
    assert town.ask(supplier, reply).rule == "SignatureError"
    body = msgspec.msgpack.encode(RoundRequest(study=digest(study), phase="training", round=1))
    for domain in (b"", signing.REPLY, signing.STUDY):
        envelope = msgspec.msgpack.encode(Envelope(1, "office", body, town.office.sign(domain, body)))
        assert town.ask(supplier, envelope).rule == "SignatureError"


def test_requests_spoilt_on_the_way(town, approved):
    """One bit of a good request flipped, anywhere: refused, and the ledger has not moved."""
    supplier, study, _ = approved
    request, head = town.request(study), supplier.gate.ledger.head
    for place in range(0, len(request), 7):
        spoilt = request[:place] + bytes([request[place] ^ 0x10]) + request[place + 1 :]
        reply = town.ask(supplier, spoilt)
        if isinstance(reply, Share):  # the sender's name is not signed and means nothing
            assert b"office" in request[max(0, place - 6) : place + 6]
            head = supplier.gate.ledger.head
        assert supplier.gate.ledger.head == head
