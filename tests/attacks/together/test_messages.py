# SPDX-License-Identifier: Apache-2.0
"""Messages of secure aggregation sent again, late, early, in another round, attempt or study: nothing comes of it."""

import msgspec
import pytest

from skyglow_shared.messages import Refusal, StepReply, StepRequest, open_envelope
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.study import digest

VICTIM = "south"
STEPS = ("share_keys", "mask", "confirm", "unmask")


def recorded(league, round_=0, attempt=0):
    """A whole round; what the victim was sent in each step, and the sum."""
    sent, messages = {}, league.advertised(round_, attempt)
    for step in STEPS:
        sent[step] = messages[VICTIM]
        result = league.take(league.everybody(messages))
        messages = result
    return sent, result


def refused(reply, *rules):
    assert isinstance(reply, Refusal)
    assert reply.rule in rules
    return True


def test_a_message_sent_twice_is_answered_with_the_same_bytes(league):
    """In every step, at once, and again when the round is over: nothing is computed, the ledger does not move."""
    town, supplier = league.towns[VICTIM], league.suppliers[VICTIM]
    requests, first, messages = [], [], league.advertised()
    place = {"study": digest(league.study), "phase": "training", "round": 0, "attempt": 0}
    for _ in STEPS:
        request = town.sealed(StepRequest(**place, content=secagg.encode(messages[VICTIM])))
        requests.append(request)
        first.append(supplier.handle(request))
        entries = league.entries(VICTIM)
        assert supplier.handle(request) == first[-1]
        assert league.entries(VICTIM) == entries
        messages = league.take(league.everybody(messages))
    assert [supplier.handle(request) for request in reversed(requests)] == first[::-1]
    assert league.entries(VICTIM) == entries


def test_steps_out_of_order(league):
    """Later steps before earlier ones, or an earlier one anew with other content: refused, and nothing is kept."""
    sent, _ = recorded(league, round_=0)
    messages = league.advertised(1)
    session, entries = messages[VICTIM].session, league.entries(VICTIM)
    for step in STEPS[1:]:
        early = msgspec.structs.replace(sent[step], session=session)
        assert refused(league.say(VICTIM, early), "order")
    assert league.entries(VICTIM) == entries
    messages = league.take(league.everybody(messages))
    fewer = msgspec.structs.replace(sent["share_keys"], session=session, advertisements=())
    assert refused(league.say(VICTIM, fewer), "order")


@pytest.mark.parametrize("other", ["round", "attempt"])
def test_messages_of_another_round_or_attempt(league, other):
    """Each message of another round, or of an attempt before, as it was and under the new name, at each step."""
    if other == "round":
        sent, _ = recorded(league, round_=0)
        messages = league.advertised(1)
    else:
        sent = {step: league.until(step, 0, number)[VICTIM] for number, step in enumerate(STEPS)}
        messages = league.advertised(0, 7)
    for step in STEPS:
        entries = league.entries(VICTIM)
        for old in sent.values():
            assert refused(league.say(VICTIM, old), "ProtocolError")
        if step != "confirm":  # a list of names is the same in every round
            renamed = msgspec.structs.replace(sent[step], session=messages[VICTIM].session)
            assert refused(league.say(VICTIM, renamed), "ProtocolError", "PeerError", "SignatureError")
        assert league.entries(VICTIM) == entries
        messages = league.take(league.everybody(messages))


@pytest.mark.parametrize("place", [{"round": 1}, {"attempt": 1}, {"phase": "release"}, {"study": "0" * 64}])
def test_a_message_under_another_place(league, place):
    """The right message of the step, in a request for another round, attempt, phase or study: refused."""
    messages, entries = league.until("mask"), league.entries(VICTIM)
    assert refused(league.say(VICTIM, messages[VICTIM], **place), "order", "approval", "ProtocolError")
    assert league.entries(VICTIM) == entries
    assert isinstance(league.say(VICTIM, messages[VICTIM]), StepReply)


def test_messages_of_another_study(league, another_study):
    """Two studies of the same suppliers at the same place: no message of one is taken for one of the other."""
    other = another_study(name="other")
    for name, town in league.towns.items():
        town.approve(league.suppliers[name], other)
    mine, here = league.until("mask"), league.state
    first, league.study = league.study, other
    theirs = league.until("mask")
    assert here is not league.state
    entries = league.entries(VICTIM)
    for message in (mine[VICTIM], msgspec.structs.replace(mine[VICTIM], session=theirs[VICTIM].session)):
        assert refused(league.say(VICTIM, message), "ProtocolError", "PeerError")
    assert refused(league.say(VICTIM, theirs[VICTIM], study=digest(first)), "ProtocolError")
    assert league.entries(VICTIM) == entries
    assert isinstance(league.say(VICTIM, theirs[VICTIM]), StepReply)


def test_two_studies_at_once_are_no_lie(league, another_study):
    """Their steps overlap, so a peer is shown an older head after a newer one: nobody is accused, both come to sums."""
    other, first = another_study(name="other"), league.study
    for name, town in league.towns.items():
        town.approve(league.suppliers[name], other)
    for round_ in range(2):
        talks = {}
        for study in (first, other):
            league.study = study
            talks[study.name] = league.advertised(round_), league.state
        for _ in STEPS:
            for study in (other, first):
                league.study = study
                messages, league.state = talks[study.name]
                talks[study.name] = league.take(league.everybody(messages)), league.state
        assert [total.survivors for total, _ in talks.values()] == [tuple(league.towns)] * 2


def test_a_reply_reflected_to_its_sender_or_another(league):
    """A supplier's own signed message, or a peer's, sent back to it as a request of the office: refused."""
    replies = league.everybody(league.advertised())
    town, supplier, entries = league.towns[VICTIM], league.suppliers[VICTIM], league.entries(VICTIM)
    for name in (VICTIM, "up"):
        query = "SELECT reply FROM sealed ORDER BY rowid DESC LIMIT 1"
        sealed = bytes(league.suppliers[name].gate.ledger.rows(query)[0][0])
        assert refused(town.ask(supplier, sealed), "SignatureError")
        resigned = town.signed_body(open_envelope(sealed).body)
        assert refused(town.ask(supplier, resigned), "ProtocolError")
        place = {"study": digest(league.study), "phase": "training", "round": 0, "attempt": 0}
        request = StepRequest(**place, content=replies[name].content)
        assert refused(league.handle(VICTIM, request), "ProtocolError")
    assert league.entries(VICTIM) == entries
