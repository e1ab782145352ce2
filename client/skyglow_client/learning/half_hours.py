# SPDX-License-Identifier: Apache-2.0
"""What the model of presence sees at each half-hour of a home: its own readings, its own levels, and the clock."""

import datetime

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.presence import presence_rule
from skyglow_client.readings.calendar import SLOTS, weekdays
from skyglow_shared.models.features import normalise
from skyglow_shared.models.temporal import CONTRACT

_LEAST_KWH = CONTRACT.features[0].low
_ABSURD_KWH = 1e4
_IDLE, _BUSY = 0.1, 0.9
_LEAST_SPREAD = 0.3  # of the logarithm: a home that draws the same all day has no levels to lie between


def half_hours(kwh: NDArray[np.floating], start: datetime.date) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Inputs of the temporal model.

    Parameters
    ----------
    kwh : ndarray of float, shape (homes, days, 48)
        kWh in local clock slots; a day with any NaN is left out.
    start : date
        The first day.

    Returns
    -------
    x : ndarray of float32, shape (homes, days, 48, 6)
        In [-1, 1], in the order of `models.temporal.CONTRACT`; zero on days left out.
    valid : ndarray of bool, shape (homes, days)

    Notes
    -----
    A home's inputs depend on its own readings and on nothing else; bounds are public.
    """
    kwh = np.clip(np.asarray(kwh, dtype=np.float64), 0.0, _ABSURD_KWH)
    valid = np.asarray(np.isfinite(kwh).all(axis=2))
    x = np.zeros((*kwh.shape, len(CONTRACT.features)), dtype=np.float32)
    weekend = np.repeat(~weekdays(start, kwh.shape[1]), SLOTS).astype(np.float64)
    turn = np.tile(2 * np.pi * (np.arange(SLOTS) + 0.5) / SLOTS, kwh.shape[1])
    clock = np.stack([np.sin(turn), np.cos(turn), weekend], axis=1)
    present = presence_rule(kwh)
    for home, (readings, counts) in enumerate(zip(kwh, valid, strict=True)):
        use = np.repeat(counts, SLOTS)
        rule = present[home].reshape(-1, 1)
        raw = np.column_stack([readings.reshape(-1), _level(readings.reshape(-1), use), clock, rule])
        x[home] = normalise(CONTRACT, np.where(use[:, None], raw, np.nan))[0].reshape(*kwh.shape[1:], -1)
    return x, valid


def _level(readings: NDArray[np.float64], use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each reading between the home's own idle (0) and busy (1) level, on a logarithmic scale."""
    log = np.log(np.maximum(np.where(use, readings, 1.0), _LEAST_KWH))
    idle, busy = np.quantile(log[use], (_IDLE, _BUSY)) if use.any() else (0.0, 1.0)
    return np.asarray((log - idle) / max(float(busy - idle), _LEAST_SPREAD))
