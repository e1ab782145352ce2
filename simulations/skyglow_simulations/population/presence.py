# SPDX-License-Identifier: Apache-2.0
"""Who is at home and awake in each half-hour: a schedule for each person and day.

A person-day is at most one main absence and one evening absence, with start and length by pattern and day type; members
of a household often go out together at weekends; some homes are away for days.
"""

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import Period
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.households import Households

SLOTS = 48
_HOURS = (np.arange(SLOTS, dtype=np.float32) + 0.5) / 2


@dataclass(frozen=True, slots=True)
class Presence:
    """Truth by home, day and half-hour of the local day.

    Attributes
    ----------
    occupied : ndarray of bool, shape (homes, days, 48)
        Somebody is at home, asleep or awake.
    active : ndarray of uint8, shape (homes, days, 48)
        People at home and awake.
    switched_off : ndarray of bool, shape (homes, days)
        The home stands empty for months and its mains are off.
    """

    occupied: NDArray[np.bool_]
    active: NDArray[np.uint8]
    switched_off: NDArray[np.bool_]


def day_types(period: Period) -> NDArray[np.int64]:
    """0 weekday, 1 Saturday, 2 Sunday for each day of the period."""
    weekdays = np.array([(period.start + datetime.timedelta(days=day)).weekday() for day in range(period.days)])
    return np.maximum(weekdays - 4, 0)


def exists(period: Period) -> NDArray[np.bool_]:
    """Half-hours of the local clock that the period has, [days, 48]: two are skipped when clocks go forward."""
    there = np.ones((period.days, SLOTS), dtype=np.bool_)
    for day in range(period.days):
        there[day, 2:4] = clock_change(period.start + datetime.timedelta(days=day)) <= 0
    return there


