# SPDX-License-Identifier: Apache-2.0
"""A period as a line of half-hours, on which days of 46 and 50 half-hours are no exception."""

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_client.readings.calendar import CHANGED_HOUR, LONGEST_DAY, SLOTS, day_lengths
from skyglow_shared.study import Period


@dataclass(frozen=True, slots=True)
class Timeline:
    """The half-hours of a period in the order they happen.

    Attributes
    ----------
    start : date
    lengths, begins : ndarray of int64, shape (days,)
        Half-hours of each local day, and the first of them.
    day, slot, number : ndarray of int64, shape (half-hours,)
        Local day, slot of the local clock (0 … 47), and number within the day from 0.
    """

    start: datetime.date
    lengths: NDArray[np.int64]
    begins: NDArray[np.int64]
    day: NDArray[np.int64]
    slot: NDArray[np.int64]
    number: NDArray[np.int64]

    @classmethod
    def of(cls, period: Period) -> "Timeline":
        """The timeline of a period."""
        lengths = day_lengths(period.start, period.days)
        begins = np.cumsum(lengths) - lengths
        day = np.repeat(np.arange(period.days), lengths)
        number = np.arange(len(day)) - begins[day]
        late = number >= CHANGED_HOUR.start
        skipped = np.where((lengths[day] == 46) & late, 2, 0)
        repeated = np.where((lengths[day] == 50) & (number >= CHANGED_HOUR.stop), 2, 0)
        return cls(period.start, lengths, begins, day, number + skipped - repeated, number)

    def series(self, kwh: NDArray[np.float32]) -> NDArray[np.float32]:
        """Readings by clock slot [homes, days, 48] as a line [homes, half-hours]; the repeated hour reads the same."""
        line: NDArray[np.float32] = kwh[:, self.day, self.slot]
        return line

    def clock(self, line: NDArray[np.float32]) -> NDArray[np.float32]:
        """A line [homes, half-hours] by clock slot [homes, days, 48]; NaN where the clock skips."""
        kwh = np.full((len(line), len(self.lengths), SLOTS), np.nan, np.float32)
        kwh[:, self.day[::-1], self.slot[::-1]] = line[:, ::-1]  # so that the first pass of a repeated hour stays
        return kwh

    def rows(self, line: NDArray[np.float32]) -> NDArray[np.float32]:
        """A line [homes, half-hours] by day and number in the day [homes, days, 50]; NaN beyond the day's end."""
        wide = np.full((len(line), len(self.lengths), LONGEST_DAY), np.nan, np.float32)
        wide[:, self.day, self.number] = line
        return wide
