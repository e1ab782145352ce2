# SPDX-License-Identifier: Apache-2.0
"""The clock can be anything: no study ends by it, nothing that was charged is free by it."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from skyglow_client.gate.clock import BELIEVED, believed, check_date, stamp
from skyglow_client.gate.ledger import open_ledger
from skyglow_shared import command
from skyglow_shared.errors import BudgetError, ClockError
from skyglow_shared.messages import Approval, Share
from skyglow_shared.study import digest

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAR = BELIEVED.days + 1
FOREVER = "2126-12-30"


def at(supplier, days, *, confirmed=False):
    """Set the supplier's clock so many days from now, and have a person confirm it."""
    now = datetime.now(UTC) + timedelta(days=days)
    supplier.gate = dataclasses.replace(
        supplier.gate, ledger=dataclasses.replace(supplier.gate.ledger, clock=lambda: now)
    )
    if confirmed:
        supplier.gate.ledger.accept_clock(now.date())


@pytest.fixture
def ends_soon(town):
    """A study of ten more days in a window of thirty, whose budget has no room for two."""
    town.write_policy(window_days=30, epsilon=2.0)
    return town.study(expires=str((datetime.now(UTC) + timedelta(days=10)).date()))


@pytest.fixture
def second(town):
    return town.study(name="second", expires=FOREVER)


def test_a_clock_is_believed_forwards_and_not_far():
    assert believed(NOON, NOON - timedelta(hours=1)) == NOON
    assert believed(NOON, NOON - BELIEVED) == NOON
    for back in (timedelta(seconds=1), timedelta(days=1), timedelta(days=4000)):
        assert believed(NOON - back, NOON) == NOON
    with pytest.raises(ClockError, match="accept-clock") as error:
        believed(NOON + BELIEVED + timedelta(seconds=1), NOON)
    assert error.value.exit_code == 35
    assert error.value.rule == "clock"


