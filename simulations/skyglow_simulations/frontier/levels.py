# SPDX-License-Identifier: Apache-2.0
"""The same study at another level of privacy: every block's noise multiplied by one factor."""

import math
from collections.abc import Callable

import msgspec

from skyglow_shared.errors import StudyError
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Block, Study

_CLOSE = 0.005  # how far below its target a study's epsilon may stay, relatively
_TRIES = 30
_LEAST, _MOST = 0.1, 1000.0  # what a study's noise multipliers may be


def factor(study: Study, epsilon: float) -> float:
    """By how much to multiply a study's noise for it to cost `epsilon`, and hardly less.

    Parameters
    ----------
    study : Study
    epsilon : float
        Of the whole study at its own delta, by PLD.

    Returns
    -------
    float
        With it the study's plan costs at most `epsilon`, and more than 99.5 % of it.

    Raises
    ------
    StudyError
        No noise multipliers within a study's limits have that cost.

    Notes
    -----
    The split of the budget between blocks stays. For Gaussian mechanisms epsilon falls about as a power of the noise;
    each try follows the line through the two last, on logarithms, between bounds that close in.
    """
    low, high = _bounds(study)
    place, slope = 0.0, -1.0
    known: tuple[float, float] | None = None
    for _ in range(_TRIES):
        cost = _cost(_scaled(study, math.exp(place)))
        if epsilon * (1 - _CLOSE) < cost <= epsilon:
            return math.exp(place)
        low, high = (place, high) if cost > epsilon else (low, place)
        if known is not None and known[0] != place and known[1] != cost:
            slope = min(-0.3, math.log(cost / known[1]) / (place - known[0]))
        known = place, cost
        place += math.log(epsilon * (1 - _CLOSE / 2) / cost) / slope
        if not low < place < high:
            place = (low + high) / 2
    raise StudyError(
        f"no noise within a study's limits makes this one cost epsilon {epsilon:g}; ask for another level, or change "
        "how the study splits its noise"
    )


def scaled(study: Study, factor: float, epsilon: float) -> Study:
    """The study with its noise multiplied by a factor, and `epsilon` as what it may cost."""
    return msgspec.structs.replace(_scaled(study, factor), epsilon=epsilon)


def without_noise(study: Study) -> Study:
    """The study with as little noise as one may have: a tenth of what one home can add, on every number.

    What a phase's blocks share a bound for is noise: without it each has its own bound alone.
    """
    return _with_noise(study, common=lambda _: 0.0, own=lambda _: _LEAST)


def _cost(study: Study) -> float:
    return study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper


def _bounds(study: Study) -> tuple[float, float]:
    """Logarithms of the least and greatest factor that keep every multiplier within its limits."""
    common = [phase.noise_multiplier for phase in study.phases if phase.noise_multiplier]
    multipliers = common + [block.noise_multiplier for block in study.blocks]
    return math.log(_LEAST / min(multipliers)), math.log(_MOST / max(multipliers))


def _scaled(study: Study, factor: float) -> Study:
    def louder(multiplier: float) -> float:
        return min(max(multiplier * factor, _LEAST), _MOST)

    return _with_noise(study, common=lambda multiplier: louder(multiplier) if multiplier else 0.0, own=louder)


def _with_noise(study: Study, *, common: Callable[[float], float], own: Callable[[float], float]) -> Study:
    """The study with the multipliers of every phase's common bound, and of every block, changed."""
    phases = (msgspec.structs.replace(phase, noise_multiplier=common(phase.noise_multiplier)) for phase in study.phases)
    held = msgspec.structs.replace(study, phases=tuple(phases))
    return mapped(held, lambda block: msgspec.structs.replace(block, noise_multiplier=own(block.noise_multiplier)))


def mapped(study: Study, change: Callable[[Block], Block]) -> Study:
    """The study with every block changed."""
    phases = (
        msgspec.structs.replace(phase, blocks=tuple(change(block) for block in phase.blocks)) for phase in study.phases
    )
    return msgspec.structs.replace(study, phases=tuple(phases))
