# SPDX-License-Identifier: Apache-2.0
"""Lies of the office about who is in a sum, told to suppliers with real ledgers: two sums never differ by one share."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import StudyError
from skyglow_shared.messages import Refusal, StepReply
from skyglow_shared.secagg import keys
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg.messages import Confirmations, SurvivorSet
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.study import digest

NAMES = ("east", "north", "south", "up", "west")
HONEST, COLLUDER = NAMES[:4], NAMES[4]


def survivors(league, alive, gone):
    return SurvivorSet(session=league.state.then.session.identifier(), survivors=tuple(alive), dropped=tuple(gone))


def refusal(reply, rule, words):
    assert isinstance(reply, Refusal)
    assert reply.rule == rule
    assert words in reply.message
    return True


def state(league, name):
    rows = league.suppliers[name].gate.ledger.rows("SELECT state FROM exchanges ORDER BY rowid DESC LIMIT 1")
    return Round.decode(bytes(rows[0][0])).state


def codes(view, reply):
    """A survivor's codes for the others of a view out of its reply."""
    assert isinstance(reply, StepReply), reply
    said = secagg.decode_reply(reply.content)
    names = [name for name in view.survivors if name != said.sender]
    return secagg.by_name(names, said.codes, 32)


def codes_for(view, name, said):
    """The office's hand-out for one of what others said."""
    given = {other: each[name] for other, each in said.items() if name in each}
    codes_ = b"".join(given.values())
    return Confirmations(session=view.session, recipient=name, senders=tuple(given), codes=codes_)


def collude(league, view):
    """What the colluder, who confirms to each whatever that was told, confirms."""
    stands = state(league, COLLUDER)
    body = secagg.survivors_body(view.session, stands.transcript, view.survivors)
    places = stands.session.places()
    codes = {name: keys.confirmations(key, body) for name, key in stands.confirming.items()}
    return {name: both[places[COLLUDER] > places[name]] for name, both in codes.items()}


@pytest.mark.parametrize(
    ("alive", "gone", "words"),
    [
        (NAMES, NAMES[:1], "both surviving and dropped"),
        (NAMES[:3], NAMES[3:], "noise is made for no fewer"),
        (NAMES[:4], (), "exactly those who shared"),
        (NAMES[1:], NAMES[:1], "said to have dropped"),
        ((*NAMES, "ghost"), (), "not on the roster"),
    ],
)
def test_a_lie_about_dropouts(league, alive, gone, words):
    """To thin the noise below its floor, or to have both secrets of one supplier: refused, the ledger has not moved."""
    league.until("confirm")
    entries = league.entries(NAMES[0])
    assert refusal(league.say(NAMES[0], survivors(league, alive, gone)), "ProtocolError", words)
    assert league.entries(NAMES[0]) == entries
    whole = survivors(league, NAMES, ())
    assert isinstance(league.say(NAMES[0], whole), StepReply)


def test_a_split_view_of_the_survivors(league):
    """Half is told that all survived, half that one dropped, the colluder confirms both: neither can be completed."""
    league.until("confirm")
    views = [survivors(league, NAMES, ()), survivors(league, NAMES[1:], NAMES[:1])]
    told = [NAMES[:2], NAMES[2:4]]
    said = []
    for view, names in zip(views, told, strict=True):
        said.append({name: codes(view, league.say(name, view)) for name in names})
        said[-1][COLLUDER] = collude(league, view)
        assert refusal(league.say(names[0], views[view is views[0]]), "order", "taken before")
    for names, each in zip(told, said, strict=True):
        for name in names:
            few = codes_for(views[0], name, each)
            assert refusal(league.say(name, few), "ProtocolError", "fewer than 4 survivors confirmed")
    pooled = codes_for(views[0], told[0][1], said[1] | said[0])
    assert refusal(league.say(told[0][1], pooled), "PeerError", "confirmed another survivor set")


def test_a_second_attempt_without_one_supplier(league):
    """After a round was unmasked with everybody, no other attempt of it, with or without one: no difference of sums."""
    messages = league.until("unmask")
    total = league.take(league.everybody(messages))
    np.testing.assert_array_equal(total.values, sum(league.shares("training", spare=NAMES).values()))
    for attempt in (1, 15):
        for name in HONEST:
            assert refusal(league.begin(name, "training", 0, attempt), "order", "no other")
    assert refusal(league.begin(NAMES[0], "training", 0, 16), "order", "at most")
    assert refusal(league.begin(NAMES[0], "training", 0, -1), "order", "at most")


def spares_told(replies):
    return {name for name, reply in replies.items() if secagg.decode_reply(reply.content).spare}


