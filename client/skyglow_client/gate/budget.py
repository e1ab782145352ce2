# SPDX-License-Identifier: Apache-2.0
"""What studies cost together, and what the policy leaves.

An approved study counts with its whole plan from the moment it is approved, so that a round is never refused for want
of budget. One study by itself is composed by PLD; several by their Rényi total, for later ones may have been chosen in
the light of earlier results.
"""

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from skyglow_client.gate.clock import stamp
from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.policy import Policy
from skyglow_shared.errors import BudgetError
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import Cost, Event, adaptive_cost, plan, study_cost
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study, digest

_SLACK = 1 + 1e-9
_FOR_EVER = 365_000  # days; calendars go back no further than two thousand years
_DISPLAY = "{:.3f}"

Plan = tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """What one study would cost, in epsilon at the policy's delta.

    Attributes
    ----------
    requested : Cost
        The study's whole plan by itself, at the study's own delta.
    before, after : float
        All that counts in the window without the study, and with it.
    limit : float
        The policy's epsilon.
    """

    requested: Cost
    before: float
    after: float
    limit: float

    @property
    def remaining(self) -> float:
        """What the window leaves before the study."""
        return max(self.limit - self.before, 0.0)


def committed(ledger: Ledger, policy: Policy) -> dict[str, Plan]:
    """Events that count in the policy's window, by study.

    A study counts with its whole plan while it is approved, and with what was charged once its approval was withdrawn.
    It leaves the window when, by the date that a person confirmed last, it has expired and its approval and its last
    charge are older than the window.
    """
    confirmed = ledger.confirmed
    since = stamp(confirmed - datetime.timedelta(days=min(policy.window_days, _FOR_EVER)))
    decided = ledger.entries("approval", "refusal")
    decisions = {msgspec.json.decode(entry.body)["study"]: entry.kind for entry in decided}
    counted: dict[str, Plan] = {}
    older: list[str] = []
    for identity, (approved, expires, events) in _plans(ledger).items():
        if decisions[identity] == "approval" and (approved >= since or confirmed.date() <= expires):
            counted[identity] = events
        else:
            older.append(identity)
    if older:  # only these need every charge to be read
        recent, charged = set(ledger.charges(since=since)), ledger.charges()
        for identity in (one for one in older if one in recent):
            withdrawn = decisions[identity] != "approval"
            counted[identity] = tuple(charged[identity]) if withdrawn else _plans(ledger)[identity][2]
    return counted


def total(plans: Collection[Plan], delta: float) -> float:
    """Epsilon of some studies together: PLD for one, the Rényi total for several."""
    return _total(tuple(plans), delta)


@lru_cache(maxsize=64)
def _total(plans: tuple[Plan, ...], delta: float) -> float:
    if len(plans) > 1:
        return adaptive_cost(plans, delta)
    return sum(study_cost(events, delta).epsilon_upper for events in plans)


def of_study(policy: Policy, ledger: Ledger, study: Study) -> Budget:
    """Compute what a study would cost beside all that counts already."""
    plans = committed(ledger, policy)
    events = plan(study, all_round_numbers(study))
    others = {identity: other for identity, other in plans.items() if identity != digest(study)}
    return Budget(
        study_cost(events, study.delta),
        total(list(others.values()), policy.delta),
        total([*others.values(), events], policy.delta),
        policy.epsilon,
    )


def check(budget: Budget, study: Study) -> None:
    """Raise BudgetError if the study costs more than it says, or more than the policy leaves."""
    requested = _DISPLAY.format(budget.requested.epsilon_upper)
    if budget.requested.epsilon_upper > study.epsilon * _SLACK:
        raise BudgetError(
            f"the study's plan costs epsilon {requested}, more than the {study.epsilon:g} it states; ask the office "
            "for a study with fewer rounds, more noise, or a true statement",
            rule="study_epsilon",
        )
    if budget.after > budget.limit * _SLACK:
        raise BudgetError(
            f"the study requests epsilon {requested} and the policy has {_DISPLAY.format(budget.remaining)} remaining "
            f"of {budget.limit:g} (with it, all studies of the window would come to {_DISPLAY.format(budget.after)}); "
            "ask the office for less, or wait until older studies leave the window, which they do by a date that a "
            "person here confirms: `skyglow supplier ledger accept-clock`",
            rule="epsilon",
        )


def check_committed(policy: Policy, ledger: Ledger) -> None:
    """Raise BudgetError if what was approved already is more than the policy allows, as it may have become since."""
    spent = total(list(committed(ledger, policy).values()), policy.delta)
    if spent > policy.epsilon * _SLACK:
        raise BudgetError(
            f"all studies of the window come to epsilon {_DISPLAY.format(spent)}, more than the policy's "
            f"{policy.epsilon:g}; no further round of any is answered until some leave the window",
            rule="epsilon",
        )


def _plans(ledger: Ledger) -> dict[str, tuple[str, datetime.date, Plan]]:
    """When each study was last approved, its last day and its whole plan, by digest."""
    found = {identity: (time, ledger.study(identity)) for identity, time in _approvals(ledger).items()}
    return {identity: (time, *_plan(canonical)) for identity, (time, canonical) in found.items() if canonical}


@lru_cache(maxsize=4096)
def _plan(canonical: bytes) -> tuple[datetime.date, Plan]:
    study = decode_study(canonical)
    return study.expires, plan(study, all_round_numbers(study))


def _approvals(ledger: Ledger) -> dict[str, str]:
    """When each study was last approved, by digest."""
    return {msgspec.json.decode(entry.body)["study"]: entry.time for entry in ledger.entries("approval")}
