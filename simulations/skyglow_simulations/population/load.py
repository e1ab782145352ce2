# SPDX-License-Identifier: Apache-2.0
"""Half-hourly electricity of homes, driven by who is at home and awake.

kWh = standing base + lighting + screens + cooking + washing + electric heating, each with its own spread between homes
and between days. The spread is what makes the models' job as hard as it is with real homes.
"""

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.households import Households
from skyglow_simulations.population.presence import SLOTS, Presence

_HOURS = (np.arange(SLOTS, dtype=np.float32) + 0.5) / 2


def simulate(
    households: Households, presence: Presence, kinds: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Simulate kWh [homes, days, 48] for the homes of one area, rounded to a watt-hour."""
    active = presence.active.astype(np.float32)
    homes, days, _ = active.shape
    awake = active > 0
    own = _lognormal(rng, (homes, 1, 1), p.HOME_LOG_SD) * np.float32(np.exp(p.AREA_LOG_SD * rng.standard_normal()))
    own = own * _lognormal(rng, (homes, days, 1), p.DAY_LOG_SD)
    crowd = active ** np.float32(p.CROWD_POWER)
    kwh = _base(households, days, rng)
    dark = (np.clip(p.SUNRISE + 0.8 - _HOURS, 0, 1) + np.clip(_HOURS - p.SUNSET + 0.8, 0, 1)).astype(np.float32)
    kwh += own * p.LIGHT * _lognormal(rng, (homes, 1, 1), 0.6) * dark * crowd
    older = (households.composition <= 1) ^ (rng.random(homes) < p.HABIT_MIX)
    day = np.where(older, p.HABITS_OLDER.day_screens, p.HABITS_OTHER.day_screens)[:, None, None]
    evening = (day + (1 - day) / (1 + np.exp(-(_HOURS - 17.5) / 1.2))).astype(np.float32)
    kwh += own * p.SCREEN * _lognormal(rng, (homes, 1, 1), 0.6) * evening * crowd
    kwh += own * _events(_meal_chance(older, rng) * awake, p.COOK_KWH, crowd, rng)
    kwh += own * _events(_wash_chance(households, older, kinds, rng) * awake, p.WASH_KWH, crowd, rng)
    kwh += _heating(homes, days, presence, rng)
    rounded: NDArray[np.float32] = np.round(np.maximum(kwh, np.float32(0)), 3).astype(np.float32, copy=False)
    return rounded


def _base(households: Households, days: int, rng: np.random.Generator) -> NDArray[np.float32]:
    homes = len(households.size)
    level = p.BASE_MEDIAN * _lognormal(rng, (homes, 1, 1), p.BASE_LOG_SD)
    level = level + np.float32(p.BASE_PER_PERSON) * households.size.astype(np.float32)[:, None, None]
    return level * rng.standard_gamma(p.FRIDGE_SHAPE, (homes, days, SLOTS), np.float32) / np.float32(p.FRIDGE_SHAPE)


def _meal_chance(older: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Chance [homes, 1, 48] of cooking in a half-hour with somebody awake: each home at its own hours."""
    chance = np.zeros((len(older), SLOTS), np.float32)
    for own, others in zip(p.HABITS_OLDER.meals, p.HABITS_OTHER.meals, strict=True):
        hour, spread, peak = np.where(older[:, None], np.array(own, np.float32), np.array(others, np.float32)).T[
            ..., None
        ]
        shift = p.HABIT_SD_HOURS * rng.standard_normal((len(older), 1), np.float32)
        liking = _lognormal(rng, (len(older), 1), 0.5)
        chance += liking * peak * np.exp(-0.5 * ((_HOURS - hour - shift) / spread) ** 2)
    return np.minimum(chance, 0.9)[:, None, :]


def _wash_chance(
    households: Households, older: NDArray[np.bool_], kinds: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Chance [homes, days, 48] of starting a wash."""
    homes = len(older)
    hour, spread = (
        np.where(older[:, None], p.HABITS_OLDER.wash, p.HABITS_OTHER.wash).astype(np.float32).T[..., None, None]
    )
    centre = hour + spread * rng.standard_normal((homes, 1, 1), np.float32)
    often = p.WASH_CHANCE * households.size.astype(np.float32)[:, None, None] ** np.float32(p.WASH_POWER)
    chance = often * _lognormal(rng, (homes, 1, 1), 0.6) * np.exp(-0.5 * ((_HOURS - centre) / 4.2) ** 2)
    weekend = np.where(kinds > 0, 1.4, 1.0).astype(np.float32)
    return np.minimum(chance * weekend[None, :, None], 0.9)


def _events(
    chance: NDArray[np.float32], mean_kwh: float, crowd: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Energy of events that last a half-hour with some in the next."""
    happens = rng.random(chance.shape, np.float32) < chance
    kwh = np.zeros(chance.shape, np.float32)
    size = mean_kwh * _lognormal(rng, (int(happens.sum()),), p.EVENT_LOG_SD) / np.float32(np.exp(p.EVENT_LOG_SD**2 / 2))
    kwh[happens] = size * (0.4 + 0.6 * crowd[happens])
    flat = kwh.reshape(len(kwh), -1)
    flat[:, 1:] += 0.35 * flat[:, :-1]
    return kwh * np.float32(0.75)


def _heating(homes: int, days: int, presence: Presence, rng: np.random.Generator) -> NDArray[np.float32]:
    """Resistive heating in a few homes, night storage and timers in others."""
    heats = rng.random((homes, 1, 1)) < p.ELECTRIC_HEATING_SHARE
    storage = rng.random((homes, 1, 1)) < 0.5
    timer = (rng.random((homes, 1, 1)) < p.TIMER_SHARE) & ~heats
    cold = np.clip(1 + 0.45 * rng.standard_normal((1, days, 1), np.float32), 0.1, 2.2)
    strength = p.HEATING_KWH * _lognormal(rng, (homes, 1, 1), 0.5)
    night = ((_HOURS >= 0.5) & (_HOURS < 6.5)).astype(np.float32)
    direct = presence.occupied & ((_HOURS >= 6) & (_HOURS < 22.5))
    hour = rng.integers(0, 9, (homes, 1, 1))
    used = rng.random((homes, days, 1)) < 0.45
    timed = (np.arange(SLOTS) // 3 == hour // 3) & used & timer
    kwh: NDArray[np.float32] = heats * strength * cold * np.where(storage, 1.4 * night, 0.55 * direct)
    return kwh.astype(np.float32) + 0.28 * timed.astype(np.float32)


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...], log_sd: float) -> NDArray[np.float32]:
    return np.exp(np.float32(log_sd) * rng.standard_normal(shape, np.float32))
