# SPDX-License-Identifier: Apache-2.0
"""What a dishonest office, wire or supplier can try on a supplier, step by step; each try ends in a typed refusal."""

import msgspec
import pytest

from skyglow_shared.errors import OrderError, PeerError, ProtocolError, SignatureError
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import keys, messages
from skyglow_shared.secagg.channels import open_channel, show
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.signing import Identity

replace = msgspec.structs.replace
VICTIM, OTHER, THIRD, LAST = "s00", "s01", "s02", "s03"
LOW_ORDER = bytes(32)  # a point of small order: agreeing with it gives zeros, whatever the secret


def parts_of(request):
    """What a delivery has of each, by sender."""
    return messages.by_name(request.senders, request.shares, messages.COMMITTED_BYTES)


def delivered(session, name, replies, names):
    """A delivery of what others, who shared with all of these names, have for one of them."""
    parts = {}
    for sender, reply in replies.items():
        others = [other for other in names if other != sender]
        parts[sender] = messages.by_name(others, reply.shares, messages.COMMITTED_BYTES)[name]
    return with_parts(messages.Delivery(session=session, recipient=name, senders=(), shares=b""), parts)


def with_parts(request, parts):
    """A delivery of other parts."""
    return replace(request, senders=tuple(parts), shares=b"".join(parts.values()))


def refused(attempt, name, request, error, why=None):
    """The supplier refuses, and stands where it stood."""
    before = attempt.rounds[name]
    with pytest.raises(error, match=why):
        attempt.answer(name, request)
    assert attempt.rounds[name] is before


def with_advertisement(request, index, **changes):
    """The office's list with one advertisement changed; not signed anew."""
    listed = list(request.advertisements)
    listed[index] = replace(listed[index], **changes)
    return replace(request, advertisements=tuple(listed))


# Step 1: keys


def test_a_substituted_channel_key_is_refused(make_attempt):
    """Of the office's own, unsigned, signed by the office, by a colluder, or by its supplier for another study."""
    attempt = make_attempt().until("shared")
    request, right = attempt.requests[VICTIM], attempt.channel(OTHER).shown
    ours, theirs = (
        open_channel(attempt.session.study, OTHER, one, SystemRandomness()).shown
        for one in (Identity.generate(), attempt.identities[THIRD])
    )
    elsewhere = open_channel("cd" * 32, OTHER, attempt.identities[OTHER], SystemRandomness()).shown
    for fake in (replace(right, key=ours.key), ours, theirs, elsewhere, attempt.channel(THIRD).shown):
        refused(attempt, VICTIM, with_advertisement(request, 1, channel=fake), SignatureError)


def test_a_channel_key_that_was_right_once_does_not_make_another_right(make_attempt, make_session):
    """What was verified is remembered, so a substitute is tried in a later round, after everybody knows everybody."""
    make_attempt(make_session(round_=0)).run()
    attempt = make_attempt(make_session(round_=1)).until("shared")
    forged = replace(attempt.channel(OTHER).shown, key=keys.public_key(bytes([9]) * 32))
    refused(attempt, VICTIM, with_advertisement(attempt.requests[VICTIM], 1, channel=forged), SignatureError)
    attempt.answer(VICTIM)


@pytest.mark.parametrize("field", ["seed_commitment", "recovery_commitment", "ledger_head", "signature", "channel"])
def test_what_else_is_substituted_in_an_advertisement_stops_before_anything_is_masked(make_attempt, field):
    """Nobody verifies it, for nothing that is shared under other advertisements opens; the victim is shown a lie."""
    attempt = make_attempt(channels={})
    early = open_channel(attempt.session.study, OTHER, attempt.identities[OTHER], SystemRandomness()).shown
    attempt.until("shared")
    false = {"ledger_head": "0f" * 32, "signature": bytes(64), "channel": early}.get(field, bytes(32))
    told = with_advertisement(attempt.requests[VICTIM], 1, **{field: false})
    replies = {name: attempt.answer(name, told if name == VICTIM else None) for name in attempt.names}
    for name, others in ((VICTIM, attempt.names[1:]), (OTHER, [VICTIM]), (THIRD, [VICTIM])):
        for other in others:
            around = {each: replies[each] for each in attempt.names if each != name}
            delivery = delivered(told.session, name, around, attempt.names)
            refused(attempt, name, delivery, PeerError, f"what ({'|'.join(others)}) shared was changed")
            assert other != name


def test_the_own_advertisement_changed_is_refused(make_attempt):
    attempt = make_attempt().until("shared")
    changed = with_advertisement(attempt.requests[VICTIM], 0, ledger_entries=1)
    refused(attempt, VICTIM, changed, ProtocolError, "own")