@pytest.mark.parametrize("missing", ["nobody", "a code of the colluder", "a code of an honest one", "a supplier"])
def test_spare_noise_is_told_when_everybody_confirmed_that_everybody_is_in_the_sum(league, missing):
    """However the office makes it seem: with one code missing, or one supplier cut off, all of it stays in."""
    lost = {"a supplier": (COLLUDER,)}.get(missing, ())
    messages = league.until("mask")
    messages = league.take(league.everybody(messages, lost=lost))
    messages = league.take(league.everybody(messages, lost=lost))
    silent = {"a code of the colluder": COLLUDER, "a code of an honest one": NAMES[1]}.get(missing, "")
    told = {}
    for name, message in messages.items():
        codes = secagg.by_name(message.senders, message.codes, 32)
        left = {sender: code for sender, code in codes.items() if sender != silent}
        told[name] = msgspec.structs.replace(message, senders=tuple(left), codes=b"".join(left.values()))
    replies = {name: league.say(name, message) for name, message in told.items() if name != silent}
    assert all(isinstance(reply, StepReply) for reply in replies.values())
    assert spares_told(replies) == (set(NAMES) if missing == "nobody" else set())


def test_two_attempts_of_which_both_are_ready_to_be_unmasked(league):
    """The office collects everybody's codes, then begins anew, and hands out both: one at most is answered."""
    first = league.until("unmask")
    early = {name: league.say(name, first[name]) for name in NAMES[:1]}
    assert isinstance(early[NAMES[0]], StepReply)
    assert secagg.decode_reply(early[NAMES[0]].content).spare, (
        "for a sum of everybody; its share can be in no other now"
    )
    for name in NAMES[1:4]:
        assert isinstance(league.begin(name, "training", 0, 1), StepReply)
        assert refusal(league.say(name, first[name]), "ProtocolError", "another study, round or attempt")
    assert refusal(league.begin(NAMES[0], "training", 0, 1), "order", "no other")
    answered = {*early, COLLUDER}  # of the first attempt; of the second at most the other three and the colluder
    assert len(answered) < league.state.session.parameters.threshold
    assert len({*NAMES[1:4], COLLUDER}) >= league.state.session.parameters.threshold


def test_a_round_asked_again_for_fresh_noise(league):
    """Every attempt masks the very same share: one charge, one noise, other masks."""
    words = []
    for attempt in range(3):
        replies = league.everybody(league.until("mask", 0, attempt))
        words.append({name: secagg.decode_reply(reply.content).words for name, reply in replies.items()})
    messages = league.take(replies)
    total = league.take(league.everybody(league.take(league.everybody(messages))))
    shares = league.shares("training", spare=NAMES)
    np.testing.assert_array_equal(total.values, sum(shares.values()))
    for name, supplier in league.suppliers.items():
        assert len(supplier.gate.ledger.entries("charge")) == 1
        assert len({each[name] for each in words}) == 3
        assert all(shares[name].astype("<i4").tobytes()[:24] not in each[name] for each in words)
    town, supplier = league.towns["north"], league.suppliers["north"]
    weights = {"all_aged_66_plus": np.ones(23).astype("<f8").tobytes()}
    changed = town.request(league.study, "training", 1, step="advertise", weights=weights)
    assert isinstance(town.ask(supplier, changed), StepReply)
    assert refusal(league.begin("north", "training", 1, 1), "order", "asked for before with other content")


def test_sybils_on_the_roster(league, another_study):
    """The office enrols suppliers of its own, or one twice: the policy knows whom it relies on, and refuses."""
    town, supplier = league.towns["north"], league.suppliers["north"]
    roster = [{"name": each.name, "public_key": each.public_key} for each in league.study.suppliers]
    invented = [{"name": f"sybil-{n}", "public_key": f"{n:02x}" * 32} for n in range(3)]
    for extra in (invented, invented[:1]):
        sybils = another_study(suppliers=[*roster, *extra])
        assert refusal(town.ask(supplier, town.proposal(sybils)), "rivals", "only the keys that rivals lists")
    swapped = [{**each, "public_key": "0a" * 32} if each["name"] == "west" else each for each in roster]
    assert refusal(town.ask(supplier, town.proposal(another_study(suppliers=swapped))), "rivals", "rivals")
    twin = [*roster[:4], {"name": "twin", "public_key": roster[0]["public_key"]}]
    reply = town.ask(supplier, town.proposal(another_study(suppliers=twin)))
    assert reply.code == StudyError.exit_code
    assert digest(league.study) not in reply.message
