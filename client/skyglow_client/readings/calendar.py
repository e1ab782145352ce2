# SPDX-License-Identifier: Apache-2.0
"""Local days in Great Britain: which have 46 or 50 half-hours, and the 48 clock slots all are brought to."""

import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOTS: Final = 48
LONGEST_DAY: Final = 50
#: Slots of the local hour 01:00-02:00, which a spring clock-change day skips and an autumn one repeats.
CHANGED_HOUR: Final = slice(2, 4)


def half_hours(day: datetime.date) -> int:
    """Half-hours of a local day: 46 on the last Sunday of March, 50 on the last Sunday of October, else 48.

    The rule of the Summer Time Order 2002, written out so that no time-zone database is needed.
    """
    last_sunday = day.weekday() == 6 and (day + datetime.timedelta(days=7)).month != day.month
    if last_sunday and day.month in (3, 10):
        return 46 if day.month == 3 else 50
    return 48


def day_lengths(start: datetime.date, days: int) -> NDArray[np.int64]:
    """Half-hours of each of `days` local days from `start`, shape (days,)."""
    return np.array([half_hours(start + datetime.timedelta(days=n)) for n in range(days)], dtype=np.int64)


def midnight(day: datetime.date) -> datetime.datetime:
    """The instant a local day begins, in UTC without a zone: 23:00 of the day before in summer time."""
    spring, autumn = (_last_sunday(day.year, month) for month in (3, 10))
    summer = datetime.timedelta(hours=1 if spring < day <= autumn else 0)
    return datetime.datetime(day.year, day.month, day.day) - summer


def _last_sunday(year: int, month: int) -> datetime.date:
    last = datetime.date(year, month, 31)
    return last - datetime.timedelta(days=(last.weekday() + 1) % 7)


def weekdays(start: datetime.date, days: int) -> NDArray[np.bool_]:
    """Which of `days` days from `start` are Monday to Friday, shape (days,)."""
    return (start.weekday() + np.arange(days)) % 7 < 5


def to_clock_slots(kwh: NDArray[np.float32], length: NDArray[np.int64]) -> NDArray[np.float32]:
    """Bring settlement-period rows to local clock slots.

    Parameters
    ----------
    kwh : ndarray of float32, shape (rows, 50)
        One row a meter-day; periods after the day's last are ignored.
    length : ndarray of int64, shape (rows,)
        Half-hours of each row's day: 46, 48 or 50.

    Returns
    -------
    ndarray of float32, shape (rows, 48)
        The skipped hour of a 46-half-hour day is NaN; the repeated hour of a 50-half-hour day is the mean of its two
        passes, or the one that was read.
    """
    slots = kwh[:, :SLOTS].copy()
    spring, autumn = length == 46, length == 50
    if spring.any():
        slots[spring, 4:] = kwh[spring, 2:46]
        slots[spring, CHANGED_HOUR] = np.nan
    if autumn.any():
        slots[autumn, 4:] = kwh[autumn, 6:50]
        first, second = kwh[autumn, 2:4], kwh[autumn, 4:6]
        passes = np.where(np.isnan(first), second, (first + np.where(np.isnan(second), first, second)) / 2)
        slots[autumn, CHANGED_HOUR] = passes
    return slots
