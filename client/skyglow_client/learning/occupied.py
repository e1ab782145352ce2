# SPDX-License-Identifier: Apache-2.0
"""When homes are occupied, by a model of presence, installed or a study's own: what may stand in place of the rule."""

import datetime
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from skyglow_client.features.table import keep, kept
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.readings.calendar import SLOTS, weekdays
from skyglow_client.readings.store import Store
from skyglow_shared.models import temporal
from skyglow_shared.models.aligned import logits
from skyglow_shared.models.temporal import PresenceModel

#: Changes whenever other profiles come of the same readings and model.
VERSION: Final = "presence-profile-2"
_HOMES_AT_ONCE: Final = 100
_THREADS: Final = 2
_LARGEST_LOGIT: Final = 40.0


def chances(kwh: NDArray[np.floating], start: datetime.date, model: PresenceModel) -> NDArray[np.float64]:
    """Chance that somebody is home, half-hour by half-hour.

    Parameters
    ----------
    kwh : ndarray of float, shape (homes, days, 48)
        kWh in local clock slots; a day with any NaN is left out.
    start : date
        The first day.
    model : PresenceModel

    Returns
    -------
    ndarray of float64, shape (homes, days, 48)
        NaN on days left out.

    Notes
    -----
    One home at a time, in arrays of the same shape, so that a home's numbers are the same to the last bit whichever
    homes stand beside it.
    """
    network = temporal.network(kwh.shape[1], model.channels)
    x, valid = half_hours(kwh, start)
    found = np.empty(kwh.shape)
    with np.errstate(all="ignore"):  # whatever weights a request brings: what is no number contributes nothing
        for home in range(len(kwh)):
            found[home] = logits(network, model.weights, x[home : home + 1], torch.float32)[0, ..., 0]
        found = 1 / (1 + np.exp(-found.clip(-_LARGEST_LOGIT, _LARGEST_LOGIT)))
    found[~valid] = np.nan
    return found


def profiles(kwh: NDArray[np.floating], start: datetime.date, model: PresenceModel) -> NDArray[np.float32]:
    """Mean chance that somebody is home on weekdays and weekend days, as `day_profile` is for the rule.

    Returns
    -------
    ndarray of float32, shape (homes, 2, 48)
        NaN where a home has no valid day of a type.
    """
    found = np.full((len(kwh), 2, SLOTS), np.nan, dtype=np.float32)
    weekday = weekdays(start, kwh.shape[1])
    for home, chance in enumerate(chances(kwh, start, model)):
        valid = np.isfinite(chance).all(axis=1)
        for day_type, of_type in ((0, weekday), (1, ~weekday)):
            days = chance[valid & of_type]
            if len(days):
                found[home, day_type] = days.mean(axis=0)
    return found


def many_profiles(
    kwh: NDArray[np.float32],
    valid: NDArray[np.bool_],
    rows: NDArray[np.int64],
    start: datetime.date,
    model: PresenceModel,
) -> NDArray[np.float32]:
    """Profiles of some rows of a store, a few homes at a time; shape (rows, 2, 48)."""
    made = np.empty((len(rows), 2, SLOTS), dtype=np.float32)

    def build(first: int) -> None:
        part = rows[first : first + _HOMES_AT_ONCE]
        readings = np.where(valid[part][:, :, None], kwh[part], np.float32(np.nan))
        made[first : first + _HOMES_AT_ONCE] = profiles(readings, start, model)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(build, range(0, len(made), _HOMES_AT_ONCE)))
    return made


def build_profiles(store_path: Path, name: str) -> NDArray[np.float32]:
    """Profiles of a store's homes by the model of that name, or those built before from the same data.

    Parameters
    ----------
    store_path : Path
        Folder of the store.
    name : str
        Of the model of presence.

    Returns
    -------
    ndarray of float32, shape (homes, 2, 48)

    Raises
    ------
    StudyError
        No model of that name is installed.
    FormatError
        There is no sound store in the folder.

    Notes
    -----
    Kept in the store's data folder under a name made of the model's digest. Some 1.5 milliseconds a home and core.
    """
    store, model = Store.open(store_path), temporal.load(name)
    key = hashlib.sha256(f"{VERSION} {model.digest}".encode()).hexdigest()[:16]
    path = store.folder / f"presence-{key}.npy"
    found = kept(path, (len(store.kwh), 2, SLOTS), np.float32)
    if found is not None:
        return found
    made = many_profiles(store.kwh, store.valid, np.arange(len(store.kwh)), store.start, model)
    keep(path, made)
    return made
