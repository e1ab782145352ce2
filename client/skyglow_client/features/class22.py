# SPDX-License-Identifier: Apache-2.0
"""The 22 features of one week of half-hours, after the CLASS project (Beckel et al., e-Energy 2013), own code.

Levels are average power in kW, times are half-hours since local midnight (48 = never that week day), variance in kW².
The order is that of the contract ``class22-v1`` (`skyglow_shared.models.features`), which holds the public bounds.
"""

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

DAY = slice(12, 44)  # 06-22
MORNING = slice(12, 20)  # 06-10
NOON = slice(20, 28)  # 10-14
EVENING = slice(36, 44)  # 18-22
NIGHT = slice(2, 10)  # 01-05
LEAST_WEEKDAYS = 3
LEAST_WEEKEND_DAYS = 1
PEAK_KW = 0.2
#: Both sides of a ratio are at least this, so that an empty home's ratios are 1 and not undefined.
RATIO_FLOOR_KW = 0.01


def class22(kwh: NDArray[np.floating]) -> _Array:
    """Features of one week.

    Parameters
    ----------
    kwh : ndarray of float, shape (homes, 7, 48)
        kWh per half-hour in local clock time, day 0 a Monday. Days with any NaN are left out.

    Returns
    -------
    ndarray of float64, shape (homes, 22)
        NaN in the whole row of a home with fewer than 3 valid weekdays or no valid weekend day.
    """
    kwh = np.asarray(kwh, dtype=np.float64)
    if kwh.ndim != 3 or kwh.shape[1:] != (7, 48):
        raise ValueError("expected kWh of shape (homes, 7, 48)")
    valid = np.isfinite(kwh).all(axis=2)
    weekdays, weekend = valid[:, :5].sum(axis=1), valid[:, 5:].sum(axis=1)
    enough = (weekdays >= LEAST_WEEKDAYS) & (weekend >= LEAST_WEEKEND_DAYS)
    features = np.full((kwh.shape[0], 22), np.nan)
    if enough.any():
        valid = valid[enough]
        power = _by_slot(np.where(valid[:, :, None], 2.0 * kwh[enough], 0.0))
        features[enough] = np.column_stack(
            _levels(power, valid) + _times_and_spread(power, valid) + _ratios(power, valid)
        )
    return features


def _by_slot(power: _Array) -> _Array:
    """Slots first, [48, homes, 7]: a day's sums and extremes are then of whole rows, all homes at once."""
    slots: _Array = np.ascontiguousarray(np.moveaxis(power, 2, 0))
    return slots


def _weekday_mean(by_day: _Array, valid: NDArray[np.bool_]) -> _Array:
    """Mean over valid weekdays of a quantity a day, [homes, 7] -> [homes]."""
    return _mean(by_day[:, :5], valid[:, :5])


def _mean(by_day: _Array, valid: NDArray[np.bool_]) -> _Array:
    """Mean over valid days of a quantity a day, [homes, days] -> [homes]."""
    total: _Array = np.where(valid, by_day, 0.0).sum(axis=1)
    return total / valid.sum(axis=1)


def _window(power: _Array, window: slice) -> _Array:
    """Mean power in a window of the day, [homes, 7]."""
    mean: _Array = power[window].mean(axis=0)
    return mean


def _levels(power: _Array, valid: NDArray[np.bool_]) -> list[_Array]:
    """Features 1 to 8."""
    daily = power.mean(axis=0)
    change = np.abs(np.diff(power, axis=0)).sum(axis=0)
    windows = [_weekday_mean(_window(power, window), valid) for window in (EVENING, MORNING, NIGHT, NOON)]
    return [
        _mean(_window(power, DAY), valid),
        *windows,
        _weekday_mean(daily, valid),
        _mean(daily[:, 5:], valid[:, 5:]),
        _weekday_mean(change, valid),
    ]


def _times_and_spread(power: _Array, valid: NDArray[np.bool_]) -> list[_Array]:
    """Features 9 to 17."""
    above_mean, largest = _count(power > power.mean(axis=0)), power.max(axis=0)
    return [
        _weekday_mean(_first_time(power > 1.0), valid),
        _weekday_mean(_first_time(power > 2.0), valid),
        _weekday_mean(_first_time(power == largest), valid),
        _mean(largest, valid),
        _mean(power.min(axis=0), valid),
        _weekday_mean(_peaks(power), valid),
        _weekday_mean(above_mean, valid),
        _mean(above_mean[:, 5:], valid[:, 5:]),
        _mean(power.var(axis=0), valid),
    ]


def _count(true: NDArray[np.bool_]) -> _Array:
    """How many half-hours or hours of each day, [homes, 7]."""
    count: _Array = true.sum(axis=0, dtype=np.uint8).astype(np.float64)
    return count


def _first_time(above: NDArray[np.bool_]) -> _Array:
    """First half-hour of each day for which `above` holds, 48 if none, [homes, 7]."""
    return _count(~np.logical_or.accumulate(above, axis=0))


def _peaks(power: _Array) -> _Array:
    """Hours of each day that are over 0.2 kW above both neighbours, [homes, 7]."""
    step = np.diff((power[::2] + power[1::2]) / 2, axis=0)
    return _count((step[:-1] > PEAK_KW) & (step[1:] < -PEAK_KW))


def _ratios(power: _Array, valid: NDArray[np.bool_]) -> list[_Array]:
    """Features 18 to 22: ratios of averages."""
    daily = power.mean(axis=0)
    noon = _weekday_mean(_window(power, NOON), valid)
    return [
        _ratio(_weekday_mean(_window(power, MORNING), valid), noon),
        _ratio(_weekday_mean(_window(power, EVENING), valid), noon),
        _ratio(_mean(_window(power, NIGHT), valid), _mean(_window(power, DAY), valid)),
        _ratio(_mean(power.min(axis=0), valid), _mean(daily, valid)),
        _ratio(_weekday_mean(daily, valid), _mean(daily[:, 5:], valid[:, 5:])),
    ]


def _ratio(above: _Array, below: _Array) -> _Array:
    return np.maximum(above, RATIO_FLOOR_KW) / np.maximum(below, RATIO_FLOOR_KW)
