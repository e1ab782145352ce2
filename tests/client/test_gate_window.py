# SPDX-License-Identifier: Apache-2.0
"""What counts in the window, when it is looked at again, and when it leaves."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from skyglow_client.gate import budget as budgets
from skyglow_shared.errors import BudgetError
from skyglow_shared.messages import Refusal, Share
from skyglow_shared.study import digest

#: Enough for one of the studies here (1.649), not for two (2.578).
BUDGET = 2.0


def refused(reply, code, rule):
    assert isinstance(reply, Refusal), reply
    assert (reply.code, reply.rule) == (code, rule), reply.message
    return reply.message


def later(supplier, days, *, confirmed=False):
    """Let the supplier's clock run ahead, and have a person say so."""
    now = datetime.now(UTC) + timedelta(days=days)
    ledger = dataclasses.replace(supplier.gate.ledger, clock=lambda: now)
    supplier.gate = dataclasses.replace(supplier.gate, ledger=ledger)
    if confirmed:
        ledger.accept_clock(now.date())


@pytest.fixture
def study(town):
    return town.study()


@pytest.fixture
def supplier(town, study):
    """A supplier that approved the study."""
    with town.open() as opened:
        town.approve(opened, study)
        yield opened


def test_over_budget_says_requested_and_remaining(town, study):
    town.write_policy(epsilon=1.5)
    with town.open() as supplier:
        message = refused(town.ask(supplier, town.proposal(study)), 32, "epsilon")
        assert "requests epsilon 1.649" in message
        assert "1.500 remaining of 1.5" in message
        with pytest.raises(BudgetError):
            supplier.approve(digest(study))


def test_the_window_closes_behind_a_study(town):
    town.write_policy(window_days=30, epsilon=BUDGET)
    soon = (datetime.now(UTC) + timedelta(days=10)).date()
    study, second = town.study(expires=str(soon)), town.study(name="second")
    with town.open() as supplier:
        town.approve(supplier, study)
        later(supplier, 20, confirmed=True)  # expired, but within the window
        assert town.ask(supplier, town.proposal(second)).code == 32
        later(supplier, 40)  # by a clock that nobody has confirmed
        assert town.ask(supplier, town.proposal(second)).code == 32
        later(supplier, 40, confirmed=True)
        assert town.ask(supplier, town.proposal(second)).code == 33


def test_a_study_that_may_still_be_charged_never_leaves_the_window(town):
    town.write_policy(window_days=1, epsilon=BUDGET)
    study, second = town.study(), town.study(name="second")
    with town.open() as supplier:
        town.approve(supplier, study)
        later(supplier, 100, confirmed=True)
        assert town.ask(supplier, town.proposal(second)).code == 32


def test_a_window_may_be_for_ever(town):
    town.write_policy(window_days=10**15, epsilon=BUDGET)
    with town.open() as supplier:
        town.approve(supplier, town.study())
        assert town.ask(supplier, town.proposal(town.study(name="second"))).code == 32


def test_an_expired_study_is_charged_no_more_but_repeats_what_it_sent(town):
    soon = (datetime.now(UTC) + timedelta(days=10)).date()
    study = town.study(expires=str(soon))
    with town.open() as supplier:
        town.approve(supplier, study)
        reply = supplier.handle(town.request(study))
        later(supplier, 11)
        assert supplier.handle(town.request(study)) == reply
        refused(town.ask(supplier, town.request(study, round_=1)), 22, "ExpiredError")


def test_a_policy_that_became_stricter_stops_new_rounds(town, study):
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study))
    town.write_policy(epsilon=0.5)
    with town.open() as supplier:
        refused(town.ask(supplier, town.request(study, round_=1)), 32, "epsilon")
        assert isinstance(town.ask(supplier, town.request(study)), Share)


def test_a_charge_of_an_approved_plan_composes_nothing(town, study, supplier, monkeypatch):
    """Its cost is reserved: what counts is composed anew after a person's act, once, and after no charge."""
    composed = []
    real = budgets.committed
    monkeypatch.setattr(budgets, "committed", lambda *arguments: composed.append(1) or real(*arguments))
    for round_ in range(2):
        assert isinstance(town.ask(supplier, town.request(study, round_=round_)), Share)
    assert not composed
    other = town.study(name="other")
    town.ask(supplier, town.proposal(other))
    supplier.refuse(digest(other))
    composed.clear()
    assert isinstance(town.ask(supplier, town.request(study, round_=2)), Share)
    assert isinstance(town.ask(supplier, town.request(study, "calibration")), Share)
    assert composed == [1]


def test_another_policy_is_held_against_all_that_counts(town, study, supplier):
    """What was composed for one policy is no answer to another, nor is one study's fitting to two's."""
    town.write_policy(epsilon=1.0)
    message = refused(town.ask(supplier, town.request(study)), 32, "epsilon")
    assert "no further round" in message
    assert not supplier.gate.ledger.entries("charge")
