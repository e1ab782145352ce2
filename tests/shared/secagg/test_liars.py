# SPDX-License-Identifier: Apache-2.0
"""What a lying supplier can try on the office: it is left out by name and the sum is that of the others."""

import contextlib

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from skyglow_shared.errors import PeerError, ProtocolError
from skyglow_shared.secagg import channels, keys, shamir
from skyglow_shared.secagg.channels import ChannelKey
from skyglow_shared.secagg.messages import CIPHERTEXT_BYTES, COMMITTED_BYTES, Confirmation, EncryptedShares

replace = msgspec.structs.replace
LIAR, OTHER, THIRD, LAST = NAMES = ("s00", "s01", "s02", "s03")
STEPS = ("advertised", "shared", "masked", "confirmed", "unmasked")


def finish(attempt, lies):
    """Run on; `lies[step]` changes what the office hears in that step."""
    attempt.advertise()
    while True:
        step = STEPS[attempt.step]
        if step in lies:
            attempt.replies = lies[step](dict(attempt.replies))
        if (result := attempt.collect()) is not None:
            return result
        attempt.replies = {name: attempt.answer(name) for name in attempt.requests if name in attempt.replies}


def plain_sum(attempt, names):
    return sum(attempt.vectors[name] for name in names)


def changed(**fields):
    return lambda heard: heard | {LIAR: replace(heard[LIAR], **fields)}


def degenerate(attempt):
    def change(heard):
        signed = channels.show(attempt.session.study, LIAR, bytes(32), attempt.identities[LIAR])
        return heard | {LIAR: replace(heard[LIAR], channel=signed)}

    return change


def unsigned(attempt):
    return changed(channel=ChannelKey(attempt.channel(LIAR).shown.key, bytes(64)))


