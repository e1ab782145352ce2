# SPDX-License-Identifier: Apache-2.0
"""Half-hourly electricity of homes, driven by who is at home and awake.

kWh = standby and compressors + timers + screens and light while somebody is up + what people start + heating, cars and
panels. Homes differ for good in level, hours and what they own; the spread, and how regular they are, is what makes
the models' job as hard as it is with real homes.
"""

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import COMPOSITION_CLASSES, Period
from skyglow_simulations.population import appliances, equipment, standing, weather
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.appliances import Floats, lognormal
from skyglow_simulations.population.households import Households
from skyglow_simulations.population.presence import SLOTS, Presence, day_types

_HOURS = (np.arange(SLOTS, dtype=np.float32) + 0.5) / 2
_CHILDREN = COMPOSITION_CLASSES.index("family_dependent_children")


def simulate(
    households: Households, presence: Presence, period: Period, rng: np.random.Generator, *, era: q.Era = q.TODAY
) -> NDArray[np.float32]:
    """Simulate kWh [homes, days, 48] for the homes of one area, rounded to a watt-hour.

    Parameters
    ----------
    households : Households
    presence : Presence
        Of the same homes over `period`.
    period : Period
        Days of readings: their weekday, light and weather count.
    rng : Generator
        The area's own.
    era : Era
        What homes have: `load_parameters.TODAY` or ``TRIAL_2009``.
    """
    homes, days, _ = presence.active.shape
    level = lognormal(rng, (homes,), q.HOME_LOG_SD) * lognormal(rng, (1,), q.AREA_LOG_SD)
    guest = (households.size == 1) & (rng.random(homes) < q.GUESTS)
    people = _counted(households.size + guest)
    older = _keeps_older_habits(households, rng)
    kwh = standing.base(level, people, days, rng)
    standing.add_timers(kwh, rng)
    active = presence.active + (guest[:, None, None] & (presence.active > 0))
    kwh += _while_up(level, older, active, weather.darkness(period), rng)
    up = (presence.active > 0) * _by_day(homes, days, q.STARTS_DAY_LOG_SD, rng)
    _add_what_people_start(kwh, households.composition, level, people, older, up, day_types(period) > 0, rng)
    equipment.add(kwh, households.composition, presence.occupied, period, era, rng)
    kwh *= ~presence.switched_off[..., None]
    rounded: NDArray[np.float32] = np.round(np.maximum(kwh, np.float32(0)), 3).astype(np.float32, copy=False)
    return rounded


def _add_what_people_start(  # noqa: PLR0917 - six aligned arrays, the days and a generator
    kwh: Floats,
    composition: NDArray[np.int8],
    level: Floats,
    people: Floats,
    older: NDArray[np.bool_],
    up: Floats,
    weekend: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    earlier = np.float32(q.OLDER_EARLIER) * older.astype(np.float32)
    children = composition == _CHILDREN
    for appliance in q.APPLIANCES:
        rate = appliance.starts * people ** np.float32(appliance.by_people) * level ** np.float32(q.WITH_HOME)
        rate *= np.where(children, np.float32(appliance.with_children), np.float32(1))
        appliances.add(kwh, appliance, rate, earlier, up, weekend, rng)


def _counted(people: NDArray[np.integer]) -> Floats:
    """People as use counts them: 1 for one, less than twice as much for two; 0 for none."""
    offset = np.float32(q.PEOPLE_OFFSET)
    counted: Floats = (people.astype(np.float32) + offset) / (1 + offset) * (people > 0)
    return counted


def _keeps_older_habits(households: Households, rng: np.random.Generator) -> NDArray[np.bool_]:
    alone, couples = q.OLDER_KEEP
    share = np.array([alone, couples, *[q.OTHERS_KEEP] * 4])[households.composition]
    keeps: NDArray[np.bool_] = rng.random(len(share)) < share
    return keeps


def _by_day(homes: int, days: int, log_sd: float, rng: np.random.Generator) -> Floats:
    """A factor by day [homes, days, 1]; some homes vary more from day to day than others."""
    own = np.float32(log_sd) * lognormal(rng, (homes, 1, 1), q.DAY_SPREAD)
    return np.exp(own * rng.standard_normal((homes, days, 1), np.float32))


def _while_up(
    level: Floats, older: NDArray[np.bool_], active: NDArray[np.uint8], dark: Floats, rng: np.random.Generator
) -> Floats:
    """Screens, in stretches of one level, and light: kWh [homes, days, 48]."""
    homes, days, _ = active.shape
    by_day = (q.SCREENS_BY_DAY + q.OLDER_SCREENS_BY_DAY * older).astype(np.float32)[:, None]
    hours = by_day + (1 - by_day) / (1 + np.exp(-(_HOURS - 17.5) / 1.2))
    hours *= _own_hours(homes, rng)
    screens = q.SCREENS * level * lognormal(rng, (homes,), q.SCREENS_LOG_SD) * np.where(older, q.OLDER_USE, 1)
    kwh = _stretches(active.shape, rng)
    kwh *= (screens[:, None] * hours).astype(np.float32)[:, None, :]
    kwh += (q.LIGHT * level * lognormal(rng, (homes,), q.LIGHT_LOG_SD))[:, None, None] * dark
    kwh *= (_counted(np.arange(256)) ** np.float32(q.CROWD_POWER))[active]
    kwh *= _by_day(homes, days, q.SCREENS_DAY_LOG_SD, rng)
    return kwh


def _own_hours(homes: int, rng: np.random.Generator) -> Floats:
    """A home's own course of the day [homes, 48] against the usual one: three waves a day."""
    turns = np.float32(2 * np.pi / 24) * _HOURS
    course = np.zeros((homes, SLOTS), np.float32)
    for wave in (1, 2, 3):
        size = rng.standard_normal((2, homes, 1), np.float32) * np.float32(q.SCREENS_SHAPE_SD / np.sqrt(wave))
        course += size[0] * np.cos(wave * turns) + size[1] * np.sin(wave * turns)
    own = np.exp(course)
    return own / own.mean(axis=1, keepdims=True, dtype=np.float32)


def _stretches(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """A factor that stays for a few half-hours and then jumps, of the given shape."""
    jumps = rng.random(shape, np.float32).reshape(-1) < 1 / q.STRETCH_HALF_HOURS
    stretch = np.cumsum(jumps)
    return lognormal(rng, (int(stretch[-1]) + 1,), q.STRETCH_LOG_SD)[stretch].reshape(shape)
