# SPDX-License-Identifier: Apache-2.0
"""The office's own keys in place of suppliers', shown to suppliers with real ledgers: nothing is shared with them."""

import msgspec
import pytest

from skyglow_shared.messages import Refusal, StepReply
from skyglow_shared.secagg import keys
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg.channels import ChannelKey, show
from skyglow_shared.secagg.messages import Delivery
from skyglow_shared.study import digest

replace = msgspec.structs.replace
NAMES = ("east", "north", "south", "up", "west")
VICTIM, COLLUDER = "south", "west"
OURS = keys.public_key(bytes(range(1, 33)))


def shown(request, **by_name):
    """The office's list with some advertisements put in place of others."""
    return replace(request, advertisements=tuple(by_name.get(one.sender, one) for one in request.advertisements))


def part_for(name, sender, shares):
    """What one of all has for another."""
    others = [other for other in NAMES if other != sender]
    return secagg.by_name(others, shares, secagg.COMMITTED_BYTES)[name]


def refused(league, request, rule):
    entries = league.entries(VICTIM)
    reply = league.say(VICTIM, request)
    assert isinstance(reply, Refusal)
    assert reply.rule == rule
    assert league.entries(VICTIM) == entries


def test_keys_of_the_office_in_place_of_a_suppliers(league):
    """Unsigned, signed by the office, by the colluder, or by it in another study: refused, in the first round."""
    request = league.advertised()[VICTIM]
    substituted(league, request)
    assert isinstance(league.say(VICTIM, request), StepReply)


def test_keys_of_the_office_in_a_later_round(league):
    """When everybody has verified everybody's key, and remembers: what is remembered is that very key."""
    league.take(league.everybody(league.until("unmask")))
    request = league.advertised(1)[VICTIM]
    substituted(league, request)
    assert isinstance(league.say(VICTIM, request), StepReply)


def substituted(league, request):
    """Other channel keys in place of one peer's, and of all."""
    right, towns = {one.sender: one for one in request.advertisements}, league.towns
    study = digest(league.study)
    fakes = [ChannelKey(OURS, right["up"].channel.signature), right[COLLUDER].channel]
    fakes += [show(study, "up", OURS, one) for one in (towns["up"].office, towns[COLLUDER].identity)]
    fakes += [show("0" * 64, "up", OURS, towns["up"].identity), show(study, "ghost", OURS, towns["up"].identity)]
    for fake in fakes:
        refused(league, shown(request, up=replace(right["up"], channel=fake)), "SignatureError")
    everybody = {name: replace(one, channel=fakes[0]) for name, one in right.items() if name != VICTIM}
    refused(league, shown(request, **everybody), "SignatureError")


@pytest.mark.parametrize("changed", ["seed_commitment", "recovery_commitment", "ledger_entries", "signature"])
def test_another_advertisement_under_the_right_key(league, changed):
    """Nobody verifies the rest of it in passing: but what is shared by who saw another opens for nobody."""
    request = league.advertised()[VICTIM]
    right = next(one for one in request.advertisements if one.sender == "up")
    false = {"ledger_entries": right.ledger_entries + 1, "signature": bytes(64)}.get(changed, bytes(32))
    replies = {name: league.say(name, request) for name in NAMES if name != VICTIM}
    replies[VICTIM] = league.say(VICTIM, shown(request, up=replace(right, **{changed: false})))
    deliveries, entries = league.take(replies), league.entries(VICTIM)
    for name, blamed in ((VICTIM, NAMES), ("up", (VICTIM,)), ("east", (VICTIM,))):
        reply = league.say(name, deliveries[name])
        assert isinstance(reply, Refusal)
        assert reply.rule == "PeerError"
        assert reply.about in blamed
    assert league.entries(VICTIM) == entries


def test_a_supplier_that_was_started_anew_has_another_key_and_is_known_again(league):
    """Its process forgot its channels: the others verify and agree anew, in the next attempt or round."""
    first = {one.sender: one.channel for one in league.advertised()[VICTIM].advertisements}
    league.suppliers[VICTIM].close()
    league.suppliers[VICTIM].gate = league.towns[VICTIM].open().gate
    messages = league.until("unmask", 0, 1)
    total = league.take(league.everybody(messages))
    assert total.survivors == NAMES
    again = {one.sender: one.channel for one in league.advertised(1)[VICTIM].advertisements}
    assert {name for name in NAMES if again[name] != first[name]} == {VICTIM}


def test_a_colluders_keys_that_everybody_knows(league):
    """The colluder signs a degenerate key, or another supplier's key as its own: refused before anything is shared."""
    request = league.advertised()[VICTIM]
    right = {one.sender: one for one in request.advertisements}
    for key in (bytes(32), b"\1" + bytes(31), right["up"].channel.key, right[VICTIM].channel.key):
        known = show(digest(league.study), COLLUDER, key, league.towns[COLLUDER].identity)
        bad = replace(right[COLLUDER], channel=known)
        refused(league, shown(request, west=bad), "ProtocolError")


def test_two_views_of_a_colluders_keys(league):
    """The colluder signs two sets of keys, the office shows half the suppliers each: what they share does not open."""
    request = league.advertised()[VICTIM]
    right = {one.sender: one for one in request.advertisements}
    ours = show(digest(league.study), COLLUDER, OURS, league.towns[COLLUDER].identity)
    second = replace(right[COLLUDER], channel=ours)
    views = {name: shown(request, west=second) if name in (VICTIM, "up") else request for name in NAMES[:4]}
    replies = {name: secagg.decode_reply(league.say(name, view).content) for name, view in views.items()}
    replies[COLLUDER] = secagg.decode_reply(league.say(COLLUDER, request).content)
    for name in NAMES[:4]:
        around = {other: reply for other, reply in replies.items() if other != name}
        shares = b"".join(part_for(name, other, reply.shares) for other, reply in around.items())
        delivery = Delivery(session=request.session, recipient=name, senders=tuple(around), shares=shares)
        reply = league.say(name, delivery)
        assert isinstance(reply, Refusal)
        assert (reply.rule, reply.code) == ("PeerError", 41)
        assert reply.about in NAMES
        assert views.get(reply.about, request) is not views[name]


def test_a_stranger_among_the_keys(league):
    request = league.advertised()[VICTIM]
    ghost = replace(request.advertisements[0], sender="ghost")
    listed = request.advertisements
    for given in ((*listed, ghost), (*listed[1:], ghost), (*listed, listed[0]), listed[:2]):
        refused(league, replace(request, advertisements=given), "ProtocolError")
