# SPDX-License-Identifier: Apache-2.0
"""Filling gaps by recognised methods: short ones by interpolation, longer ones by the home's own usual day."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Gaps up to this long are interpolated; "within two hours" is the usual limit for half-hourly readings.
SHORT_GAP: Final = 4
#: A day with more of its 48 readings missing is not filled but masked.
MOST_MISSING: Final = 24

_Float = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Filled:
    """What `fill_gaps` did to a chunk of homes.

    Attributes
    ----------
    valid : ndarray of bool, shape (homes, days)
        Days with all 48 readings, read or filled.
    interpolated, typical : int
        Half-hours filled on valid days by either method.
    masked : int
        Days that had some readings but are not valid.
    """

    valid: _Mask
    interpolated: int
    typical: int
    masked: int


def fill_gaps(kwh: _Float, weekday: _Mask) -> Filled:
    """Fill gaps of homes in place, and make days that can't be filled wholly NaN.

    Parameters
    ----------
    kwh : ndarray of float32, shape (homes, days, 48)
        Contiguous; NaN where missing.
    weekday : ndarray of bool, shape (days,)
        Monday to Friday.

    Notes
    -----
    Gaps of up to four half-hours with a reading on both sides, across midnight too, are interpolated linearly. Others
    get the mean of the home's readings in the same slot of the other days of the same type. A day of which more than
    half was missing is masked whatever could be done for it.
    """
    missing = np.isnan(kwh)
    lacking = missing.sum(axis=2)
    if not lacking.any():
        return Filled(np.ones(lacking.shape, dtype=bool), 0, 0, 0)
    typical = _typical_days(kwh, missing, weekday)
    homes = kwh.shape[0]
    interpolated = _interpolate(kwh.reshape(homes, -1), missing.reshape(homes, -1)).reshape(missing.shape)
    rest = missing & ~interpolated & (lacking <= MOST_MISSING)[:, :, None]
    for day_type, of_type in ((0, weekday), (1, ~weekday)):
        home, day, slot = np.nonzero(rest & of_type[None, :, None])
        kwh[home, day, slot] = typical[home, day_type, slot]
    valid = (lacking <= MOST_MISSING) & ~np.isnan(kwh).any(axis=2)
    kwh[~valid] = np.nan
    return Filled(
        valid,
        int(interpolated[valid].sum()),
        int(rest[valid].sum()),
        int((~valid & (lacking < kwh.shape[2])).sum()),
    )


def _typical_days(kwh: _Float, missing: _Mask, weekday: _Mask) -> _Float:
    """Mean reading by slot of weekdays and weekend days, [homes, 2, 48]; NaN where there is none."""
    out = np.full((kwh.shape[0], 2, kwh.shape[2]), np.nan, dtype=np.float32)
    for day_type, of_type in ((0, weekday), (1, ~weekday)):
        count = (~missing[:, of_type]).sum(axis=1)
        total = np.where(missing[:, of_type], 0, kwh[:, of_type]).sum(axis=1, dtype=np.float64)
        np.divide(total, count, out=out[:, day_type], where=count > 0, casting="same_kind")
    return out


def _interpolate(series: _Float, missing: _Mask) -> _Mask:
    """Fill short gaps of series [homes, half-hours] in place; the mask of what was filled."""
    length = series.shape[1]
    time = np.arange(length, dtype=np.int32)
    before = np.maximum.accumulate(np.where(missing, -1, time), axis=1)
    after = np.minimum.accumulate(np.where(missing, length, time)[:, ::-1], axis=1)[:, ::-1]
    short = missing & (before >= 0) & (after < length) & (after - before - 1 <= SHORT_GAP)
    home, at = np.nonzero(short)
    left, right = before[home, at], after[home, at]
    share = ((at - left) / (right - left)).astype(np.float32)
    series[home, at] = series[home, left] * (1 - share) + series[home, right] * share
    return short
