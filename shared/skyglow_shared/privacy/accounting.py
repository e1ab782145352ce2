# SPDX-License-Identifier: Apache-2.0
"""What a study costs: events as plain data, composed by privacy loss distributions, both ends of the bracket.

The neighbouring relation is always "add or remove one household". Ledgers store events, not epsilons, so that a better
accountant improves old accounts. Within one study, whose plan is fixed before it starts, PLD composition holds; across
studies that were chosen after earlier results were seen, only the Rényi total is a guarantee.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant

from skyglow_shared.privacy.noise import DISTANCE_PER_SAMPLE
from skyglow_shared.study import Phase, Study

#: No study may ask for more; the samplers' distance to the ideal is charged as if every study asked for this.
LARGEST_EPSILON = 20

_INTERVAL = 1e-4
_ORDERS = (*range(2, 64), *range(64, 257, 8))  # whole orders have exact, stable formulas under sampling


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`count` releases, each a Gaussian mechanism on a Poisson sample of the households.

    Attributes
    ----------
    noise_multiplier : float
        Noise over sensitivity; several blocks of one round are one mechanism, see `round_event`.
    sampling_rate : float
        Probability that a household is in the sample; 1 = no sampling.
    count : int
        How often it is released.
    numbers : int
        How many noised numbers one release holds: each adds its sampler's distance to delta.
    """

    noise_multiplier: float
    sampling_rate: float
    count: int
    numbers: int


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A privacy cost: the true epsilon at `delta` lies between the two ends."""

    epsilon_lower: float
    epsilon_upper: float
    delta: float


def round_event(phase: Phase, numbers: int) -> Event:
    """The event of one round of a phase.

    The blocks of a round are computed on the same sample, so they are one Gaussian mechanism: multipliers combine as
    1/z² = Σ 1/zᵢ².
    """
    combined = sum(block.noise_multiplier**-2 for block in phase.blocks) ** -0.5
    return Event(combined, phase.sampling_rate, 1, numbers)


def plan(study: Study, numbers: dict[str, int]) -> tuple[Event, ...]:
    """All events of a study, one for each phase. `numbers` gives each phase's noised numbers a round."""
    events = (round_event(phase, numbers[phase.name]) for phase in study.phases)
    return tuple(
        msgspec.structs.replace(event, count=phase.rounds) for phase, event in zip(study.phases, events, strict=True)
    )


def merged(events: Iterable[Event]) -> tuple[Event, ...]:
    """Add up the counts of equal events, in order of first appearance."""
    counts: dict[tuple[float, float, int], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sampling_rate, event.numbers)
        counts[key] = counts.get(key, 0) + event.count
    return tuple(Event(z, q, count, numbers) for (z, q, numbers), count in counts.items())


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
        `epsilon_upper` is the guarantee (pessimistic rounding), `epsilon_lower` the optimistic end of the bracket.

    Notes
    -----
    Koskela et al. 2020; Doroshenko et al. 2022 (`dp_accounting.pld`). The discrete Gaussian is accounted as the
    continuous one: its Rényi divergences are no larger (Canonne et al. 2020, Theorem 4), and at 65,536 steps the
    two curves differ by less than the discretisation of the PLD.
    """
    return _study_cost(merged(events), delta)


@lru_cache(maxsize=64)
def _study_cost(events: tuple[Event, ...], delta: float) -> Cost:
    if not events:
        return Cost(0.0, 0.0, delta)
    remaining = _remaining_delta(events, delta)
    lower, upper = (_pld(events, pessimistic).get_epsilon_for_delta(remaining) for pessimistic in (False, True))
    return Cost(float(lower), float(upper), delta)


def adaptive_cost(events: Iterable[Event], delta: float) -> float:
    """Epsilon of events chosen one after another in the light of earlier results: the Rényi total."""
    events = merged(events)
    if not events:
        return 0.0
    accountant = RdpAccountant(_ORDERS)
    for event in events:
        accountant.compose(_dp_event(event), event.count)
    return float(accountant.get_epsilon(_remaining_delta(events, delta)))


def _remaining_delta(events: tuple[Event, ...], delta: float) -> float:
    distance = sum(event.count * event.numbers for event in events) * DISTANCE_PER_SAMPLE
    return delta - distance * (1 + math.exp(LARGEST_EPSILON))


def _pld(events: tuple[Event, ...], pessimistic: bool) -> privacy_loss_distribution.PrivacyLossDistribution:
    total = None
    for event in events:
        single = privacy_loss_distribution.from_gaussian_mechanism(
            event.noise_multiplier,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,  # which has no optimistic form
            value_discretization_interval=_INTERVAL,
            sampling_prob=event.sampling_rate,
        )
        composed = single.self_compose(event.count) if event.count > 1 else single
        total = composed if total is None else total.compose(composed)
    return total


def _dp_event(event: Event) -> dp_event.DpEvent:
    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_rate == 1:
        return gaussian
    return dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian)
