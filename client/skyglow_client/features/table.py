# SPDX-License-Identifier: Apache-2.0
"""What models and occupancy need of every home of a store, built once and kept beside the data it comes from."""

import datetime
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.class22 import class22
from skyglow_client.features.presence import RULE_VERSION, day_profile, presence_rule
from skyglow_client.readings.calendar import SLOTS
from skyglow_client.readings.store import Store
from skyglow_shared.errors import DataError
from skyglow_shared.files import write_atomically
from skyglow_shared.models.features import contract

CLASS22: Final = "class22-v1"
_HOMES_AT_ONCE: Final = 500
_THREADS: Final = 2
_Number = TypeVar("_Number", np.float32, np.float64)


@dataclass(frozen=True, slots=True, repr=False)
class HomeFeatures:
    """Features of a store's homes, in the order of the store.

    Attributes
    ----------
    features : ndarray of float64, shape (homes, features)
        Raw, in the units of the contract; a row of NaN where the week has too few valid days.
    profile : ndarray of float32, shape (homes, 2, 48)
        Share of weekdays and weekend days with somebody home, by the presence rule; NaN without a valid day of a type.
    later : sequence of ndarray of float64, shape (homes, features)
        Features of further weeks.
    """

    features: NDArray[np.float64]
    profile: NDArray[np.float32]
    later: Sequence[NDArray[np.float64]] = ()


def build_features(store_path: Path, *, week_start: datetime.date, name: str = CLASS22) -> HomeFeatures:
    """Build the features of a store, or map those built before from the same data.

    Parameters
    ----------
    store_path : Path
        Folder of the store.
    week_start : date
        Monday of the week the features are of.
    name : str
        The feature contract. Only the features of ``class22-v1`` are computed here; others must have been kept.

    Raises
    ------
    FormatError
        If there is no sound store in the folder.
    DataError
        If `week_start` is not a Monday, its week is not within the store's period, or nothing was kept of a contract
        that is not computed here.

    Notes
    -----
    Kept in the store's data folder under a name made of the feature contract, the week and the presence rule, so that
    neither other data nor another release of skyglow can be served with them. A home's row depends on that home alone.
    """
    if week_start.weekday() != 0:
        raise DataError("the feature week must start on a Monday; correct the study")
    store = Store.open(store_path)
    first_day = (week_start - store.start).days
    if not 0 <= first_day <= store.days - 7:
        raise DataError("the feature week is not within the store's period; ingest readings of the study's period")
    homes = len(store.kwh)
    paths = _paths(store, name, week_start)
    features = kept(paths[0], (homes, len(contract(name).features)), np.float64)
    profile = kept(paths[1], (homes, 2, SLOTS), np.float32)
    if features is None or profile is None:
        if name != CLASS22:
            raise DataError("the features of that contract are not computed here, and none were kept beside the store")
        features, profile = _build(store, first_day)
        keep(paths[0], features)
        keep(paths[1], profile)
    return HomeFeatures(features, profile)


def keep_features(store_path: Path, table: HomeFeatures, *, week_start: datetime.date, name: str) -> None:
    """Keep features that were made elsewhere beside a store, in its homes' order, for `build_features` to find."""
    paths = _paths(Store.open(store_path), name, week_start)
    keep(paths[0], table.features)
    keep(paths[1], table.profile)


def _paths(store: Store, name: str, week_start: datetime.date) -> tuple[Path, Path]:
    text = f"{contract(name).digest} {week_start.isoformat()} {RULE_VERSION}"
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return store.folder / f"features-{key}.npy", store.folder / f"profile-{key}.npy"


def _build(store: Store, first_day: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    features = np.empty((len(store.kwh), len(contract(CLASS22).features)), dtype=np.float64)
    profile = np.empty((len(store.kwh), 2, SLOTS), dtype=np.float32)

    def build(first: int) -> None:
        part = slice(first, first + _HOMES_AT_ONCE)
        kwh = np.array(store.kwh[part])
        features[part] = class22(kwh[:, first_day : first_day + 7])
        profile[part] = day_profile(presence_rule(kwh), store.valid[part], store.start)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(build, range(0, len(features), _HOMES_AT_ONCE)))
    return features, profile


def kept(path: Path, shape: tuple[int, ...], dtype: type[_Number]) -> NDArray[_Number] | None:
    """Map an array kept before; None if there is none or it is damaged."""
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == dtype else None


def keep(path: Path, array: NDArray[np.float32] | NDArray[np.float64]) -> None:
    """Keep an array beside a store, whole or not at all."""
    content = io.BytesIO()
    np.save(content, array)
    write_atomically(path, content.getvalue(), mode=0o600)
