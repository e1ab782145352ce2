# SPDX-License-Identifier: Apache-2.0
"""Weather of a British kind by date: the same for every home, seed and run.

A day's mean temperature is the year's course with spells of warm and cold around it; its clearness, the share of the
sun's power that gets through, has shorter spells. The year's course is that of the Met Office's averages for southern
England, spells are set here.
"""

import datetime

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import Period
from skyglow_simulations.population import load_parameters as q

SLOTS = 48
_HOURS = (np.arange(SLOTS, dtype=np.float64) + 0.5) / 2
_MEAN_C, _SWING_C, _COLDEST_DAY = 10.8, 6.4, 24
_SPELL_SD_C, _SPELL_CARRY = 2.8, 0.78
_TILT = 0.4093  # radians


def temperature(period: Period) -> NDArray[np.float32]:
    """Mean temperature of each day, degrees Celsius, [days]."""
    course = _MEAN_C - _SWING_C * np.cos(2 * np.pi * (_days_of_year(period) - _COLDEST_DAY) / 365.25)
    return (course + _SPELL_SD_C * _spells(period, 0)).astype(np.float32)


def clearness(period: Period) -> NDArray[np.float32]:
    """Share of a clear sky's power that gets through on each day, in (0, 1), [days]."""
    return (1 / (1 + np.exp(-1.1 * _spells(period, 1)))).astype(np.float32)


def darkness(period: Period) -> NDArray[np.float32]:
    """Share of lights wanted by day and half-hour of the local clock, [days, 48]."""
    rise, sets = _sun(period)
    morning = np.clip(rise[:, None] + q.DUSK_HOURS - _HOURS, 0, 1)
    return (morning + np.clip(_HOURS - sets[:, None] + q.DUSK_HOURS, 0, 1)).astype(np.float32)


def sunshine(period: Period) -> NDArray[np.float32]:
    """Power of panels as a share of their best, by day and half-hour of the local clock, [days, 48]."""
    rise, sets = _sun(period)
    along = np.clip((_HOURS - rise[:, None]) / (sets - rise)[:, None], 0, 1)
    height = np.sin(np.pi * along) ** 1.3 * ((sets - rise) / 16.5)[:, None]
    return (height * clearness(period)[:, None]).astype(np.float32)


def summer_time(date: datetime.date) -> bool:
    """Whether clocks are an hour ahead of Greenwich for most of the day, in the United Kingdom."""
    return _last_sunday(date.year, 3) <= date < _last_sunday(date.year, 10)


def _last_sunday(year: int, month: int) -> datetime.date:
    last = datetime.date(year, month, 31)
    return last - datetime.timedelta(days=(last.weekday() + 1) % 7)


def _dates(period: Period) -> list[datetime.date]:
    return [period.start + datetime.timedelta(days=day) for day in range(period.days)]


def _days_of_year(period: Period) -> NDArray[np.float64]:
    return np.array([date.timetuple().tm_yday for date in _dates(period)], dtype=float)


def _sun(period: Period) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sunrise and sunset on the local clock, hours, [days]."""
    declination = -_TILT * np.cos(2 * np.pi * (_days_of_year(period) + 10) / 365.25)
    half = np.degrees(np.arccos(np.clip(-np.tan(np.radians(q.LATITUDE)) * np.tan(declination), -1, 1))) / 15
    noon = q.SOLAR_NOON + np.array([summer_time(date) for date in _dates(period)], dtype=float)
    return noon - half, noon + half


def _spells(period: Period, kind: int) -> NDArray[np.float64]:
    """Standard normal, carried from day to day, the same for a date whatever the period, [days]."""
    carry = (_SPELL_CARRY, 0.35)[kind]
    years = sorted({date.year for date in _dates(period)})
    course = {}
    for year in years:
        noise = np.random.default_rng([year, kind]).standard_normal(366)
        value = noise[0]
        for day in range(366):
            value = carry * value + np.sqrt(1 - carry**2) * noise[day]
            course[year, day + 1] = value
    return np.array([course[date.year, date.timetuple().tm_yday] for date in _dates(period)])
