# SPDX-License-Identifier: Apache-2.0
"""Suppliers witness one another's ledgers: what was put back is noticed, whatever was added to it since."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared.errors import PeerError, RollbackError, SignatureError
from skyglow_shared.secagg import ledger_heads, messages
from skyglow_shared.secagg.ledger_heads import SEEN_BYTES, Head, Seen, check_others, check_own, pack, unpack

replace = msgspec.structs.replace
VICTIM, OTHER, THIRD, LAST = NAMES = ("s00", "s01", "s02", "s03")
RIGHT, GROWN = Head(9, "99" * 32), Head(14, "ee" * 32)


def parts_of(request):
    """What a delivery has of each, by sender."""
    return messages.by_name(request.senders, request.shares, messages.COMMITTED_BYTES)


def with_parts(request, parts):
    """A delivery of other parts."""
    return replace(request, senders=tuple(parts), shares=b"".join(parts.values()))


def refused(attempt, name, request, error, why):
    """The supplier refuses, and stands where it stood: it has masked nothing."""
    before = attempt.rounds[name]
    with pytest.raises(error, match=why):
        attempt.answer(name, request)
    assert attempt.rounds[name] is before


def after_a_round(make_attempt, make_session, heads=None):
    """What everybody has seen of everybody's ledger in a round, where the victim's stood at `RIGHT`."""
    first = make_attempt(make_session(round_=0))
    first.heads |= {VICTIM: RIGHT} if heads is None else heads
    first.until("unmasked")
    return {name: first.rounds[name].heads() for name in NAMES}


def second_round(make_attempt, make_session, head, chain, seen, step="masked"):
    attempt = make_attempt(make_session(round_=1))
    attempt.seen, attempt.chains = seen, {VICTIM: chain}
    attempt.heads[VICTIM] = head
    return attempt.until(step)


def test_a_ledger_that_was_put_back_and_then_grew_is_noticed_by_its_own_supplier(make_attempt, make_session):
    """It is longer than anybody saw it, so no length gives it away: the head that the others kept does."""
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, seen)
    refused(attempt, VICTIM, attempt.requests[VICTIM], RollbackError, f"{OTHER} and {THIRD} and {LAST} saw it")
    for name in NAMES[1:]:
        attempt.answer(name)


def test_one_witness_is_enough(make_attempt, make_session):
    seen = {OTHER: after_a_round(make_attempt, make_session)[OTHER]}
    attempt = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, seen)
    refused(attempt, VICTIM, attempt.requests[VICTIM], RollbackError, f"than {OTHER} saw it")


def test_without_the_check_a_grown_ledger_would_go_unnoticed(make_attempt, make_session, monkeypatch):
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, seen)
    monkeypatch.setattr(ledger_heads, "check_own", lambda claims, digest_at, public_key: None)
    attempt.answer(VICTIM)


def test_an_honest_supplier_is_never_refused(make_attempt, make_session):
    """Ledgers grow between rounds and attempts, suppliers miss some: nobody's own chain lacks what others saw."""
    seen, chains, heads = {name: {} for name in NAMES}, {name: {} for name in NAMES}, {}
    for number in range(6):
        attempt = make_attempt(make_session(round_=number))
        for place, name in enumerate(NAMES):
            heads[name] = Head(3 + place + 5 * number, f"{number}{place}" * 32)
            chains[name][heads[name].entries] = heads[name].digest
        attempt.heads, attempt.seen, attempt.chains = dict(heads), seen, chains
        assert attempt.run({NAMES[number % 4]: number % 3} if number else {})
        again = make_attempt(make_session(round_=number, attempt=1))
        again.heads, again.seen, again.chains = dict(heads), seen, chains
        again.until("unmasked")
        for name in NAMES:
            seen[name] = seen[name] | again.rounds[name].heads()
    assert all(len(each) == 3 for each in seen.values())


def test_sizes_do_not_say_what_was_seen(make_attempt, make_session):
    seen = after_a_round(make_attempt, make_session)
    chain = {RIGHT.entries: RIGHT.digest}
    known, new = (second_round(make_attempt, make_session, GROWN, chain, each) for each in (seen, {}))
    for one, other in ((known.requests[n], new.requests[n]) for n in NAMES):
        assert len(messages.encode(one)) == len(messages.encode(other))
    assert len(pack(None)) == len(pack(seen[OTHER][VICTIM])) == SEEN_BYTES


@pytest.mark.parametrize("place", [66, 80, 150, 201, messages.CIPHERTEXT_BYTES - 1])
def test_a_head_altered_by_the_office_is_refused(make_attempt, make_session, place):
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, seen)
    request = attempt.requests[VICTIM]
    content = bytearray(parts_of(request)[OTHER])
    content[place] ^= 1
    changed = with_parts(request, {**parts_of(request), OTHER: bytes(content)})
    refused(attempt, VICTIM, changed, PeerError, f"{OTHER} shared was changed")


def test_a_head_cannot_be_stripped_by_the_office(make_attempt, make_session):
    """Shares with no head, shares of an attempt before anything was seen, shares of another supplier: none opens."""
    seen = after_a_round(make_attempt, make_session)
    unseen = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, {})
    attempt = second_round(make_attempt, make_session, GROWN, {9: "00" * 32}, seen)
    request = attempt.requests[VICTIM]
    given = parts_of(request)
    for sender, old in parts_of(unseen.requests[VICTIM]).items():
        new = given[sender]
        for swapped in (old, new[:66] + old[66:], new[:-168] + bytes(136) + new[-32:]):
            stripped = with_parts(request, {**given, sender: swapped})
            refused(attempt, VICTIM, stripped, PeerError, "changed on the way")
    short = with_parts(request, {**given, OTHER: given[OTHER][:82]})
    refused(attempt, VICTIM, short, messages.ProtocolError, "more or fewer parts")


