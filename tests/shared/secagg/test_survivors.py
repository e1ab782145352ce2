# SPDX-License-Identifier: Apache-2.0
"""What a dishonest office can try with survivor sets and second attempts: two sums that differ by one supplier."""

import contextlib
from itertools import combinations

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import OrderError, ProtocolError, SignatureError
from skyglow_shared.secagg import keys, shamir
from skyglow_shared.secagg.messages import SurvivorSet, SurvivorSignatures

replace = msgspec.structs.replace
VICTIM, OTHER, THIRD, LAST = "s00", "s01", "s02", "s03"
NAMES = (VICTIM, OTHER, THIRD, LAST)


def refused(attempt, name, request, error, why=None):
    """The supplier refuses, and stands where it stood."""
    before = attempt.rounds[name]
    with pytest.raises(error, match=why):
        attempt.answer(name, request)
    assert attempt.rounds[name] is before


def survivor_set(attempt, survivors, dropped=None):
    gone = tuple(n for n in attempt.names if n not in survivors) if dropped is None else dropped
    return SurvivorSet(session=attempt.session.identifier(), survivors=tuple(survivors), dropped=tuple(gone))


@pytest.mark.parametrize(
    ("survivors", "dropped", "why"),
    [
        (NAMES, (VICTIM,), "both surviving and dropped"),
        (NAMES, (LAST,), "both surviving and dropped"),
        (NAMES[:3], (), "exactly those"),
        (NAMES[:3], ("s09",), "not on the roster"),
        ((*NAMES[:3], THIRD), (LAST,), "repeats"),
        (NAMES[:3], (LAST, LAST), "repeats"),
        (NAMES[:2], NAMES[2:], "fewer"),
        (NAMES[:1], NAMES[1:], "fewer"),
        ((), NAMES, "fewer"),
        (NAMES[1:], (VICTIM,), "said to have dropped"),
    ],
)
def test_a_survivor_set_that_could_unmask_somebody_is_refused(make_attempt, survivors, dropped, why):
    attempt = make_attempt().until("signed")
    refused(attempt, VICTIM, survivor_set(attempt, survivors, dropped), ProtocolError, why)


def test_only_one_survivor_set_is_signed(make_attempt):
    attempt = make_attempt().until("signed")
    attempt.answer(VICTIM, survivor_set(attempt, NAMES))
    for survivors in (NAMES, NAMES[:3]):
        refused(attempt, VICTIM, survivor_set(attempt, survivors), OrderError)


@pytest.mark.parametrize(("k", "d", "c"), [(4, 1, 0), (4, 1, 1), (5, 2, 0), (6, 1, 2), (7, 2, 2)])
def test_of_a_split_view_at_most_one_side_can_be_completed(make_attempt, make_session, k, d, c):
    """The office shows two sets that differ by one supplier; colluders sign and give shares for both."""
    attempt = make_attempt(make_session(k, d, c)).until("signed")
    colluders, honest = attempt.names[:c], attempt.names[c:]
    whole, without = tuple(attempt.names), tuple(attempt.names[:-1])
    both_told = []
    for size in range(len(honest)):
        told = {name: (without if place < size else whole) for place, name in enumerate(honest)}
        completed = set()
        for view in (whole, without):
            trial, signatures = dict(attempt.rounds), {}
            believers = [*colluders, *(name for name in honest if told[name] == view)]
            for name in believers:
                if name in view:
                    trial[name], reply = attempt.ask(name, survivor_set(attempt, view))
                    signatures[name] = reply.signature
            asked = SurvivorSignatures(session=attempt.session.identifier(), signatures=signatures)
            if gives_shares(attempt, trial, [n for n in believers if n in honest], asked):
                completed.add(view)
        assert len(completed) <= 1
        both_told.append(len(completed))
    assert both_told[0] == 1  # where all honest suppliers are told the same, it is completed


def gives_shares(attempt, rounds, names, request):
    """Whether anybody gives shares on these signatures."""
    for name in names:
        try:
            rounds[name].answer(request, attempt.identities[name], None, None)
        except (ProtocolError, SignatureError, OrderError):
            continue
        return True
    return False


def test_signatures_over_another_set_are_refused(make_attempt):
    attempt = make_attempt(None).until("signed")
    signatures = {}
    for name in NAMES:
        view = NAMES[:3] if name in NAMES[1:3] else NAMES
        signatures[name] = attempt.answer(name, survivor_set(attempt, view)).signature
    request = SurvivorSignatures(session=attempt.session.identifier(), signatures=signatures)
    refused(attempt, VICTIM, request, SignatureError)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_signatures_are_refused(make_attempt, count):
    attempt = make_attempt().until("unmasked")
    request = attempt.requests[VICTIM]
    few = dict(list(request.signatures.items())[:count])
    refused(attempt, VICTIM, replace(request, signatures=few), ProtocolError, "fewer")


def test_a_forged_or_borrowed_signature_is_refused(make_attempt):
    attempt = make_attempt().until("unmasked")
    request = attempt.requests[VICTIM]
    for wrong in (bytes(64), request.signatures[THIRD]):
        changed = {**request.signatures, OTHER: wrong}
        refused(attempt, VICTIM, replace(request, signatures=changed), SignatureError)


