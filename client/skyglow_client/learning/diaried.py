# SPDX-License-Identifier: Apache-2.0
"""Half-hours and diaries of a study's homes, where the study trains a model of presence."""

import datetime
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.clipped_sums import Batch
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.learning.occupied import many_profiles
from skyglow_client.readings.calendar import SLOTS
from skyglow_client.readings.panel import DiaryDays
from skyglow_client.readings.store import Store
from skyglow_shared.models.temporal import CONTRACT, PresenceModel


@dataclass(frozen=True, slots=True, repr=False)
class Diaried:
    """One row a home of a study, aligned with its `Homes`.

    Attributes
    ----------
    store : Store
        Where the readings lie.
    row : ndarray of int64, shape (homes,)
        Row in the store.
    kept : ndarray of int64, shape (homes,)
        Row among the homes with a diary; -1 without one.
    x : ndarray of float32, shape (diary homes, days, 48, inputs)
        What the model sees, see `half_hours`.
    y : ndarray of float32, shape (diary homes, days, 48, 1)
        1 where somebody was home by the diary, 0 where nobody; NaN where the diary does not say.
    days : ndarray of bool, shape (diary homes, days)
        Days with readings.

    Privacy
    -------
    Sensitive. One row is one household, and depends on that household alone, to the last bit.
    """

    store: Store
    row: NDArray[np.int64]
    kept: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    days: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: NDArray[np.bool_]) -> "Diaried":
        """Only the homes of `rows`, a mask."""
        return replace(self, row=self.row[rows], kept=self.kept[rows])

    def batch(self, pseudonyms: NDArray[np.uint8]) -> Batch:
        """The homes with a diary, to train on, all days of a home together; `pseudonyms` are all homes'."""
        with_one = self.kept >= 0
        own = self.kept[with_one]
        keys = np.ascontiguousarray(pseudonyms[with_one, :8]).view(">u8")[:, 0].astype(np.uint64)
        return Batch(keys, self.x[own], self.y[own], self.days[own])

    def profiles(self, model: PresenceModel) -> NDArray[np.float32]:
        """What a model makes of each home's weekdays and weekend days, shape (homes, 2, 48)."""
        return many_profiles(self.store.kwh, self.store.valid, self.row, self.store.start, model)


def diaried(store: Store, inside: NDArray[np.bool_], diaries: DiaryDays) -> Diaried:
    """Half-hours of the homes `inside` a study, and diaries of those that kept one on days of the store's period."""
    row = np.flatnonzero(inside)
    day = _days_since(store.start, diaries)
    during = inside[diaries.home] & (day >= 0) & (day < store.days)
    own, days = diaries.of(during), day[during]
    keepers, place = np.unique(own.home, return_inverse=True)
    x = np.empty((len(keepers), store.days, SLOTS, len(CONTRACT.features)), dtype=np.float32)
    valid = np.empty((len(keepers), store.days), dtype=np.bool_)
    for number, home in enumerate(keepers):
        kwh = np.where(store.valid[home, :, None], store.kwh[home], np.float32(np.nan))
        x[number : number + 1], valid[number : number + 1] = half_hours(kwh[None], store.start)
    y = np.full((len(keepers), store.days, SLOTS, 1), np.nan, dtype=np.float32)
    y[place, days, :, 0] = own.at_home
    kept = np.full(len(store.kwh), -1, dtype=np.int64)
    kept[keepers] = np.arange(len(keepers))
    return Diaried(store, row, kept[row], x, y, valid)


def _days_since(start: datetime.date, diaries: DiaryDays) -> NDArray[np.int64]:
    return np.asarray((diaries.date - np.datetime64(start, "D")).astype(np.int64))