@pytest.mark.parametrize("keep", [1, 2])
def test_fewer_keys_than_the_floor_are_refused(make_attempt, keep):
    attempt = make_attempt().until("shared")
    request = attempt.requests[VICTIM]
    refused(attempt, VICTIM, replace(request, advertisements=request.advertisements[:keep]), ProtocolError, "fewer")


def test_a_supplier_listed_twice_is_refused(make_attempt):
    attempt = make_attempt().until("shared")
    request = attempt.requests[VICTIM]
    twice = (*request.advertisements, request.advertisements[1])
    refused(attempt, VICTIM, replace(request, advertisements=twice), ProtocolError, "repeats")


def test_a_stranger_is_refused(make_attempt, make_session, identities):
    attempt = make_attempt().until("shared")
    request = attempt.requests[VICTIM]
    stranger = replace(request.advertisements[1], sender="s09").signed(identities["s09"])
    listed = (*request.advertisements, stranger)
    refused(attempt, VICTIM, replace(request, advertisements=listed), ProtocolError, "roster")


def shown(attempt, name, key):
    """A key that a colluder signs as its channel's."""
    return show(attempt.session.study, name, key, attempt.identities[name])


def test_a_colluder_that_repeats_anothers_key_is_refused(make_attempt):
    attempt = make_attempt().until("shared")
    for name, channel in [(name, attempt.channel(name)) for name in (THIRD, LAST)]:
        copied = with_advertisement(attempt.requests[VICTIM], 1, channel=shown(attempt, OTHER, channel.shown.key))
        refused(attempt, VICTIM, copied, ProtocolError, "same")
        assert name != OTHER


@pytest.mark.parametrize("key", [LOW_ORDER, b"\1" + bytes(31)])
def test_a_colluders_degenerate_key_is_refused(make_attempt, key):
    attempt = make_attempt().until("shared")
    request = with_advertisement(attempt.requests[VICTIM], 1, channel=shown(attempt, OTHER, key))
    refused(attempt, VICTIM, request, ProtocolError, "degenerate")


def test_two_channel_keys_of_one_supplier_shown_to_two_peers(make_attempt):
    """It signs both and stands by both: who saw one opens nothing of who saw the other, so nobody masks."""
    attempt = make_attempt().until("shared")
    request, liar = attempt.requests[VICTIM], attempt.rounds[OTHER].state
    second = open_channel(attempt.session.study, OTHER, attempt.identities[OTHER], SystemRandomness())
    twice = with_advertisement(request, 1, channel=second.shown)
    stands = replace(liar, advertisement=twice.advertisements[1], channel=second.secret)
    views = {VICTIM: twice, THIRD: request, LAST: request}
    replies = {name: attempt.answer(name, view) for name, view in views.items()}
    both = {VICTIM: stands.share(twice, {})[1], THIRD: liar.share(request, {})[1], LAST: liar.share(request, {})[1]}
    for name in views:
        around = {other: reply for other, reply in replies.items() if other != name} | {OTHER: both[name]}
        delivery = delivered(request.session, name, around, attempt.names)
        refused(attempt, name, delivery, PeerError, "shown other keys")


def test_keys_of_an_attempt_before_are_refused(make_attempt, make_session):
    earlier = make_attempt(make_session(attempt=0)).until("shared")
    attempt = make_attempt(make_session(attempt=1), rounds=earlier.rounds).until("shared")
    old, new = earlier.requests[VICTIM], attempt.requests[VICTIM]
    refused(attempt, VICTIM, old, ProtocolError, "another study, round or attempt")
    mixed = replace(new, advertisements=(new.advertisements[0], *old.advertisements[1:]))
    refused(attempt, VICTIM, mixed, ProtocolError, "another attempt")


# Step 2: shares


@pytest.mark.parametrize("place", [0, 40, messages.CIPHERTEXT_BYTES - 1])
def test_a_tampered_ciphertext_is_refused(make_attempt, place):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    content = bytearray(parts_of(request)[OTHER])
    content[place] ^= 1
    tampered = with_parts(request, {**parts_of(request), OTHER: bytes(content)})
    refused(attempt, VICTIM, tampered, ProtocolError, "changed on the way")


