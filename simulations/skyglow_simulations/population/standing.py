# SPDX-License-Identifier: Apache-2.0
"""What runs without anybody: standby, compressors that cycle, timers."""

import numpy as np

from skyglow_simulations.population import appliances
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.appliances import Floats, lognormal
from skyglow_simulations.population.presence import SLOTS


def base(level: Floats, people: Floats, days: int, rng: np.random.Generator) -> Floats:
    """Standby and cold appliances: kWh [homes, days, 48]; `level` and `people` are by home."""
    homes = len(level)
    always = q.ALWAYS_MEDIAN * lognormal(rng, (homes,), q.ALWAYS_LOG_SD)
    always = always * level ** np.float32(q.ALWAYS_WITH_HOME) * people ** np.float32(q.ALWAYS_WITH_PEOPLE)
    off = rng.random(homes) < q.SWITCHES_OFF
    always = np.where(off, rng.uniform(0, q.SWITCHES_OFF_MOST, homes), always).astype(np.float32)
    kwh = np.repeat(always[:, None], days * SLOTS, axis=1)
    for owners in (1.0, q.SECOND_FRIDGE):
        kwh += _compressor((rng.random(homes) < owners).astype(np.float32), days, rng)
    return kwh.reshape(homes, days, SLOTS)


def _compressor(owned: Floats, days: int, rng: np.random.Generator) -> Floats:
    """One cold appliance a home, on for the first part of each cycle: kWh [homes, half-hours]."""
    homes = len(owned)
    duty = rng.uniform(*q.FRIDGE_DUTY, (homes, 1)).astype(np.float32)
    pace = 1 / (np.float32(q.FRIDGE_PERIOD) * lognormal(rng, (homes, 1), q.FRIDGE_PERIOD_LOG_SD))  # cycles a half-hour
    phase = np.empty((homes, days * SLOTS + 1), np.float32)
    phase[:, 0] = rng.random(homes, np.float32)
    rng.standard_normal(dtype=np.float32, out=(steps := np.empty((homes, days * SLOTS), np.float32)))
    steps *= np.float32(q.FRIDGE_JITTER)
    steps += 1
    np.maximum(steps, np.float32(0.1), out=steps)
    steps *= pace
    np.cumsum(steps, axis=1, out=phase[:, 1:])
    phase[:, 1:] += phase[:, :1]
    cycles = np.floor(phase)
    phase -= cycles
    np.minimum(phase, duty, out=phase)
    cycles *= duty
    phase += cycles  # cycles that the compressor has run since the start
    mean = q.FRIDGE_KWH * owned[:, None] * lognormal(rng, (homes, 1), q.FRIDGE_LOG_SD)
    return (np.diff(phase, axis=1) * (mean / (duty * pace))).astype(np.float32, copy=False)


def add_timers(kwh: Floats, rng: np.random.Generator) -> None:
    """Add what starts by the clock to kWh [homes, days, 48], at the same time on each day that it does."""
    homes, days, _ = kwh.shape
    night = rng.random(homes) < q.TIMER_NIGHT
    hour = np.where(night, rng.uniform(*q.TIMER_NIGHT_HOURS, homes), rng.uniform(*q.TIMER_DAY_HOURS, homes))
    often = np.where(rng.random(homes) < q.TIMER_OWNERS, rng.beta(2, 1, homes), 0)
    home, day = np.nonzero(rng.random((homes, days)) < often[:, None])
    at = np.maximum(np.floor(2 * hour[home]).astype(np.int64) + day * SLOTS, 0) + home * days * SLOTS
    hours = q.TIMER_HOURS * lognormal(rng, (homes,), q.TIMER_HOURS_LOG_SD)[home]
    hours = hours * lognormal(rng, (len(home),), q.TIMER_HOURS_LOG_SD / 2)
    power = np.full(len(home), q.TIMER_KW, np.float32)
    appliances.run(kwh, at, np.zeros(len(home), np.float32), power, hours, rng)
