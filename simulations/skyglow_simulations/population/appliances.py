# SPDX-License-Identifier: Apache-2.0
"""What people start: when, for how long and at what power, as kWh by half-hour.

A start is drawn in each half-hour with somebody up, with a chance of the home's own: its hours, how often, and whether
it owns the thing at all are habits that last. What runs is a block of constant power that may reach into the next
half-hours, but never into another home's.
"""

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.presence import SLOTS

_HOURS = (np.arange(SLOTS, dtype=np.float32) + 0.5) / 2
_WAKING = 34.0  # half-hours of a day that people are up
_MOST = 0.95
Floats = NDArray[np.float32]
Places = NDArray[np.int64]


def lognormal(rng: np.random.Generator, shape: tuple[int, ...], log_sd: float) -> Floats:
    """Draws with median 1."""
    return np.exp(np.float32(log_sd) * rng.standard_normal(shape, np.float32))


def add(  # noqa: PLR0917 - five aligned arrays and a generator
    kwh: Floats,
    appliance: q.Appliance,
    rate: Floats,
    earlier: Floats,
    up: Floats,
    weekend: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Add one appliance to kWh [homes, days, 48].

    Parameters
    ----------
    rate : ndarray, shape (homes,)
        Starts a day by a home that has it and has somebody up all day.
    earlier : ndarray, shape (homes,)
        Hours by which the home's times are before others'.
    up : ndarray, shape (homes, days, 48)
        Multiplies the chance: 0 while nobody is up.
    weekend : ndarray of bool, shape (days,)
    """
    homes, days = len(kwh), kwh.shape[1]
    rate = rate * (rng.random(homes) < appliance.owners) * lognormal(rng, (homes,), q.STARTS_LOG_SD)
    chance = _chance(appliance.habit, rate.astype(np.float32), earlier, rng)[:, weekend.astype(np.int64)] * up
    at = np.flatnonzero(rng.random(chance.shape, np.float32) < chance)
    own = lognormal(rng, (homes,), appliance.own_log_sd)
    for block in appliance.blocks:
        has = rng.random(homes) < block.owners
        home = at // (days * SLOTS)
        runs = at if block.owners == block.chance == 1 else at[has[home] & (rng.random(len(at)) < block.chance)]
        hours = block.hours * own[runs // (days * SLOTS)] * lognormal(rng, (len(runs),), block.hours_log_sd)
        delay = block.after + block.within * rng.random(len(runs), np.float32)
        run(kwh, runs, delay.astype(np.float32), np.full(len(runs), block.kilowatts, np.float32), hours, rng)


def run(  # noqa: PLR0917 - four aligned arrays and a generator
    kwh: Floats, at: Places, delay: Floats, kilowatts: Floats, hours: Floats, rng: np.random.Generator
) -> None:
    """Add blocks of constant power to kWh [homes, days, 48].

    Parameters
    ----------
    at : ndarray of int64, shape (blocks,)
        Flat place of the half-hour in which each starts, at a moment drawn here.
    delay, kilowatts, hours : ndarray, shape (blocks,)
        Hours until it begins, power, hours it lasts.
    """
    flat, span = kwh.reshape(-1), kwh.shape[1] * SLOTS
    begin = 2 * delay + rng.random(len(at), np.float32)  # half-hours after the start of `at`
    end, stop = begin + 2 * hours, (at // span + 1) * span
    slot = begin.astype(np.int64)
    half = kilowatts / 2
    while len(slot):
        share = np.minimum(end, slot + 1) - np.maximum(begin, slot)
        inside = at + slot < stop
        np.add.at(flat, (at + slot)[inside], (share * half)[inside].astype(np.float32))
        more = (end > slot + 1) & inside
        at, slot, begin, end, half, stop = (values[more] for values in (at, slot + 1, begin, end, half, stop))


def _chance(habit: q.Habit, rate: Floats, earlier: Floats, rng: np.random.Generator) -> Floats:
    """Chance [homes, 2, 48] of a start in a half-hour of a weekday and of a weekend day."""
    homes, times = len(rate), len(habit.hours)
    own = habit.shift * rng.standard_normal((homes, times), np.float32) + np.array(habit.hours, np.float32)
    own -= earlier[:, None]
    liking = lognormal(rng, (homes, times), q.LIKING_LOG_SD) * np.array(habit.weights, np.float32)
    liking *= habit.regular / liking.sum(axis=1, keepdims=True)
    spread = np.float32(habit.spread) * lognormal(rng, (homes, times), q.SPREAD_LOG_SD)
    later = np.array([np.zeros(times), habit.later], np.float32)[..., None]  # [day type, time, 1]
    chance = np.full((homes, 2, SLOTS), (1 - habit.regular) / _WAKING, np.float32)
    for place in range(times):
        away = (_HOURS - own[:, place, None, None] - later[:, place]) / spread[:, place, None, None]
        area = 0.5 / (np.sqrt(2 * np.pi, dtype=np.float32) * spread[:, place])  # of the bell in a half-hour
        chance += (liking[:, place] * area)[:, None, None] * np.exp(-0.5 * away**2)
    chance *= rate[:, None, None] * np.array([1, habit.more], np.float32)[:, None]
    return np.minimum(chance, np.float32(_MOST))