@pytest.mark.parametrize("how", ["another", "of another pair", "of another attempt"])
def test_a_commitment_to_another_mask_is_refused_before_anything_is_masked(make_attempt, make_session, how):
    """Its sender is named: what would be recovered if it dropped out would not be the mask that is put on."""
    attempt = make_attempt().until("masked")
    request, given = attempt.requests[VICTIM], parts_of(attempt.requests[VICTIM])
    before = parts_of(make_attempt(make_session(attempt=1)).until("masked").requests[VICTIM])
    wrong = {"another": bytes(32), "of another pair": given[THIRD][-32:], "of another attempt": before[OTHER][-32:]}
    with pytest.raises(PeerError, match=f"{OTHER} committed to another mask") as refusal:
        attempt.answer(VICTIM, with_parts(request, {**given, OTHER: given[OTHER][:-32] + wrong[how]}))
    assert refusal.value.peer == OTHER


def test_swapped_ciphertexts_are_refused(make_attempt):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    given = parts_of(request)
    swapped = {**given, OTHER: given[THIRD], THIRD: given[OTHER]}
    refused(attempt, VICTIM, with_parts(request, swapped), ProtocolError, "changed on the way")


def test_a_ciphertext_sent_back_to_its_sender_is_refused(make_attempt):
    attempt = make_attempt().until("masked")
    mine = parts_of(attempt.requests[OTHER])[VICTIM]
    request = attempt.requests[VICTIM]
    refused(attempt, VICTIM, with_parts(request, {**parts_of(request), OTHER: mine}), ProtocolError, "changed")


def test_a_delivery_to_another_or_of_a_stranger_or_of_too_few_is_refused(make_attempt):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    refused(attempt, VICTIM, attempt.requests[OTHER], ProtocolError, "another supplier")
    given = parts_of(request)
    refused(attempt, VICTIM, with_parts(request, {OTHER: given[OTHER]}), ProtocolError, "fewer")
    for stranger in ("s09", VICTIM):
        more = {**given, stranger: given[OTHER]}
        refused(attempt, VICTIM, with_parts(request, more), ProtocolError, "advertised no keys")
    for wrong in (
        replace(request, shares=request.shares[:-1]),
        replace(request, shares=request.shares + given[OTHER]),
        replace(request, senders=request.senders[1:]),
        replace(request, senders=(*request.senders, OTHER), shares=request.shares + given[OTHER]),
    ):
        refused(attempt, VICTIM, wrong, ProtocolError, "more or fewer parts")


def test_two_suppliers_shown_different_keys_share_nothing(make_attempt):
    """Both lists are signed properly and long enough; what was encrypted under one does not open under the other."""
    attempt = make_attempt().until("shared")
    whole = attempt.requests[VICTIM]
    shorter = replace(whole, advertisements=whole.advertisements[:3])
    replies = {name: attempt.answer(name, shorter if name == VICTIM else whole) for name in (VICTIM, OTHER, THIRD)}
    del replies[VICTIM]
    delivery = delivered(whole.session, VICTIM, replies, attempt.names)
    refused(attempt, VICTIM, delivery, ProtocolError, "changed on the way")


# Every step: replays, other sessions, order


@pytest.mark.parametrize("step", ["shared", "masked", "confirmed", "unmasked"])
@pytest.mark.parametrize("change", [{"round_": 1}, {"attempt": 1}, {"study": "cd" * 32}, {"words": 4}])
def test_a_message_of_another_session_is_refused(make_attempt, make_session, step, change):
    theirs = make_attempt(make_session(**change)).until(step)
    attempt = make_attempt().until(step)
    refused(attempt, VICTIM, theirs.requests[VICTIM], ProtocolError, "another study, round or attempt")
    renamed = replace(theirs.requests[VICTIM], session=attempt.session.identifier())
    if step != "confirmed":  # a bare list of names says the same in every session
        refused(attempt, VICTIM, renamed, (ProtocolError, SignatureError))


def test_a_step_is_taken_once_and_in_order(make_attempt):
    attempt = make_attempt()
    attempt.advertise()
    requests = []
    while (result := attempt.collect()) is None:
        requests.append(attempt.requests[VICTIM])
        attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
        for request in requests:
            refused(attempt, VICTIM, request, OrderError)
    assert result is not None
    early = make_attempt()
    early.advertise()
    for request in requests[1:]:
        renamed = replace(request, session=early.session.identifier())
        refused(early, VICTIM, renamed, OrderError)


def test_an_identity_that_is_not_the_rosters_cannot_advertise(make_session):
    for name in (VICTIM, "s09"):
        with pytest.raises(ProtocolError):
            given = Identity.generate(), Head(1, "ab" * 32), SystemRandomness()
            channel = open_channel("ab" * 32, name, given[0], given[2])
            Round.begin(make_session(), name, *given, channel=channel, seen={})
