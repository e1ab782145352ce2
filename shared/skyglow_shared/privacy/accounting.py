# SPDX-License-Identifier: Apache-2.0
"""What a study costs: events as plain data, composed by privacy loss distributions, both ends of the bracket.

The neighbouring relation is always "add or remove one household". Ledgers store events, not epsilons, so that a better
accountant improves old accounts. Within one study, whose plan is fixed before it starts, PLD composition holds; across
studies that were chosen after earlier results were seen, only the Rényi total is a guarantee.

A study may keep its panel apart from all other homes. A household is then in the blocks of one or of the other, so that
adding or removing it costs the greater of the two, not their sum (parallel composition, McSherry 2009). It may be of
one study's panel and not of another's: over studies the greater of each is added, order by order. Samples are drawn
among all homes, before anyone asks who is of the panel. Each home's chance is its own, so that others' are what they
are with or without it, but for a cap on samples: hence delta is less by the distances of all events, of both cohorts.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant, rdp_privacy_accountant
from numpy.typing import NDArray

from skyglow_shared.privacy import allocation
from skyglow_shared.privacy.noise import DISTANCE_PER_SAMPLE
from skyglow_shared.privacy.sampling import Event, sampler_of
from skyglow_shared.study import Study

__all__ = ["LARGEST_EPSILON", "Cost", "Event", "adaptive_cost", "merged", "plan", "study_cost", "taken_off_delta"]

#: No study may ask for more; the samplers' distance to the ideal is charged as if every study asked for this.
LARGEST_EPSILON = 20

#: A plan that costs more than this by its Rényi total is costed by that alone: it is far beyond what any study may ask,
#: and to compose it exactly takes the more time and memory the dearer it is.
_HOPELESS = 3 * LARGEST_EPSILON
_LEAST_NOISE = 0.1  # the grids of `allocation` are for more

_INTERVAL = 1e-4
_ORDERS = (*range(2, 64), *range(64, 257, 8))  # whole orders have exact, stable formulas under sampling


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A privacy cost: the true epsilon at `delta` lies between the two ends."""

    epsilon_lower: float
    epsilon_upper: float
    delta: float


def plan(study: Study, numbers: dict[str, int]) -> tuple[Event, ...]:
    """All events of a study, one for each phase. `numbers` gives each phase's noised numbers a round."""
    return tuple(sampler_of(study, phase, numbers[phase.name]).events(phase.rounds) for phase in study.phases)


def merged(events: Iterable[Event]) -> tuple[Event, ...]:
    """Add up the counts of equal events, in order of first appearance; what counts nothing is left out."""
    counts: dict[Event, int] = {}
    for event in events:
        one = msgspec.structs.replace(event, count=1)
        counts[one] = counts.get(one, 0) + event.count
    return tuple(msgspec.structs.replace(event, count=count) for event, count in counts.items() if count)


def study_cost(events: Iterable[Event], delta: float) -> Cost:
    """Compose the events of one fixed plan by PLD.

    Parameters
    ----------
    events : iterable of Event
    delta : float
        Target; what the samplers' distance to the ideal takes of it is subtracted first.

    Returns
    -------
    Cost
        `epsilon_upper` is the guarantee (pessimistic rounding), `epsilon_lower` the optimistic end of the bracket. Of a
        plan far beyond what any study may ask the two are the Rényi total and zero.

    Notes
    -----
    Koskela et al. 2020; Doroshenko et al. 2022 (`dp_accounting.pld`). The discrete Gaussian is accounted as the
    continuous one: its Rényi divergences are no larger (Canonne et al. 2020, Theorem 4), and at 65,536 steps the
    two curves differ by less than the discretisation of the PLD. Epochs of a random allocation: `privacy.allocation`.
    """
    return _study_cost(merged(events), delta)


