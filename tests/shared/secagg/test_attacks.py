# SPDX-License-Identifier: Apache-2.0
"""What a dishonest office, wire or supplier can try on a supplier, step by step; each try ends in a typed refusal."""

import contextlib

import msgspec
import pytest

from skyglow_shared.errors import OrderError, ProtocolError, SignatureError
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import keys, messages, shamir
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.signing import Identity

replace = msgspec.structs.replace
VICTIM, OTHER, THIRD, LAST = "s00", "s01", "s02", "s03"
LOW_ORDER = bytes(32)  # a point of small order: agreeing with it gives zeros, whatever the secret


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


@pytest.mark.parametrize("field", ["exchange_key", "mask_key", "seed_commitment"])
def test_a_substituted_key_is_refused(make_attempt, field):
    attempt = make_attempt().until("shared")
    ours = keys.public_key(SystemRandomness().stream().read(32))
    refused(attempt, VICTIM, with_advertisement(attempt.requests[VICTIM], 1, **{field: ours}), SignatureError)


def test_a_substituted_key_signed_by_the_offices_own_key_is_refused(make_attempt):
    attempt = make_attempt().until("shared")
    request = attempt.requests[VICTIM]
    forged = replace(request.advertisements[1], mask_key=keys.public_key(bytes([9]) * 32)).signed(Identity.generate())
    listed = (request.advertisements[0], forged, *request.advertisements[2:])
    refused(attempt, VICTIM, replace(request, advertisements=listed), SignatureError)


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


@pytest.mark.parametrize("copied", ["exchange_key", "mask_key"])
def test_a_colluder_that_repeats_anothers_key_is_refused(make_attempt, identities, copied):
    attempt = make_attempt().until("shared")
    request = attempt.requests[VICTIM]
    repeated = replace(request.advertisements[1], mask_key=getattr(request.advertisements[2], copied))
    listed = (request.advertisements[0], repeated.signed(identities[OTHER]), *request.advertisements[2:])
    refused(attempt, VICTIM, replace(request, advertisements=listed), ProtocolError, "same")


def test_a_colluders_degenerate_exchange_key_is_refused(make_attempt, identities):
    attempt = make_attempt().until("shared")
    request, _ = planted(attempt, identities, exchange_key=LOW_ORDER)
    refused(attempt, VICTIM, request, ProtocolError, "degenerate")


def test_a_colluders_degenerate_mask_key_is_refused(make_attempt, identities):
    attempt = make_attempt().until("shared")
    request, _ = planted(attempt, identities, mask_key=LOW_ORDER)
    refused(attempt, VICTIM, request, ProtocolError, "degenerate")


def planted(attempt, identities, **changes):
    """The list with the colluder's own, properly signed, change to its keys; and the colluder that stands by it."""
    request, state = attempt.requests[VICTIM], attempt.rounds[OTHER].state
    bad = replace(request.advertisements[1], **changes).signed(identities[OTHER])
    listed = (request.advertisements[0], bad, *request.advertisements[2:])
    return replace(request, advertisements=listed), Round(replace(state, advertisement=bad))


def test_keys_of_an_attempt_before_are_refused(make_attempt, make_session):
    earlier = make_attempt(make_session(attempt=0)).until("shared")
    attempt = make_attempt(make_session(attempt=1), rounds=earlier.rounds).until("shared")
    old, new = earlier.requests[VICTIM], attempt.requests[VICTIM]
    refused(attempt, VICTIM, old, ProtocolError, "another study, round or attempt")
    mixed = replace(new, advertisements=(new.advertisements[0], *old.advertisements[1:]))
    refused(attempt, VICTIM, mixed, ProtocolError, "another attempt")


# Step 2: shares


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_tampered_ciphertext_is_refused(make_attempt, place):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    content = bytearray(request.shares[OTHER])
    content[place] ^= 1
    tampered = replace(request, shares={**request.shares, OTHER: bytes(content)})
    refused(attempt, VICTIM, tampered, ProtocolError, "changed on the way")


def test_swapped_ciphertexts_are_refused(make_attempt):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    swapped = {**request.shares, OTHER: request.shares[THIRD], THIRD: request.shares[OTHER]}
    refused(attempt, VICTIM, replace(request, shares=swapped), ProtocolError, "changed on the way")


def test_a_ciphertext_sent_back_to_its_sender_is_refused(make_attempt):
    attempt = make_attempt().until("masked")
    mine = attempt.requests[OTHER].shares[VICTIM]
    request = attempt.requests[VICTIM]
    refused(attempt, VICTIM, replace(request, shares={**request.shares, OTHER: mine}), ProtocolError, "changed")


def test_a_delivery_to_another_or_of_a_stranger_or_of_too_few_is_refused(make_attempt):
    attempt = make_attempt().until("masked")
    request = attempt.requests[VICTIM]
    refused(attempt, VICTIM, attempt.requests[OTHER], ProtocolError, "another supplier")
    one = {OTHER: request.shares[OTHER]}
    refused(attempt, VICTIM, replace(request, shares=one), ProtocolError, "fewer")
    for stranger in ("s09", VICTIM):
        more = {**request.shares, stranger: request.shares[OTHER]}
        refused(attempt, VICTIM, replace(request, shares=more), ProtocolError)


def test_two_suppliers_shown_different_keys_share_nothing(make_attempt):
    """Both lists are signed properly and long enough; what was encrypted under one does not open under the other."""
    attempt = make_attempt().until("shared")
    whole = attempt.requests[VICTIM]
    shorter = replace(whole, advertisements=whole.advertisements[:3])
    replies = {name: attempt.answer(name, shorter if name == VICTIM else whole) for name in (VICTIM, OTHER, THIRD)}
    shares = {name: reply.shares[VICTIM] for name, reply in replies.items() if name != VICTIM}
    delivery = messages.Delivery(session=whole.session, recipient=VICTIM, shares=shares)
    refused(attempt, VICTIM, delivery, ProtocolError, "changed on the way")


# Every step: replays, other sessions, order


@pytest.mark.parametrize("step", ["shared", "masked", "signed", "unmasked"])
@pytest.mark.parametrize("change", [{"round_": 1}, {"attempt": 1}, {"study": "cd" * 32}, {"words": 4}])
def test_a_message_of_another_session_is_refused(make_attempt, make_session, step, change):
    theirs = make_attempt(make_session(**change)).until(step)
    attempt = make_attempt().until(step)
    refused(attempt, VICTIM, theirs.requests[VICTIM], ProtocolError, "another study, round or attempt")
    renamed = replace(theirs.requests[VICTIM], session=attempt.session.identifier())
    if step != "signed":  # a bare list of names says the same in every session
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
            Round.begin(make_session(), name, Identity.generate(), Head(1, "ab" * 32), SystemRandomness(), seen={})


# Shares


def test_too_few_or_wrong_shares_do_not_give_the_secret(make_attempt):
    stream = SystemRandomness().stream()
    secret = stream.read(32)
    shares = shamir.split(secret, 4, range(1, 7), stream)
    assert shamir.join({point: shares[point] for point in (1, 3, 5, 6)}, 4) == secret
    with pytest.raises(ProtocolError, match="needed"):
        shamir.join({point: shares[point] for point in (1, 3, 5)}, 4)
    for point in (1, 3, 5, 6):
        wrong = {**{p: shares[p] for p in (1, 3, 5, 6)}, point: shares[2]}
        with contextlib.suppress(ProtocolError):  # what they determine may not be of 32 bytes
            assert shamir.join(wrong, 4) != secret
