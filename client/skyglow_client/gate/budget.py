# SPDX-License-Identifier: Apache-2.0
"""What studies cost together, and what the policy leaves.

An approved study counts with its whole plan from the moment it is approved, so that a round is never refused for want
of budget. One study by itself is composed by PLD; several by their Rényi total, for later ones may have been chosen in
the light of earlier results.
"""

import datetime
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.policy import Policy
from skyglow_shared.errors import BudgetError
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import Cost, Event, adaptive_cost, plan, study_cost
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study, digest

_SLACK = 1 + 1e-9
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


def committed(ledger: Ledger, policy: Policy, now: datetime.datetime) -> dict[str, Plan]:
    """Events that count in the policy's window, by study.

    A study counts with its whole plan while it is approved, and with what was charged once its approval was withdrawn.
    It leaves the window when it has expired and its approval and its last charge are older than the window.
    """
    since = (now - datetime.timedelta(days=policy.window_days)).isoformat(timespec="seconds")
    recent = set(ledger.charges(since=since))
    charged = ledger.charges()
    counted: dict[str, Plan] = {}
    for identity, approved in _approvals(ledger).items():
        canonical = ledger.study(identity)
        if canonical is None:
            continue
        study = decode_study(canonical)
        if ledger.decision(identity) != "approval":
            if identity in recent:
                counted[identity] = tuple(charged[identity])
        elif approved >= since or identity in recent or now.date() <= study.expires:
            counted[identity] = plan(study, all_round_numbers(study))
    return counted


def total(plans: Collection[Plan], delta: float) -> float:
    """Epsilon of some studies together: PLD for one, the Rényi total for several."""
    if len(plans) > 1:
        return adaptive_cost([event for events in plans for event in events], delta)
    return sum(study_cost(events, delta).epsilon_upper for events in plans)


def of_study(policy: Policy, ledger: Ledger, study: Study, now: datetime.datetime) -> Budget:
    """Compute what a study would cost beside all that counts already."""
    plans = committed(ledger, policy, now)
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
            "ask the office for less, or wait until older studies leave the window",
            rule="epsilon",
        )


def _approvals(ledger: Ledger) -> dict[str, str]:
    """When each study was last approved, by digest."""
    return {msgspec.json.decode(entry.body)["study"]: entry.time for entry in ledger.entries("approval")}