@lru_cache(maxsize=64)
def _study_cost(events: tuple[Event, ...], delta: float) -> Cost:
    if not events:
        return Cost(0.0, 0.0, delta)
    if (remaining := _remaining_delta(events, delta)) <= 0:
        return Cost(math.inf, math.inf, delta)
    if (bound := adaptive_cost([events], delta)) > _HOPELESS:
        return Cost(0.0, bound, delta)
    lower, upper = (
        max(_pld(own, pessimistic).get_epsilon_for_delta(remaining) for own in _of_one_home(events))
        for pessimistic in (False, True)
    )
    return Cost(float(lower), float(upper), delta)


def adaptive_cost(studies: Iterable[Iterable[Event]], delta: float) -> float:
    """Epsilon of studies chosen one after another in the light of earlier results: the Rényi total.

    Parameters
    ----------
    studies : iterable of iterables of Event
        The events of each.
    delta : float
    """
    plans = [plan for events in studies if (plan := merged(events))]
    if not plans:
        return 0.0
    divergences, left_out = np.zeros(len(_ORDERS)), 0.0
    for events in plans:
        divergences += np.max([_renyi_total(own) for own in _of_one_home(events)], axis=0)
        left_out += sum(event.count * _renyi(event)[1] for event in events)
    if (remaining := _remaining_delta([event for events in plans for event in events], delta) - left_out) <= 0:
        return math.inf
    epsilon, _ = rdp_privacy_accountant.compute_epsilon(_ORDERS, divergences, remaining)
    return float(epsilon)


def _of_one_home(events: Sequence[Event]) -> list[tuple[Event, ...]]:
    """The events of one study that one home may be in: a list for each cohort it may be of."""
    cohorts = {event.cohort for event in events} - {""} or {""}
    return [tuple(event for event in events if event.cohort in ("", cohort)) for cohort in sorted(cohorts)]


def _renyi_total(events: Sequence[Event]) -> NDArray[np.float64]:
    """Divergences at `_ORDERS` of some events together."""
    return np.sum([event.count * _renyi(event)[0] for event in events], axis=0)


@lru_cache(maxsize=256)
def _renyi(event: Event) -> tuple[NDArray[np.float64], float]:
    """Rényi divergences of one release at `_ORDERS`, and the delta that they leave out.

    An epoch's is no greater than that of one release that is not drawn at random: whichever round it is, is known then.
    """
    if event.epoch > 1 and event.noise_multiplier < _LEAST_NOISE:
        return np.array(_ORDERS) / (2 * event.noise_multiplier**2), 0.0
    if event.epoch > 1:
        return allocation.renyi(event.noise_multiplier, event.epoch, np.array(_ORDERS, dtype=np.float64))
    accountant = RdpAccountant(_ORDERS)
    accountant.compose(_dp_event(event))
    return accountant._rdp, 0.0  # the pinned release gives them in no other way


def taken_off_delta(distance: float) -> float:
    """What a total variation between mechanisms and what they are accounted as takes of delta, at any epsilon."""
    return distance * (1 + math.exp(LARGEST_EPSILON))


def _remaining_delta(events: Sequence[Event], delta: float) -> float:
    distance = sum(event.count * (event.numbers * DISTANCE_PER_SAMPLE + event.distance) for event in events)
    return delta - taken_off_delta(distance)


def _pld(events: tuple[Event, ...], pessimistic: bool) -> privacy_loss_distribution.PrivacyLossDistribution:
    total = None
    for event in events:
        single = _single(event, pessimistic)
        composed = single.self_compose(event.count) if event.count > 1 else single
        total = composed if total is None else total.compose(composed)
    return total


def _single(event: Event, pessimistic: bool) -> privacy_loss_distribution.PrivacyLossDistribution:
    if event.epoch > 1:
        return allocation.losses(event.noise_multiplier, event.epoch, _INTERVAL, pessimistic=pessimistic)
    return privacy_loss_distribution.from_gaussian_mechanism(
        event.noise_multiplier,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,  # which has no optimistic form
        value_discretization_interval=_INTERVAL,
        sampling_prob=event.sampling_rate,
    )


def _dp_event(event: Event) -> dp_event.DpEvent:
    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_rate == 1:
        return gaussian
    return dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian)