@pytest.mark.parametrize(("day", "right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_date_is_confirmed_give_or_take_a_time_zone(day, right):
    today = NOON.date() + timedelta(days=day)
    if right:
        check_date(NOON, today)
    else:
        with pytest.raises(ClockError):
            check_date(NOON, today)


def test_entries_never_go_back_in_time(tmp_path):
    times = iter([0, 5, 3, -400, 20])
    with_clock = lambda: NOON + timedelta(days=next(times))  # noqa: E731 - one expression, used once
    ledger = open_ledger(tmp_path / "ledger.sqlite", clock=with_clock)
    for _ in range(4):
        ledger.append("refusal", {"study": "none"})
    assert [entry.time for entry in ledger.entries()] == [stamp(NOON + timedelta(days=n)) for n in (0, 5, 5, 5, 20)]
    ledger.verify()
    ledger.close()


def test_a_jump_is_neither_written_nor_undone_by_reopening(tmp_path):
    path, far = tmp_path / "ledger.sqlite", NOON + timedelta(days=FAR)
    open_ledger(path, clock=lambda: NOON).close()
    for _ in range(2):
        ledger = open_ledger(path, clock=lambda: far)
        with pytest.raises(ClockError):
            ledger.append("refusal", {"study": "none"})
        assert len(ledger.entries()) == 1
        ledger.close()
    ledger = open_ledger(path, clock=lambda: far)
    with pytest.raises(ClockError):
        ledger.accept_clock(NOON.date())
    ledger.accept_clock(far.date())
    ledger.append("refusal", {"study": "none"})
    assert [entry.kind for entry in ledger.entries()] == ["genesis", "clock", "refusal"]
    assert ledger.confirmed == far
    ledger.close()


def test_a_person_can_put_a_time_right_that_was_too_late(tmp_path):
    """A clock ran three weeks ahead, unnoticed: its stamps stay, and from a person's word on the time is right."""
    clock = [NOON]
    ledger = open_ledger(tmp_path / "ledger.sqlite", clock=lambda: clock[0])
    clock[0] = NOON + timedelta(days=20)
    ledger.append("refusal", {"study": "none"})
    clock[0] = NOON + timedelta(days=1)
    assert ledger.now() == NOON + timedelta(days=20)
    ledger.accept_clock(clock[0].date())
    assert ledger.now() == clock[0] == ledger.confirmed
    ledger.close()


@pytest.mark.parametrize("days", [FAR, 400, 4000])
def test_forward_ends_no_study_and_charges_nothing(town, ends_soon, days):
    """At a charge: refused as long as the clock is wrong, sealed rounds repeated, and then the study goes on."""
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        sealed = supplier.handle(town.request(ends_soon))
        at(supplier, days)
        refusal = town.ask(supplier, town.request(ends_soon, round_=1))
        assert (refusal.code, refusal.rule) == (35, "clock")
        assert supplier.handle(town.request(ends_soon)) == sealed
        assert len(supplier.gate.ledger.entries("charge")) == 1
        at(supplier, 0)
        assert isinstance(town.ask(supplier, town.request(ends_soon, round_=1)), Share)


@pytest.mark.parametrize("days", [-4000, -400, 1, 11, FAR - 1, FAR, 400, 4000])
def test_no_clock_frees_a_charge(town, ends_soon, second, days):
    """At an approval: whatever the clock says, the second study does not fit."""
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        assert isinstance(town.ask(supplier, town.request(ends_soon)), Share)
        assert town.ask(supplier, town.proposal(second)).rule == "epsilon"
        at(supplier, days)
        assert town.ask(supplier, town.proposal(second)).rule in {"epsilon", "clock"}
        with pytest.raises((BudgetError, ClockError)):
            supplier.approve(digest(second))
        at(supplier, 0)
        assert town.ask(supplier, town.proposal(second)).rule == "epsilon"


def test_forward_and_back_again_frees_nothing(town, ends_soon, second):
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        for days in (400, 0, 31, -31, 62, 0):
            at(supplier, days)
            assert town.ask(supplier, town.proposal(second)).rule in {"epsilon", "clock"}


def test_small_steps_free_nothing(town, ends_soon, second):
    """A year in steps that are each believed, with the office's proposals as entries: the window stays where it was."""
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        for step in range(1, 14):
            at(supplier, 30 * step)
            new = town.study(name=f"step-{step}", expires=FOREVER)
            assert town.ask(supplier, town.proposal(new)).rule == "epsilon"
        assert supplier.gate.ledger.now() > datetime.now(UTC) + timedelta(days=380)
        assert town.ask(supplier, town.proposal(second)).rule == "epsilon"


def test_a_person_frees_what_is_over_and_old(town, ends_soon, second):
    """Idle for months, in truth: one command, on record, and only what is expired and older than the window goes."""
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        for days, rule in ((12, "epsilon"), (29, "epsilon"), (120, "")):
            at(supplier, days, confirmed=True)
            reply = town.ask(supplier, town.proposal(second))
            assert reply.rule == rule or (not rule and reply.rule == "approval")
        supplier.approve(digest(second))
        assert isinstance(town.ask(supplier, town.proposal(second)), Approval)


def test_a_date_taken_back_counts_again_at_the_next_charge(town, ends_soon, second):
    """The wrong date was confirmed and a second study approved in the room it made: with the right one both stop."""
    with town.open() as supplier:
        town.approve(supplier, ends_soon)
        at(supplier, 120, confirmed=True)
        town.approve(supplier, second)
        assert isinstance(town.ask(supplier, town.request(second)), Share)
        at(supplier, 0, confirmed=True)
        assert town.ask(supplier, town.request(second, round_=1)).rule == "epsilon"
        assert town.ask(supplier, town.request(ends_soon)).rule == "epsilon"


def test_the_command_wants_the_date_from_a_person(town, capsys):
    today = datetime.now(UTC).date()
    words = ("supplier", "ledger", "accept-clock", "--folder", str(town.folder))
    assert command.main([*words, "2020-01-01"]) == 35
    assert command.main([*words, str(today)]) == 0
    assert f"confirmed at {today}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main([*words])
    with town.open() as supplier:
        assert [entry.kind for entry in supplier.gate.ledger.entries()] == ["genesis", "clock"]