@pytest.mark.parametrize("claimed", ["another head", "a head never signed", "noise"])
def test_a_peer_that_makes_up_a_head_is_named(make_attempt, make_session, identities, claimed):
    """It has no signature of the victim over what it claims, so the blame stays with it and not with the ledger."""
    seen = after_a_round(make_attempt, make_session)
    true = seen[OTHER][VICTIM]
    lies = {
        "another head": replace(true, head=Head(8, "ab" * 32)),
        "a head never signed": Seen(Head(8, "ab" * 32), bytes(32), bytes(64)),
        "noise": unpack(b"\1" + bytes(7) + b"\xff" * (SEEN_BYTES - 8)),
    }
    seen[OTHER] = seen[OTHER] | {VICTIM: lies[claimed]}
    chain = {RIGHT.entries: RIGHT.digest, 8: "88" * 32}
    attempt = second_round(make_attempt, make_session, GROWN, chain, seen)
    before = attempt.rounds[VICTIM]
    with pytest.raises(PeerError, match="never signed") as refusal:
        attempt.answer(VICTIM)
    assert refusal.value.peer == OTHER
    assert attempt.rounds[VICTIM] is before


def test_a_lie_does_not_hide_the_truth(identities):
    """Where one peer lies and another can prove, the proof is what is said."""
    body = Seen(Head(9, "99" * 32), bytes(32), bytes(64))
    proof = replace(body, signature=identities[VICTIM].sign(ledger_heads.ADVERTISEMENT, body.body()))
    for claims in ({OTHER: body, THIRD: proof}, {OTHER: proof, THIRD: body}):
        with pytest.raises(RollbackError):
            check_own(claims, lambda entries: "", identities[VICTIM].public_key)
    check_own({OTHER: None}, lambda entries: "", identities[VICTIM].public_key)
    check_own({OTHER: proof}, lambda entries: {9: "99" * 32}[entries], identities[VICTIM].public_key)


@pytest.mark.parametrize("now", [Head(6, "01" * 32), Head(1, "00" * 32), Head(9, "ff" * 32)])
def test_a_ledger_that_is_behind_or_was_rewritten_is_noticed_by_the_others(make_attempt, make_session, now):
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, now, {9: "99" * 32}, seen, step="shared")
    for name in NAMES[1:]:
        with pytest.raises(PeerError, match=f"the ledger of {VICTIM} is behind") as refusal:
            attempt.answer(name)
        assert refusal.value.peer == VICTIM


def with_head(request, place, **changes):
    """The list with one supplier's head changed by the office."""
    listed = list(request.advertisements)
    listed[place] = replace(listed[place], **changes)
    return replace(request, advertisements=tuple(listed))


@pytest.mark.parametrize("change", [{"ledger_entries": 100}, {"ledger_entries": 100, "ledger_head": "0" * 64}])
def test_the_office_cannot_hide_that_a_ledger_went_back(make_attempt, make_session, change):
    """It shows the others a head that is far enough: then they see other advertisements, and nothing opens."""
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, Head(3, "03" * 32), {}, seen, step="shared")
    replies = {VICTIM: attempt.answer(VICTIM)}
    for name in NAMES[1:]:
        with pytest.raises(PeerError, match="is behind"):
            attempt.ask(name, attempt.requests[name])
        replies[name] = attempt.answer(name, with_head(attempt.requests[name], 0, **change))
    _, deliveries = attempt.office.shared(replies)
    refused(attempt, VICTIM, deliveries[VICTIM], PeerError, "was shown other keys")
    for name in NAMES[1:]:
        refused(attempt, name, deliveries[name], PeerError, f"{VICTIM} was shown other keys")


@pytest.mark.parametrize("change", [{"ledger_entries": 3}, {"ledger_head": "0" * 64}])
def test_the_office_cannot_say_of_a_ledger_that_it_went_back(make_attempt, make_session, change):
    """A head that is behind is believed only with its supplier's signature: else it is the office that is not."""
    seen = after_a_round(make_attempt, make_session)
    attempt = second_round(make_attempt, make_session, RIGHT, {9: "99" * 32}, seen, step="shared")
    for name in NAMES[1:]:
        refused(attempt, name, with_head(attempt.requests[name], 0, **change), SignatureError, "not signed")


def test_a_head_is_kept_with_the_signature_that_was_made(make_attempt, make_session, identities):
    """Nobody verified it, and yet it is the right one: with another, the others would have shared nothing."""
    for name, seen in after_a_round(make_attempt, make_session).items():
        for other, one in seen.items():
            one.verify(identities[other].public_key, what=f"what {name} keeps")


HEADS = st.builds(Head, st.integers(1, 2**62 - 1), st.binary(min_size=32, max_size=32).map(bytes.hex))


@given(st.builds(Seen, HEADS, st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64)))
def test_a_head_comes_back_from_its_bytes(seen):
    assert len(pack(seen)) == SEEN_BYTES
    assert unpack(pack(seen)) == seen
    check_others({OTHER: seen}, {OTHER: seen}, {})


@given(st.binary(min_size=SEEN_BYTES, max_size=SEEN_BYTES))
def test_any_bytes_as_a_head_end_in_an_error_of_the_tree(content):
    claim = unpack(content)
    if claim is None:
        assert content == bytes(SEEN_BYTES)
        return
    with pytest.raises(PeerError):
        check_own({OTHER: claim}, lambda entries: "", "0b" * 32)
