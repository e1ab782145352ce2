# SPDX-License-Identifier: Apache-2.0
"""Feature contracts: which features a model sees, in which order, and the public bounds they are scaled by.

Bounds are constants of the release of skyglow, never taken from a supplier's own homes: what a home contributes must
not depend on any other home. The digest of a contract is part of every study that uses it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError

Transform = Literal["none", "log", "sqrt"]
_Array = NDArray[np.float64]

_TRANSFORMS: MappingProxyType[Transform, Callable[[_Array], _Array]] = MappingProxyType(
    {"none": np.asarray, "log": np.log, "sqrt": np.sqrt}
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature and its public bounds.

    Attributes
    ----------
    name : str
        What it is, with the unit in the feature's definition (`skyglow_client.features.class22`).
    transform : {"none", "log", "sqrt"}
        Applied after clipping to the bounds.
    low, high : float
        Bounds in raw units, mapped to -1 and 1; `low` is positive where the transform is a logarithm.
    """

    name: str
    transform: Transform
    low: float
    high: float

    def __post_init__(self) -> None:
        least = {"none": -math.inf, "log": math.ulp(0.0), "sqrt": 0.0}.get(self.transform)
        if least is None:
            raise StudyError("a feature's transform is not one of none, log, sqrt; correct the contract")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and least <= self.low < self.high):
            raise StudyError("a feature's bounds must be finite, ordered and fit its transform; correct the contract")


@dataclass(frozen=True, slots=True)
class FeatureContract:
    """An ordered list of features under a name that is never given another content."""

    name: str
    features: tuple[Feature, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the contract's canonical JSON."""
        plain = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(plain.encode()).hexdigest()


#: Levels are in kW (averages), times in half-hours since local midnight (48 = never), variance in kW².
_CLASS22 = FeatureContract(
    "class22-v1",
    (
        Feature("cons_day_avg", "log", 0.1, 1.5),
        Feature("cons_evening_weekday_avg", "log", 0.1, 2.0),
        Feature("cons_morning_weekday_avg", "log", 0.07, 1.5),
        Feature("cons_night_weekday_avg", "log", 0.035, 0.7),
        Feature("cons_noon_weekday_avg", "log", 0.06, 1.4),
        Feature("cons_weekday_avg", "log", 0.08, 1.2),
        Feature("cons_weekend_avg", "log", 0.08, 1.3),
        Feature("consumption_variability_weekday_avg", "log", 1.8, 30.0),
        Feature("first_time_above_1000_weekday_avg", "none", 4.0, 48.0),
        Feature("first_time_above_2000_weekday_avg", "none", 13.0, 48.0),
        Feature("first_time_daily_max_weekday_avg", "none", 14.0, 42.0),
        Feature("max_cons_avg", "log", 0.3, 5.5),
        Feature("min_cons_avg", "log", 0.01, 0.4),
        Feature("num_peaks_avg", "none", 0.0, 4.0),
        Feature("time_above_mean_weekday_avg", "none", 9.0, 25.0),
        Feature("time_above_mean_weekend_avg", "none", 9.0, 25.0),
        Feature("variance_avg", "log", 0.005, 1.2),
        Feature("ratio_morning_noon_weekday_avg", "log", 0.3, 4.0),
        Feature("ratio_evening_noon_weekday_avg", "log", 0.6, 7.0),
        Feature("ratio_night_day_avg", "log", 0.12, 1.0),
        Feature("ratio_min_avg_avg", "log", 0.05, 0.65),
        Feature("ratio_workday_weekend", "log", 0.5, 2.0),
    ),
)

#: What models of presence see at each half-hour. The home's own levels are of its own readings over the period.
HALF_HOURS = FeatureContract(
    "half-hours-v1",
    (
        Feature("kwh", "log", 0.005, 4.0),
        Feature("level_between_own_idle_and_busy", "none", -1.0, 2.0),
        Feature("sine_of_the_time_of_day", "none", -1.0, 1.0),
        Feature("cosine_of_the_time_of_day", "none", -1.0, 1.0),
        Feature("weekend", "none", 0.0, 1.0),
        Feature("presence_by_the_rule", "none", 0.0, 1.0),
    ),
)

_CONTRACTS = {_CLASS22.name: _CLASS22, HALF_HOURS.name: HALF_HOURS}


def contract(name: str) -> FeatureContract:
    """The contract of that name; StudyError if this release of skyglow has none."""
    try:
        return _CONTRACTS[name]
    except KeyError:
        raise StudyError("no feature contract of that name is installed; update the older side") from None


def install(given: FeatureContract) -> None:
    """Add a contract to this process, for features that were made elsewhere.

    Raises
    ------
    StudyError
        Another contract has that name.
    """
    if _CONTRACTS.setdefault(given.name, given) != given:
        raise StudyError("another feature contract has that name; give this one a name of its own")


def averaged(contract: FeatureContract, weeks: Sequence[NDArray[np.floating]]) -> tuple[_Array, NDArray[np.bool_]]:
    """Features scaled by the contract's public bounds, each home's mean over the weeks it has.

    Parameters
    ----------
    contract : FeatureContract
        F features in order.
    weeks : sequence of ndarray, each of shape (homes, F)
        As for `normalise`; one or more.

    Returns
    -------
    x : ndarray of float64, shape (homes, F)
        In [-1, 1]; all zero where no week is usable.
    usable : ndarray of bool, shape (homes,)

    Notes
    -----
    The score of a model without hidden layers is then the mean of its scores of those weeks. One home, one row: more
    weeks cost no more privacy. Of one week it is `normalise`, to the last bit.
    """
    found = [normalise(contract, raw) for raw in weeks]
    known = np.sum([usable for _, usable in found], axis=0)
    total = np.zeros_like(found[0][0])
    for x, _ in found:
        total += x
    return total / np.maximum(known, 1)[:, None], known > 0


def normalise(contract: FeatureContract, raw: NDArray[np.floating]) -> tuple[_Array, NDArray[np.bool_]]:
    """Scale raw features to [-1, 1] by the contract's public bounds.

    Parameters
    ----------
    contract : FeatureContract
        F features in order.
    raw : ndarray of float, shape (homes, F)
        In the units of the contract; any non-finite value makes its whole row unusable.

    Returns
    -------
    x : ndarray of float64, shape (homes, F)
        In [-1, 1]; all zero where unusable.
    usable : ndarray of bool, shape (homes,)

    Raises
    ------
    StudyError
        If the number of columns is not the contract's.

    Notes
    -----
    A row of the result depends on the same row of `raw` and on nothing else.
    """
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[1] != len(contract.features):
        raise StudyError("the features' columns are not those of the contract; rebuild the features")
    usable: NDArray[np.bool_] = np.isfinite(raw).all(axis=1)
    x = np.zeros(raw.shape, dtype=np.float64)
    for column, feature in enumerate(contract.features):
        transform = _TRANSFORMS[feature.transform]
        low, high = transform(np.array([feature.low, feature.high]))
        value = transform(np.clip(raw[usable, column], feature.low, feature.high))
        x[usable, column] = np.clip(2.0 * (value - low) / (high - low) - 1.0, -1.0, 1.0)
    return x, usable
