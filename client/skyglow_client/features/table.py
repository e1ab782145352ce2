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
        Share of the period's weekdays and weekend days with somebody home, by the presence rule; NaN without a valid
        day of a type.
    later : sequence of ndarray of float64, shape (homes, features)
        Features of further weeks.
    """

    features: NDArray[np.float64]
    profile: NDArray[np.float32]
    later: Sequence[NDArray[np.float64]] = ()


def build_features(store_path: Path, *, week_start: datetime.date, weeks: int = 1, name: str = CLASS22) -> HomeFeatures:
    """Build the features of a store, or map those built before from the same data.

    Parameters
    ----------
    store_path : Path
        Folder of the store.
    week_start : date
        Monday of the first week the features are of.
    weeks : int
        How many weeks from there on.
    name : str
        The feature contract. Only the features of ``class22-v1`` are computed here; others must have been kept.

    Raises
    ------
    FormatError
        If there is no sound store in the folder.
    DataError
        If `week_start` is not a Monday, a week is not within the store's period, or nothing was kept of a contract that
        is not computed here.

    Notes
    -----
    Kept in the store's data folder, each week's features under a name made of the feature contract and the week, the
    profile under one made of the presence rule, so that neither other data nor another release of skyglow can be served
    with them. What was not kept is built in one pass over the readings. A home's row depends on that home alone.
    """
    if week_start.weekday() != 0:
        raise DataError("the feature week must start on a Monday; correct the study")
    store = Store.open(store_path)
    first_day = (week_start - store.start).days
    if not (weeks >= 1 and 0 <= first_day <= store.days - 7 * weeks):
        raise DataError("the feature week is not within the store's period; ingest readings of the study's period")
    homes, place = len(store.kwh), _profile_path(store)
    paths = {day: _features_path(store, name, day) for day in range(first_day, first_day + 7 * weeks, 7)}
    shape = homes, len(contract(name).features)
    features = {day: found for day, path in paths.items() if (found := kept(path, shape, np.float64)) is not None}
    profile = kept(place, (homes, 2, SLOTS), np.float32)
    missing = [day for day in paths if day not in features]
    if (missing or profile is None) and name != CLASS22:
        raise DataError("the features of that contract are not computed here, and none were kept beside the store")
    if missing or profile is None:
        built, made = _build(store, missing, profile)
        for day, table in built.items():
            keep(paths[day], table)
        if profile is None:
            keep(place, made)
        features, profile = features | built, made
    first, *later = (features[day] for day in paths)
    return HomeFeatures(first, profile, tuple(later))


def keep_features(store_path: Path, table: HomeFeatures, *, week_start: datetime.date, name: str) -> None:
    """Keep features that were made elsewhere beside a store, in its homes' order, for `build_features` to find."""
    store = Store.open(store_path)
    for number, features in enumerate((table.features, *table.later)):
        keep(_features_path(store, name, (week_start - store.start).days + 7 * number), features)
    keep(_profile_path(store), table.profile)


def _features_path(store: Store, name: str, first_day: int) -> Path:
    week = store.start + datetime.timedelta(days=first_day)
    return store.folder / f"features-{_key(f'{contract(name).digest} {week.isoformat()}')}.npy"


def _profile_path(store: Store) -> Path:
    return store.folder / f"profile-{_key(RULE_VERSION)}.npy"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _build(
    store: Store, first_days: Sequence[int], profile: NDArray[np.float32] | None
) -> tuple[dict[int, NDArray[np.float64]], NDArray[np.float32]]:
    """Features of the weeks that begin on those days, and the profile unless it is given."""
    homes = len(store.kwh)
    features = {day: np.empty((homes, len(contract(CLASS22).features))) for day in first_days}
    made = np.empty((homes, 2, SLOTS), dtype=np.float32) if profile is None else profile

    def build(first: int) -> None:
        part = slice(first, first + _HOMES_AT_ONCE)
        kwh = np.array(store.kwh[part])
        for day, table in features.items():
            table[part] = class22(kwh[:, day : day + 7])
        if profile is None:
            made[part] = day_profile(presence_rule(kwh), store.valid[part], store.start)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(build, range(0, homes, _HOMES_AT_ONCE)))
    return features, made


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