@pytest.mark.parametrize("asked", [VICTIM, LAST])
def test_shares_are_given_only_where_as_many_as_the_threshold_have_really_signed(make_attempt, make_session, asked):
    """Whichever signatures are forged: as many are verified as make the threshold, the own is known, others are not."""
    attempt = make_attempt(make_session(5, 1, 1)).until("unmasked")
    request, others = attempt.requests[asked], [name for name in attempt.names if name != asked]
    given = 0
    for count in range(len(others) + 1):
        for forged in combinations(others, count):
            changed = request.signatures | dict.fromkeys(forged, bytes(64))
            if gives_shares(attempt, attempt.rounds, [asked], replace(request, signatures=changed)):
                assert attempt.session.parameters.suppliers - count >= attempt.session.parameters.threshold
                given += 1
    assert given == 2  # none forged, or the last in the order, which is beyond the threshold


def test_a_signature_of_somebody_who_dropped_or_is_unknown_is_refused(make_attempt):
    attempt = make_attempt().until("signed")
    replies = {name: attempt.answer(name, survivor_set(attempt, NAMES[:3])) for name in NAMES[:3]}
    signatures = {name: reply.signature for name, reply in replies.items()}
    for name in (LAST, "s09"):
        more = SurvivorSignatures(
            session=attempt.session.identifier(), signatures={**signatures, name: signatures[VICTIM]}
        )
        refused(attempt, VICTIM, more, ProtocolError, "not in it")


def test_of_each_supplier_one_kind_of_share_is_given_once(make_attempt):
    attempt = make_attempt().until("signed")
    replies = {name: attempt.answer(name, survivor_set(attempt, NAMES[:3])) for name in NAMES[:3]}
    request = SurvivorSignatures(
        session=attempt.session.identifier(), signatures={name: reply.signature for name, reply in replies.items()}
    )
    unmasking = attempt.answer(VICTIM, request)
    assert set(unmasking.seeds) == set(NAMES[:3])
    assert set(unmasking.mask_keys) == {LAST}
    refused(attempt, VICTIM, request, OrderError)
    assert set(msgspec.structs.asdict(attempt.rounds[VICTIM].state)) == {"session", "name"}


def test_another_attempt_after_unmasking_is_refused(make_attempt, make_session):
    attempt = make_attempt().until("unmasked")
    attempt.replies = {name: attempt.answer(name) for name in NAMES[:3]}
    attempt.collect()
    again = make_attempt(make_session(attempt=1), rounds=attempt.rounds)
    for name in NAMES[:3]:
        with pytest.raises(OrderError, match="unmasked"):
            again.advertise([name])
    again.advertise([LAST])  # it never unmasked; alone it completes nothing
    with pytest.raises(ProtocolError, match="fewer"):
        again.collect()


@pytest.mark.parametrize("step", ["shared", "masked", "signed", "unmasked"])
def test_another_attempt_before_unmasking_gives_the_same_sum(make_attempt, make_session, step):
    first = make_attempt(make_session(attempt=0)).until(step)
    second = make_attempt(make_session(attempt=2), rounds=first.rounds)
    result = second.run({LAST: 2})
    np.testing.assert_array_equal(result.values, sum(first.vectors[name] for name in NAMES[:3]))


@pytest.mark.parametrize(
    "change", [{"attempt": 0}, {"attempt": 1}, {"attempt": 2, "round_": 1}, {"attempt": 2, "words": 4}]
)
def test_an_attempt_that_is_not_later_or_of_another_round_is_refused(make_attempt, make_session, change):
    first = make_attempt(make_session(attempt=1)).until("masked")
    second = make_attempt(make_session(**change), rounds=first.rounds)
    with pytest.raises(OrderError):
        second.advertise([VICTIM])


def test_colluders_and_dropped_together_cannot_recover_a_seed(make_attempt, make_session):
    """All that c colluders hold, and what d more would have given, are fewer shares than the threshold."""
    k, d, c = 7, 2, 2
    attempt = make_attempt(make_session(k, d, c))
    attempt.advertise()
    secret = attempt.rounds[attempt.names[-1]].state.seed
    while attempt.step < 3:
        attempt.collect()
        attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
    places, threshold = attempt.session.places(), attempt.session.parameters.threshold
    held = {name: attempt.rounds[name].state.held[attempt.names[-1]].seed for name in attempt.names}
    for few in combinations(attempt.names, c + d):
        with pytest.raises(ProtocolError):
            shamir.join({places[name]: held[name] for name in few}, threshold)
        for guess in combinations(few, 3):  # a lower threshold does not fit the polynomial
            with contextlib.suppress(ProtocolError):
                assert shamir.join({places[name]: held[name] for name in guess}, 3) != secret
    assert shamir.join({places[name]: held[name] for name in attempt.names[:threshold]}, threshold) == secret
    assert keys.commitment(secret, attempt.session.identifier(), attempt.names[-1]) == (
        attempt.office.heard[attempt.names[-1]].seed_commitment
    )
