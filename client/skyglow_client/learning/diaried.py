# SPDX-License-Identifier: Apache-2.0
"""Homes with a diary: how far it is from what the meter says of the same days, and what a model is trained on."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.presence import presence_rule
from skyglow_client.learning.clipped_sums import Batch
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.learning.occupied import chances, many_profiles
from skyglow_client.readings.calendar import SLOTS, weekdays
from skyglow_client.readings.panel import DiaryDays
from skyglow_client.readings.store import Store
from skyglow_shared.models.temporal import CONTRACT, PresenceModel

_HOMES_AT_ONCE: Final = 200

Presence = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""From readings [homes, days, 48], NaN on days that are not valid, to presence, NaN there too."""


def by_rule(kwh: NDArray[np.floating]) -> NDArray[np.floating]:
    """Presence by the rule, NaN on days that are not valid."""
    return np.where(np.isfinite(kwh).all(axis=2)[:, :, None], presence_rule(kwh), np.float32(np.nan))


def by_model(model: PresenceModel, start: datetime.date) -> Presence:
    """Chances by a model of presence, in homes whose first day is `start`."""
    return partial(chances, start=start, model=model)


def gaps(store: Store, inside: NDArray[np.bool_], diaries: DiaryDays, presence: Presence) -> NDArray[np.float32]:
    """How much more somebody was home by the diary than by the meter, on the diary's own days.

    Parameters
    ----------
    store : Store
    inside : ndarray of bool, shape (homes of the store,)
        The homes of the study.
    diaries : DiaryDays
    presence : callable
        What the meter says.

    Returns
    -------
    ndarray of float32, shape (homes inside, 2, 48)
        Mean over weekdays and weekend days with a diary and readings; NaN where there is none.
    """
    homes, said = _said(store, inside, diaries)
    found = np.full((len(inside), 2, SLOTS), np.nan, dtype=np.float32)
    for first in range(0, len(homes), _HOMES_AT_ONCE):
        part = slice(first, first + _HOMES_AT_ONCE)
        found[homes[part]] = _mean_gap(said[part], presence(_readings(store, homes[part])), store.start)
    return found[inside]


def _mean_gap(said: NDArray[np.float32], presence: NDArray[np.floating], start: datetime.date) -> NDArray[np.float32]:
    """Mean of diary less presence by day type, [homes, 2, 48]; NaN without a day of the type that has both."""
    gap = said - presence
    both, weekday = np.isfinite(gap).all(axis=2), weekdays(start, gap.shape[1])
    found = np.full((len(gap), 2, SLOTS), np.nan, dtype=np.float32)
    for day_type, of_type in ((0, weekday), (1, ~weekday)):
        use = both & of_type
        some = use.any(axis=1)
        total = np.where(use[:, :, None], gap, 0.0).sum(axis=1)
        found[some, day_type] = total[some] / use.sum(axis=1)[some, None]
    return found


def _readings(store: Store, homes: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(store.valid[homes][:, :, None], store.kwh[homes], np.float32(np.nan))


def _said(store: Store, inside: NDArray[np.bool_], diaries: DiaryDays) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the homes `inside` with a diary in the store's period, and their diaries [homes, days, 48], else NaN."""
    day = _days_since(store.start, diaries)
    during = inside[diaries.home] & (day >= 0) & (day < store.days)
    own, days = diaries.of(during), day[during]
    keepers, place = np.unique(own.home, return_inverse=True)
    said = np.full((len(keepers), store.days, SLOTS), np.nan, dtype=np.float32)
    said[place, days] = own.at_home
    return keepers, said


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

    def batch(self, keys: NDArray[np.uint64]) -> Batch:
        """The homes with a diary, to train on, all days of a home together; `keys` are all homes'."""
        with_one = self.kept >= 0
        own = self.kept[with_one]
        return Batch(keys[with_one], self.x[own], self.y[own], self.days[own])

    def gaps(self, model: PresenceModel) -> NDArray[np.float32]:
        """How much more somebody was home by each home's diary than by a model, as `gaps`; shape (homes, 2, 48)."""
        found = np.full((len(self), 2, SLOTS), np.nan, dtype=np.float32)
        with_one = np.flatnonzero(self.kept >= 0)
        for home in with_one:
            readings = _readings(self.store, self.row[home : home + 1])
            said = self.y[self.kept[home : home + 1], ..., 0]
            found[home] = _mean_gap(said, chances(readings, self.store.start, model), self.store.start)[0]
        return found

    def profiles(self, model: PresenceModel) -> NDArray[np.float32]:
        """What a model makes of each home's weekdays and weekend days, shape (homes, 2, 48)."""
        return many_profiles(self.store.kwh, self.store.valid, self.row, self.store.start, model)


def diaried(store: Store, inside: NDArray[np.bool_], diaries: DiaryDays) -> Diaried:
    """Half-hours of the homes `inside` a study, and diaries of those that kept one on days of the store's period."""
    row = np.flatnonzero(inside)
    keepers, said = _said(store, inside, diaries)
    x = np.empty((len(keepers), store.days, SLOTS, len(CONTRACT.features)), dtype=np.float32)
    valid = np.empty((len(keepers), store.days), dtype=np.bool_)
    for number in range(len(keepers)):
        one = slice(number, number + 1)
        x[one], valid[one] = half_hours(_readings(store, keepers[one]), store.start)
    kept = np.full(len(store.kwh), -1, dtype=np.int64)
    kept[keepers] = np.arange(len(keepers))
    return Diaried(store, row, kept[row], x, said[..., None], valid)


def _days_since(start: datetime.date, diaries: DiaryDays) -> NDArray[np.int64]:
    return np.asarray((diaries.date - np.datetime64(start, "D")).astype(np.int64))