def by_day_type(
    values: NDArray[np.bool_] | NDArray[np.floating], weekend: NDArray[np.bool_], there: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Means of [..., days, 48] over weekdays and weekend days [..., 2, 48], of the half-hours that there were."""
    counted = values * there
    means = [counted[..., own, :].sum(axis=-2) / there[own].sum(axis=0) for own in (~weekend, weekend)]
    return np.stack(means, axis=-2)


def clock_change(date: datetime.date) -> int:
    """+1 on the day clocks go forward in the United Kingdom (46 half-hours), -1 when they go back (50), else 0."""
    last_sunday = date.weekday() == 6 and (date + datetime.timedelta(days=7)).month != date.month
    return {3: 1, 10: -1}.get(date.month, 0) if last_sunday else 0


def simulate(households: Households, period: Period, rng: np.random.Generator) -> Presence:
    """Simulate the period for the homes of one area."""
    kinds = day_types(period)
    homes, days, people = len(households.size), period.days, len(households.home)
    start, length = _main_absence(households, kinds, period, rng)
    away = ((start[..., None] <= _HOURS) & ((start + length)[..., None] > _HOURS)).reshape(people, days, SLOTS)
    away |= _evening_out(households, kinds, rng)
    away |= _nights_out(households, days, rng)
    deserted, switched_off = _long_empty(homes, days, rng)
    together = _errands(households, kinds, rng) | (_stays_away(homes, days, rng) | deserted)[..., None]
    away |= together[households.home]
    home = ~away
    first = np.concatenate([[0], np.cumsum(households.size)[:-1]])
    minded = ~_needs_company(households, rng)
    occupied = np.add.reduceat(home & minded[:, None, None], first, axis=0, dtype=np.uint8) > 0
    home &= occupied[households.home]  # small children are out with somebody when nobody else is in
    awake = home & _awake(households, days, kinds, rng)
    return Presence(occupied, np.add.reduceat(awake, first, axis=0, dtype=np.uint8), switched_off)


def _evening_out(households: Households, kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Evenings out, [people, days, 48]; often the household's others come along with its first person."""
    people, days = len(households.home), len(kinds)
    evening = np.array([p.PATTERNS[name].evening for name in p.PATTERN_NAMES], np.float32)[households.pattern]
    often = np.array([1, p.SATURDAY_EVENING, 1], np.float32)[kinds]
    out = rng.random((people, days), np.float32) < evening[:, None] * often
    leave = 18.7 + 0.9 * rng.standard_normal((people, days), np.float32)
    back = leave + np.abs(2.7 + 1.2 * rng.standard_normal((people, days), np.float32))
    leader = _leader(households)
    joins = (rng.random((len(households.size), days), np.float32) < p.EVENING_TOGETHER)[households.home]
    out, leave, back = (np.where(joins, values[leader], values) for values in (out, leave, back))
    return out[..., None] & (leave[..., None] <= _HOURS) & (back[..., None] > _HOURS)


def _errands(households: Households, kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Short trips of whole households, [homes, days, 48]."""
    shape = (len(households.size), len(kinds))
    chance = np.array(p.ERRAND, np.float32)[np.minimum(households.size, 3) - 1][:, np.minimum(kinds, 1)]
    chance *= np.where(households.composition <= 1, p.OLDER_ERRANDS, 1).astype(np.float32)[:, None]
    out = rng.random(shape, np.float32) < chance
    start = p.ERRAND_START[0] + p.ERRAND_START[1] * rng.standard_normal(shape, np.float32)
    end = start + p.ERRAND_HOURS * rng.standard_gamma(3, shape, np.float32) / 3
    return out[..., None] & (start[..., None] <= _HOURS) & (end[..., None] > _HOURS)


def _needs_company(households: Households, rng: np.random.Generator) -> NDArray[np.bool_]:
    """People too young to be at home alone, [people]."""
    pupil = households.pattern == p.PATTERN_NAMES.index("school")
    young = pupil & (rng.random(len(pupil)) < p.YOUNG_PUPILS)
    return young | (households.pattern == p.PATTERN_NAMES.index("small_child"))


def _leader(households: Households) -> NDArray[np.int64]:
    """Row of the first person of each person's household."""
    first = np.cumsum(households.size) - households.size
    return first[households.home]


def _main_absence(
    households: Households, kinds: NDArray[np.int64], period: Period, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Start and length (hours; length 0 = none) of each person-day's main absence."""
    table = np.array([p.PATTERNS[name][:3] for name in p.PATTERN_NAMES], np.float32)  # [pattern, day type, 5]
    table = np.repeat(table[:, None], period.days, axis=1)[:, np.arange(period.days), kinds]
    school = [p.PATTERN_NAMES.index(name) for name in ("school",)]
    for day in range(period.days):
        week = (period.start + datetime.timedelta(days=day)).isocalendar().week
        if any(first <= week < last for first, last in p.SCHOOL_HOLIDAY_WEEKS):
            table[school, day] = p.PATTERNS["not_working"].weekday
    values = table[households.pattern]  # [people, days, 5]
    people, days = values.shape[:2]
    habit = 0.7 * rng.standard_normal((people, 1), np.float32)  # people keep their own hours
    tendency = rng.uniform(-0.22, 0.22, (people, 1)).astype(np.float32)  # and go out more or less than others
    out = rng.random((people, days), np.float32) < np.clip(values[..., 0] + tendency, 0.03, 0.98)
    noise = rng.standard_normal((2, people, days), np.float32)
    start = values[..., 1] + values[..., 2] * (0.75 * noise[0] + 0.66 * habit)
    length = np.where(out, np.maximum(values[..., 3] + values[..., 4] * noise[1], 0.4), 0).astype(np.float32)
    leader = _leader(households)
    chance = np.where(kinds > 0, p.JOINT_WEEKEND, p.JOINT_WEEKDAY).astype(np.float32)
    free = np.isin(households.pattern, [p.PATTERN_NAMES.index(name) for name in p.FREE_ON_WEEKDAYS])
    together = (rng.random((len(households.size), days), np.float32) < chance)[households.home]
    joint = together & ((kinds > 0) | (free & free[leader])[:, None])
    return np.where(joint, start[leader], start), np.where(joint, length[leader], length)


def _nights_out(households: Households, days: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Nights spent elsewhere by students and workers: out from 21:00 and back the next day at 9:00."""
    young = households.pattern <= p.PATTERN_NAMES.index("not_working")
    night = (rng.random((len(households.home), days), np.float32) < p.NIGHT_OUT) & young[:, None]
    before = np.concatenate([np.zeros_like(night[:, :1]), night[:, :-1]], axis=1)
    return (night[..., None] & (_HOURS >= 21)) | (before[..., None] & (_HOURS < 9))


def _stays_away(homes: int, days: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Days on which the whole household is away, [homes, days]."""
    traveller = rng.random(homes) < p.AWAY_SHARE * days / 28
    first = rng.integers(0, days, homes)
    last = first + rng.integers(*p.AWAY_DAYS, homes)
    day = np.arange(days)
    return traveller[:, None] & (first[:, None] <= day) & (day < last[:, None])


def _awake(households: Households, days: int, kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    patterns = [p.PATTERNS[name] for name in p.PATTERN_NAMES]
    people = len(households.home)
    own = np.array([p.WAKE_OWN_SD, p.BED_OWN_SD], np.float32)[:, None, None] * rng.standard_normal(
        (2, people, 1), np.float32
    )
    daily = np.float32(p.UP_DAY_SD) * rng.standard_normal((2, people, days), np.float32)
    late = np.where(kinds > 0, p.WEEKEND_WAKE_LATER, 0.0).astype(np.float32)
    wake = np.array([pattern.wake for pattern in patterns], np.float32)[households.pattern][:, None]
    bed = np.array([pattern.bed for pattern in patterns], np.float32)[households.pattern][:, None]
    wake, bed = wake + p.WAKE_LATER + late + own[0] + daily[0], bed + p.BED_LATER + 0.4 * late + own[1] + daily[1]
    awake: NDArray[np.bool_] = (wake[..., None] <= _HOURS) & (bed[..., None] > _HOURS)
    return awake | (bed[..., None] > _HOURS + 24)  # those who go to bed after midnight


def _long_empty(homes: int, days: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Days on which nobody lives in a home, but for visits, and those on which its mains are off, [homes, days]."""
    span = p.LONG_EMPTY_DAYS
    has = rng.random(homes) < p.LONG_EMPTY_SHARE * (1 + days / span)
    first = rng.integers(-span, days, homes)[:, None]
    day = np.arange(days)
    deserted = has[:, None] & (first <= day) & (day < first + span)
    deserted &= rng.random((homes, days)) >= p.LONG_EMPTY_VISITS
    return deserted, deserted & (rng.random((homes, 1)) < p.LONG_EMPTY_SWITCHED_OFF)
