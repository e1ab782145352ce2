# SPDX-License-Identifier: Apache-2.0
"""The office's own keys in place of suppliers', shown to suppliers with real ledgers: nothing is shared with them."""

import msgspec
import pytest

from skyglow_shared.messages import Refusal, StepReply
from skyglow_shared.secagg import keys
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg.messages import Delivery

replace = msgspec.structs.replace
NAMES = ("east", "north", "south", "up", "west")
VICTIM, COLLUDER = "south", "west"
OURS = keys.public_key(bytes(range(1, 33)))


def shown(request, **by_name):
    """The office's list with some advertisements put in place of others."""
    return replace(request, advertisements=tuple(by_name.get(one.sender, one) for one in request.advertisements))


def refused(league, request, rule):
    entries = league.entries(VICTIM)
    reply = league.say(VICTIM, request)
    assert isinstance(reply, Refusal)
    assert reply.rule == rule
    assert league.entries(VICTIM) == entries


def test_keys_of_the_office_in_place_of_a_suppliers(league):
    """Unsigned, signed by the office, by the colluder, or with the right signature over other keys: refused."""
    request = league.advertised()[VICTIM]
    right = {one.sender: one for one in request.advertisements}
    for field in ("exchange_key", "mask_key", "seed_commitment"):
        swapped = replace(right["up"], **{field: OURS})
        for fake in (
            swapped,
            swapped.signed(league.towns["up"].office),
            swapped.signed(league.towns[COLLUDER].identity),
        ):
            refused(league, shown(request, up=fake), "SignatureError")
    everybody = {name: replace(one, mask_key=OURS, exchange_key=OURS) for name, one in right.items() if name != VICTIM}
    refused(league, shown(request, **everybody), "SignatureError")
    old = {name: replace(one, ledger_entries=one.ledger_entries + 1) for name, one in right.items() if name != VICTIM}
    refused(league, shown(request, **old), "SignatureError")
    assert isinstance(league.say(VICTIM, request), StepReply)


@pytest.mark.parametrize("field", ["exchange_key", "mask_key"])
def test_a_colluders_keys_that_everybody_knows(league, field):
    """The colluder signs a degenerate key, or another supplier's key as its own: refused before anything is shared."""
    request = league.advertised()[VICTIM]
    right = {one.sender: one for one in request.advertisements}
    for key in (bytes(32), b"\1" + bytes(31), right["up"].exchange_key, right["up"].mask_key):
        bad = replace(right[COLLUDER], **{field: key}).signed(league.towns[COLLUDER].identity)
        refused(league, shown(request, west=bad), "ProtocolError")


def test_two_views_of_a_colluders_keys(league):
    """The colluder signs two sets of keys, the office shows half the suppliers each: what they share does not open."""
    request = league.advertised()[VICTIM]
    right = {one.sender: one for one in request.advertisements}
    second = replace(right[COLLUDER], mask_key=OURS).signed(league.towns[COLLUDER].identity)
    views = {name: shown(request, west=second) if name in (VICTIM, "up") else request for name in NAMES[:4]}
    replies = {name: secagg.decode_reply(league.say(name, view).content) for name, view in views.items()}
    replies[COLLUDER] = secagg.decode_reply(league.say(COLLUDER, request).content)
    for name in NAMES[:4]:
        shares = {other: reply.shares[name] for other, reply in replies.items() if other != name}
        reply = league.say(name, Delivery(session=request.session, recipient=name, shares=shares))
        assert isinstance(reply, Refusal)
        assert (reply.rule, reply.code) == ("PeerError", 41)
        assert reply.about in NAMES
        assert views.get(reply.about, request) is not views[name]


def test_a_stranger_among_the_keys(league):
    request = league.advertised()[VICTIM]
    ghost = replace(request.advertisements[0], sender="ghost").signed(league.towns["up"].office)
    listed = request.advertisements
    for given in ((*listed, ghost), (*listed[1:], ghost), (*listed, listed[0]), listed[:2]):
        refused(league, replace(request, advertisements=given), "ProtocolError")
