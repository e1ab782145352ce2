# SPDX-License-Identifier: Apache-2.0
"""When somebody is at home, by a rule that needs no training: a home in use draws more than its own idle level.

The steps are those of unsupervised detectors such as GeoMA (log power, moving average, threshold, majority, night);
threshold, flat days, code and parameters are skyglow's own, chosen on simulated homes. A home's presence depends on
its own readings and on nothing else.
"""

import datetime
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skyglow_client.readings.calendar import SLOTS, weekdays

#: Changes whenever the rule gives other presence for the same readings.
RULE_VERSION: Final = "presence-rule-1"
_HOMES_AT_ONCE: Final = 500

_Float = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PresenceRule:
    """Public parameters of the rule; levels lie between a home's idle level (0) and its busy level (1).

    Attributes
    ----------
    least_kwh : float
        Readings are raised to this before the logarithm.
    average : int
        Half-hours of the centred moving average.
    idle, busy : float
        Quantiles of the smoothed log readings that are the idle and the busy level.
    share : float
        Level from which a half-hour is in use.
    majority : int
        Half-hours of the centred majority vote.
    flat : float
        A day whose highest level between 7:00 and 23:00 is below this is one without anybody.
    evening, morning : int
        Whoever is home at or after the slot `evening` stays until the slot `morning` of the next day.
    """

    least_kwh: float = 0.005
    average: int = 5
    idle: float = 0.1
    busy: float = 0.9
    share: float = 0.25
    majority: int = 7
    flat: float = 0.4
    evening: int = 40
    morning: int = 18


RULE: Final = PresenceRule()
_WAKING: Final = slice(14, 46)


def presence_rule(kwh: NDArray[np.floating], rule: PresenceRule = RULE) -> NDArray[np.uint8]:
    """Presence of homes, half-hour by half-hour.

    Parameters
    ----------
    kwh : ndarray of float, shape (homes, days, 48)
        kWh in local clock slots; a day with any NaN is left out.
    rule : PresenceRule
        Only the default is part of the contract with the office.

    Returns
    -------
    ndarray of uint8, shape (homes, days, 48)
        1 where somebody is home; 0 where not, and on days left out.
    """
    if kwh.ndim != 3 or kwh.shape[2] != SLOTS:
        raise ValueError("expected kWh of shape (homes, days, 48)")
    out = np.zeros(kwh.shape, dtype=np.uint8)
    for first in range(0, kwh.shape[0], _HOMES_AT_ONCE):
        part = slice(first, first + _HOMES_AT_ONCE)
        out[part] = _presence(np.asarray(kwh[part], dtype=np.float32), rule)
    return out


def day_profile(presence: NDArray[np.uint8], valid: _Mask, start: datetime.date) -> _Float:
    """Share of valid weekdays and weekend days with somebody home.

    Parameters
    ----------
    presence : ndarray of uint8, shape (homes, days, 48)
    valid : ndarray of bool, shape (homes, days)
    start : date
        The first day.

    Returns
    -------
    ndarray of float32, shape (homes, 2, 48)
        NaN where a home has no valid day of a type.
    """
    weekday = weekdays(start, presence.shape[1])
    profile = np.full((presence.shape[0], 2, SLOTS), np.nan, dtype=np.float32)
    for day_type, of_type in ((0, weekday), (1, ~weekday)):
        use = valid[:, of_type]
        days = use.sum(axis=1)
        total = (presence[:, of_type] * use[:, :, None]).sum(axis=1, dtype=np.int64)
        some = days > 0
        profile[some, day_type] = total[some] / days[some, None]
    return profile


def _presence(kwh: _Float, rule: PresenceRule) -> _Mask:
    valid = np.asarray(np.isfinite(kwh).all(axis=2))
    level = _levels(kwh, valid, rule)
    flat = level[:, :, _WAKING].max(axis=2) < rule.flat
    in_use = (level >= rule.share).astype(np.float32).reshape(len(kwh), -1)
    home = (_average(in_use, rule.majority) > 0.5).reshape(kwh.shape) & ~flat[:, :, None]
    return _nights(home, valid, rule) & valid[:, :, None]


def _levels(kwh: _Float, valid: _Mask, rule: PresenceRule) -> _Float:
    """Smoothed log readings on the home's own scale from idle to busy; idle on days left out."""
    use = np.repeat(valid, SLOTS, axis=1)
    log = np.log(np.maximum(np.where(use, kwh.reshape(use.shape), np.float32(1)), np.float32(rule.least_kwh)))
    days = np.maximum(use.sum(axis=1, keepdims=True), 1)
    log = np.where(use, log, np.where(use, log, 0).sum(axis=1, keepdims=True) / days).astype(np.float32)
    smooth = _average(log, rule.average)
    idle, busy = _quantiles(smooth, use, rule)
    spread = np.maximum(busy - idle, np.float32(1e-6))
    level: _Float = np.where(use, (smooth - idle) / spread, np.float32(0)).reshape(kwh.shape)
    return level


def _quantiles(smooth: _Float, use: _Mask, rule: PresenceRule) -> tuple[_Float, _Float]:
    """Idle and busy level of each home over its valid days, [homes, 1] each."""
    levels = np.zeros((2, len(smooth), 1), dtype=np.float32)
    whole = use.all(axis=1)
    quantiles = (rule.idle, rule.busy)
    levels[:, whole, 0] = np.quantile(smooth[whole], quantiles, axis=1)
    for home in np.flatnonzero(~whole & use.any(axis=1)):
        levels[:, home, 0] = np.quantile(smooth[home, use[home]], quantiles)
    return levels[0], levels[1]


def _average(series: _Float, width: int) -> _Float:
    """Centred moving average of odd width along series [homes, half-hours]; the ends are repeated."""
    half = width // 2
    padded = np.pad(series, ((0, 0), (half, half)), mode="edge")
    total = padded[:, : series.shape[1]].copy()
    for step in range(1, width):
        total += padded[:, step : step + series.shape[1]]
    return total / np.float32(width)


def _nights(home: _Mask, valid: _Mask, rule: PresenceRule) -> _Mask:
    """Whoever is home in the evening stays overnight; where the evening before is not known, by the same day's."""
    evening = np.asarray(home[:, :, rule.evening :].any(axis=2))
    before = evening.copy()
    before[:, 1:] = np.where(valid[:, :-1], evening[:, :-1], evening[:, 1:])
    out = home.copy()
    out[:, :, rule.evening :] |= evening[:, :, None]
    out[:, :, : rule.morning] |= before[:, :, None]
    return out
