# SPDX-License-Identifier: Apache-2.0
"""What a dishonest office can try with survivor sets and second attempts: two sums that differ by one supplier."""

import contextlib
from itertools import combinations

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import OrderError, PeerError, ProtocolError
from skyglow_shared.secagg import keys, messages, shamir
from skyglow_shared.secagg.messages import Confirmations, SurvivorSet

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
    attempt = make_attempt().until("confirmed")
    refused(attempt, VICTIM, survivor_set(attempt, survivors, dropped), ProtocolError, why)


def test_only_one_survivor_set_is_confirmed(make_attempt):
    attempt = make_attempt().until("confirmed")
    attempt.answer(VICTIM, survivor_set(attempt, NAMES))
    for survivors in (NAMES, NAMES[:3]):
        refused(attempt, VICTIM, survivor_set(attempt, survivors), OrderError)


def codes_of(request):
    """The codes of a hand-out, by sender."""
    return messages.by_name(request.senders, request.codes, 32)


def with_codes(request, codes):
    """A hand-out of other codes."""
    return replace(request, senders=tuple(codes), codes=b"".join(codes.values()))


def confirmed_by(attempt, sender, reply):
    """A survivor's codes for the others, by recipient: all survivor sets here are the first so many of the roster."""
    told = attempt.names[: len(reply.codes) // 32 + 1]
    return messages.by_name([name for name in told if name != sender], reply.codes, 32)


def codes_for(attempt, name, replies):
    """The office's hand-out for one of what others confirmed, each for as many survivors as it was told of."""
    codes = {}
    for other, reply in replies.items():
        said = confirmed_by(attempt, other, reply)
        codes |= {other: said[name]} if name in said else {}
    request = Confirmations(session=attempt.session.identifier(), recipient=name, senders=(), codes=b"")
    return with_codes(request, codes)


def gives_shares(stands, request):
    """Whether a supplier gives shares on these codes."""
    try:
        stands.answer(request, None, None)
    except (ProtocolError, OrderError):
        return False
    return True


@pytest.mark.parametrize(("k", "d", "c"), [(4, 1, 0), (4, 1, 1), (5, 2, 0), (6, 1, 2), (7, 2, 2)])
def test_of_a_split_view_at_most_one_side_can_be_completed(make_attempt, make_session, k, d, c):
    """The office shows two sets that differ by one supplier; colluders confirm each set to those who were told it."""
    attempt = make_attempt(make_session(k, d, c)).until("confirmed")
    colluders, honest = attempt.names[:c], attempt.names[c:]
    whole, without = tuple(attempt.names), tuple(attempt.names[:-1])
    both_told = []
    for size in range(len(honest)):
        told = {name: (without if place < size else whole) for place, name in enumerate(honest)}
        completed = set()
        for view in (whole, without):
            believers = [*colluders, *(name for name in honest if told[name] == view)]
            asked = {n: attempt.ask(n, survivor_set(attempt, view)) for n in believers if n in view}
            replies = {name: reply for name, (_, reply) in asked.items()}
            if any(gives_shares(asked[n][0], codes_for(attempt, n, replies)) for n in asked if n in honest):
                completed.add(view)
        assert len(completed) <= 1
        both_told.append(len(completed))
    assert both_told[0] == 1  # where all honest suppliers are told the same, it is completed


def test_codes_for_another_set_are_refused_and_whose_they_are_is_said(make_attempt):
    attempt = make_attempt(None).until("confirmed")
    views = {name: NAMES[:3] if name in NAMES[1:3] else NAMES for name in NAMES}
    replies = {name: attempt.answer(name, survivor_set(attempt, view)) for name, view in views.items()}
    with pytest.raises(PeerError, match=f"{OTHER} and {THIRD} confirmed another") as refusal:
        attempt.answer(VICTIM, codes_for(attempt, VICTIM, {n: replies[n] for n in NAMES[1:]}))
    assert refusal.value.peer == OTHER


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_codes_are_refused(make_attempt, count):
    """Three are the threshold of four; the own set counts as one."""
    attempt = make_attempt().until("unmasked")
    request = attempt.requests[VICTIM]
    codes = list(codes_of(request).items())
    refused(attempt, VICTIM, with_codes(request, dict(codes[:count])), ProtocolError, "fewer")
    attempt.answer(VICTIM, with_codes(request, dict(codes[:2])))


def test_codes_that_are_not_one_for_each_named_are_refused(make_attempt):
    attempt = make_attempt().until("unmasked")
    request = attempt.requests[VICTIM]
    for wrong in (
        replace(request, codes=request.codes[:-1]),
        replace(request, codes=request.codes + bytes(32)),
        replace(request, senders=request.senders[:-1]),
        replace(request, senders=(*request.senders, OTHER), codes=request.codes + request.codes[:32]),
    ):
        refused(attempt, VICTIM, wrong, ProtocolError, "more or fewer parts")


@pytest.mark.parametrize("how", ["made up", "of another supplier", "the own sent back", "for another", "of no attempt"])
def test_a_code_that_is_not_its_senders_for_this_set_does_not_count(make_attempt, make_session, how):
    """With it there are too few: whoever does not know the key of a pair confirms nothing in its name."""
    attempt, elsewhere = (make_attempt(make_session(round_=round_)).until("unmasked") for round_ in (0, 1))
    request = attempt.requests[VICTIM]
    wrong = {
        "made up": bytes(32),
        "of another supplier": codes_of(request)[THIRD],
        "the own sent back": confirmed_by(attempt, VICTIM, attempt.replies[VICTIM])[OTHER],
        "for another": confirmed_by(attempt, OTHER, attempt.replies[OTHER])[THIRD],
        "of no attempt": codes_of(elsewhere.requests[VICTIM])[OTHER],
    }[how]
    changed = {OTHER: wrong, THIRD: codes_of(request)[THIRD]}
    refused(attempt, VICTIM, with_codes(request, changed), PeerError, f"{OTHER} confirmed another")


def test_codes_of_one_session_in_another_under_its_name(make_attempt, make_session):
    """All of the codes of the round before, or of an attempt before, handed out again: each is wrong."""
    for change in ({"round_": 1}, {"attempt": 1}, {"study": "cd" * 32}):
        old = make_attempt(make_session(**change)).until("unmasked").requests[VICTIM]
        attempt = make_attempt().until("unmasked")
        renamed = replace(old, session=attempt.session.identifier())
        refused(attempt, VICTIM, renamed, PeerError, f"{OTHER} and {THIRD} and {LAST} confirmed another")


def test_codes_for_one_supplier_are_refused_by_another(make_attempt):
    attempt = make_attempt().until("unmasked")
    refused(attempt, VICTIM, attempt.requests[OTHER], ProtocolError, "to another")
    renamed = replace(attempt.requests[OTHER], recipient=VICTIM)
    refused(attempt, VICTIM, renamed, ProtocolError, "not in it")


@pytest.mark.parametrize("asked", [VICTIM, LAST])
def test_shares_are_given_only_where_as_many_as_the_threshold_have_really_confirmed(make_attempt, make_session, asked):
    """Whichever codes are forged: with the own set, as many are right as make the threshold, or nothing is given."""
    attempt = make_attempt(make_session(5, 1, 1)).until("unmasked")
    request, others = attempt.requests[asked], [name for name in attempt.names if name != asked]
    threshold, given = attempt.session.parameters.threshold, 0
    for count in range(len(others) + 1):
        for forged in combinations(others, count):
            changed = with_codes(request, codes_of(request) | dict.fromkeys(forged, bytes(32)))
            enough = attempt.session.parameters.suppliers - count >= threshold
            assert gives_shares(attempt.rounds[asked], changed) == enough
            given += enough
            if enough:
                assert attempt.ask(asked, changed)[1].doubted == forged
    assert given == 1 + len(others)


def test_a_code_of_somebody_who_dropped_or_is_unknown_is_refused(make_attempt):
    attempt = make_attempt().until("confirmed")
    replies = {name: attempt.answer(name, survivor_set(attempt, NAMES[:3])) for name in NAMES[:3]}
    request = codes_for(attempt, VICTIM, replies)
    for name in (LAST, "s09", VICTIM):
        more = with_codes(request, {**codes_of(request), name: codes_of(request)[OTHER]})
        refused(attempt, VICTIM, more, ProtocolError, "not in it")


def test_of_each_supplier_one_kind_of_share_is_given_once(make_attempt):
    attempt = make_attempt().until("confirmed")
    replies = {name: attempt.answer(name, survivor_set(attempt, NAMES[:3])) for name in NAMES[:3]}
    request = codes_for(attempt, VICTIM, replies)
    before, unmasking = attempt.rounds[VICTIM], attempt.answer(VICTIM, request)
    held = before.state.held
    assert unmasking.seeds == b"".join(held[name][: shamir.SHARE_BYTES] for name in NAMES[:3])
    assert unmasking.recovery_keys == held[LAST][shamir.SHARE_BYTES :]
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


@pytest.mark.parametrize("step", ["shared", "masked", "confirmed", "unmasked"])
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
    both = {name: attempt.rounds[name].state.held[attempt.names[-1]] for name in attempt.names}
    held = {name: shares[: shamir.SHARE_BYTES] for name, shares in both.items()}
    for few in combinations(attempt.names, c + d):
        with pytest.raises(ProtocolError):
            shamir.join({places[name]: held[name] for name in few}, threshold)
        for guess in combinations(few, 3):  # a lower threshold does not fit the polynomial
            with contextlib.suppress(ProtocolError):
                assert shamir.join({places[name]: held[name] for name in guess}, 3) != secret
    assert shamir.join({places[name]: held[name] for name in attempt.names[:threshold]}, threshold) == secret
    heard = attempt.office.then.heard[attempt.names[-1]]
    pinned = keys.pinned(secret, attempt.session.identifier(), keys.SELF, attempt.names[-1])
    assert pinned.commitment == heard.seed_commitment