#: In which step, what the liar does, what is said of it.
LIES = {
    "a degenerate key": ("advertised", degenerate, "degenerate"),
    "a key signed by nobody": ("advertised", unsigned, "not signed"),
    "an advertisement of another attempt": ("advertised", lambda _: changed(session=bytes(32)), "another attempt"),
    "shares for too few": ("shared", lambda _: changed(shares=bytes(2 * COMMITTED_BYTES)), "other suppliers"),
    "shares for one too many": ("shared", lambda _: changed(shares=bytes(4 * COMMITTED_BYTES)), "other suppliers"),
    "shares without a commitment": ("shared", lambda _: changed(shares=bytes(3 * CIPHERTEXT_BYTES)), "other suppliers"),
    "nothing to recover its masks from": ("shared", lambda _: changed(recovery=b""), "longer or shorter"),
    "another's name": ("shared", lambda _: changed(sender=OTHER), "another's name"),
    "no words": ("masked", lambda _: changed(words=b""), "longer or shorter"),
    "too few words": ("masked", lambda _: changed(words=bytes(5)), "longer or shorter"),
    "too many words": ("masked", lambda _: changed(words=bytes(7)), "longer or shorter"),
    "words under other masks": ("masked", lambda _: changed(transcript=bytes(32)), "against other suppliers"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_has_dropped_and_the_others_are_added(make_attempt, lie):
    step, make, why = LIES[lie]
    attempt = make_attempt()
    result = finish(attempt, {step: make(attempt)})
    assert result.survivors == NAMES[1:]
    np.testing.assert_array_equal(result.values, plain_sum(attempt, NAMES[1:]))
    assert list(result.left_out) == [LIAR]
    assert why in result.left_out[LIAR]


@pytest.mark.parametrize("step", ["confirmed", "unmasked"])
@pytest.mark.parametrize("how", ["another step", "another session", "a forgery"])
def test_a_liar_after_its_vector_is_in_the_sum_changes_nothing(make_attempt, step, how):
    def lie(heard):
        given = heard[LIAR]
        wrong = {
            "another step": Confirmation(session=given.session, sender=LIAR, codes=b"")
            if step == "unmasked"
            else heard[LIAR].__class__.__bases__ and lie.advertisement,
            "another session": replace(given, session=bytes(32)),
            "a forgery": replace(given, codes=bytes(len(given.codes)))
            if step == "confirmed"
            else replace(given, seeds=b""),
        }
        return heard | {LIAR: wrong[how]}

    attempt = make_attempt()
    lie.advertisement = make_attempt().until("shared").requests[LIAR].advertisements[0]
    result = finish(attempt, {step: lie})
    assert result.survivors == NAMES
    assert list(result.left_out) == [LIAR]
    np.testing.assert_array_equal(result.values, plain_sum(attempt, NAMES))


def test_two_who_advertise_one_key_are_both_left_out(make_attempt, make_session):
    attempt = make_attempt(make_session(5, 2, 0))

    def lie(heard):
        key = heard[OTHER].channel.key
        copied = channels.show(attempt.session.study, LIAR, key, attempt.identities[LIAR])
        return heard | {LIAR: replace(heard[LIAR], channel=copied)}

    result = finish(attempt, {"advertised": lie})
    assert set(result.left_out) == {LIAR, OTHER}
    np.testing.assert_array_equal(result.values, plain_sum(attempt, attempt.names[2:]))


def test_more_liars_than_may_drop_have_no_sum_and_are_named(make_attempt):
    def lie(heard):
        return heard | {name: replace(heard[name], words=b"") for name in (LIAR, THIRD)}

    with pytest.raises(ProtocolError, match=f"fewer than 3.*{LIAR}: a masked.*{THIRD}: a masked"):
        finish(make_attempt(), {"masked": lie})


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_stranger_is_not_heard(make_attempt, step):
    attempt = make_attempt()
    result = finish(attempt, {step: lambda heard: heard | {"s09": replace(heard[LIAR], sender="s09")}})
    assert set(result.left_out) == {"s09"}
    np.testing.assert_array_equal(result.values, plain_sum(attempt, NAMES))


# Secret shares


def spoilt(shares, place):
    """The shares with the one at a place among them wrong."""
    at = shamir.SHARE_BYTES * place + 9
    return shares[:at] + bytes([shares[at] ^ 1]) + shares[at + 1 :]


@pytest.mark.parametrize(("k", "d", "c", "liars"), [(4, 1, 0, 1), (7, 2, 2, 1), (7, 2, 1, 2), (9, 3, 2, 3)])
@pytest.mark.parametrize("kind", ["seeds", "recovery_keys"])
def test_who_sends_wrong_shares_is_found_and_the_sum_is_right(make_attempt, make_session, k, d, c, liars, kind):
    """As many as there are more shares than the threshold: the commitment says which choice of them is right."""
    attempt = make_attempt(make_session(k, d, c))
    gone, lying = attempt.names[-1], attempt.names[:liars]
    spare = k - (kind == "recovery_keys") - attempt.session.parameters.threshold

    def without(heard):
        return {name: reply for name, reply in heard.items() if kind == "seeds" or name != gone}

    def lie(heard):
        for name in lying:
            shares = getattr(heard[name], kind)
            for place in range(len(shares) // shamir.SHARE_BYTES):
                shares = spoilt(shares, place)
            heard[name] = replace(heard[name], **{kind: shares})
        return heard

    if liars > spare:
        with pytest.raises(ProtocolError, match="cannot be recovered"):
            finish(attempt, {"masked": without, "unmasked": lie})
        return
    result = finish(attempt, {"masked": without, "unmasked": lie})
    assert set(result.left_out) == set(lying)
    np.testing.assert_array_equal(result.values, plain_sum(attempt, result.survivors))


def test_who_shared_its_seed_out_wrongly_is_named(make_attempt):
    """Every share of it is wrong, so no choice of them fits: the one whose seed it is is named."""
    attempt = make_attempt()

    def lie(heard):
        return {name: replace(reply, seeds=spoilt(reply.seeds, NAMES.index(THIRD))) for name, reply in heard.items()}

    with pytest.raises(ProtocolError, match=f"the seed of {THIRD} cannot be recovered.*{THIRD} shared it out wrongly"):
        finish(attempt, {"unmasked": lie})


def test_wrong_shares_of_two_seeds_do_not_add_up_to_too_many(make_attempt, make_session):
    """Two suppliers each gave one other a wrong share: each secret has enough right ones, and both are recovered."""
    attempt = make_attempt(make_session(5, 1, 1))
    one, two = attempt.names[3:]

    def lie(heard):
        for holder, dealer in ((one, LIAR), (two, OTHER)):
            seeds = heard[holder].seeds
            heard[holder] = replace(heard[holder], seeds=spoilt(seeds, attempt.names.index(dealer)))
        return heard

    result = finish(attempt, {"unmasked": lie})
    np.testing.assert_array_equal(result.values, plain_sum(attempt, attempt.names))


# What recovers the masks with who dropped


def dropping(attempt, changes):
    """The liar changes what would recover its masks, or what it commits to, and then sends no vector."""
    attempt.requests = {}

    def lie(heard):
        return heard | {LIAR: replace(heard[LIAR], **changes(heard[LIAR]))}

    return finish(attempt, {"shared": lie, "masked": lambda heard: {n: r for n, r in heard.items() if n != LIAR}})


@pytest.mark.parametrize("how", ["random", "of an attempt before", "under another's key"])
def test_who_dropped_with_what_recovers_nothing_is_named(make_attempt, make_session, how):
    before = make_attempt(make_session(attempt=0)).until("shared")
    old = {name: before.answer(name) for name in NAMES}
    attempt = make_attempt(make_session(attempt=1), rounds=before.rounds)
    wrong = {
        "random": bytes(112),
        "of an attempt before": old[LIAR].recovery,
        "under another's key": old[OTHER].recovery,
    }
    with pytest.raises(ProtocolError, match=f"what {LIAR} shared was changed.*the masks of {LIAR} cannot be recovered"):
        dropping(attempt, lambda _: {"recovery": wrong[how]})


def test_who_dropped_with_masks_to_be_recovered_that_it_did_not_commit_to_is_named(make_attempt):
    """It encrypts other keys than those of its masks: what each survivor checked says that they are not the ones."""
    attempt = make_attempt()

    def lie(said):
        key = keys.pinned(lie.recovery, said.session, keys.RECOVERY, LIAR).key
        return {"recovery": keys.encrypt(key, bytes(96))}

    attempt.advertise()
    lie.recovery = attempt.rounds[LIAR].state.recovery
    advertised, attempt.advertise = attempt.advertise, lambda: None
    with pytest.raises(ProtocolError, match=f"{LIAR} committed to other masks than can be recovered"):
        dropping(attempt, lie)
    assert advertised


def test_who_commits_to_another_mask_loses_a_peer_that_names_it(make_attempt):
    """Before anything is masked; the others are added, and what the victim says is for the office to weigh."""
    attempt = make_attempt().until("masked")
    delivery = attempt.requests[OTHER]
    assert delivery.senders[0] == LIAR
    shares = delivery.shares[:CIPHERTEXT_BYTES] + bytes(32) + delivery.shares[COMMITTED_BYTES:]
    wrong = replace(delivery, shares=shares)
    with pytest.raises(PeerError) as refusal:
        attempt.answer(OTHER, wrong)
    assert refusal.value.peer == LIAR
    attempt.replies = {name: attempt.answer(name) for name in NAMES if name != OTHER}
    attempt.collect()
    assert attempt.office.survivors == (LIAR, THIRD, LAST)


def test_the_office_opens_no_masks_of_who_is_in_the_sum(make_attempt):
    """What it has of a survivor is shares of its seed; the recovery key, of which it has none, opens its masks."""
    attempt = make_attempt().until("unmasked")
    state = attempt.rounds[LIAR].state
    replies = {name: attempt.answer(name) for name in NAMES}
    assert all(not reply.recovery_keys for reply in replies.values())
    assert len(state.held[OTHER]) == 2 * shamir.SHARE_BYTES
    assert EncryptedShares.__struct_fields__ == ("session", "sender", "shares", "recovery")


# Keys of small order


def agrees_on_zeros(key):
    with contextlib.suppress(ValueError):
        X25519PrivateKey.from_private_bytes(bytes(range(32))).exchange(X25519PublicKey.from_public_bytes(key))
        return False
    return True


def test_degenerate_keys_are_those_with_which_every_secret_agrees_on_zeros():
    """Every encoding of each, by the library's own word; and none of their neighbours."""
    prime, found = 2**255 - 19, set()
    for small in channels._SMALL_ORDER:
        for same in (small, small + prime, small + 2**255, small + prime + 2**255):
            for near in range(max(same - 2, 0), min(same + 3, 2**256)):
                key = near.to_bytes(32, "little")
                assert channels.is_degenerate(key) == agrees_on_zeros(key)
                found |= {near} if channels.is_degenerate(key) else set()
    assert len(found) == 2 * (5 + 2)
    assert not channels.is_degenerate(X25519PrivateKey.generate().public_key().public_bytes_raw())
