# SPDX-License-Identifier: Apache-2.0
"""Row-wise arithmetic in which no row feels how many others there are.

Vectorised code rounds differently with the number of rows: tails of a loop, the shape a matrix product is blocked for.
One home more would then move other homes' vectors by a last bit, which the integer grid can turn into a step, and the
sensitivity of a sum would not be one home's bound. Here every call sees the same shape: rows are taken in blocks of
fixed size, the last one filled with zeros.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROWS = 256

_Array = NDArray[np.float64]


def by_blocks(function: Callable[..., _Array], *arrays: NDArray[np.floating]) -> _Array:
    """Apply a row-wise function of float64 arrays to blocks of `ROWS` rows.

    Parameters
    ----------
    function : callable
        Maps arrays of `ROWS` rows to one array of `ROWS` rows, each row by itself.
    *arrays : ndarray, shape (homes, ...)

    Returns
    -------
    ndarray of float64, shape (homes, ...)
        Non-finite where a home's own numbers lead there; no warning is given, for it would depend on one home.
    """
    homes = len(arrays[0])
    results = []
    with np.errstate(all="ignore"):
        for first in range(0, max(homes, 1), ROWS):
            part = [np.asarray(array[first : first + ROWS], dtype=np.float64) for array in arrays]
            results.append(function(*(_filled(rows) for rows in part)))
    return np.concatenate(results)[:homes]


def _filled(rows: _Array) -> _Array:
    whole = np.zeros((ROWS, *rows.shape[1:]))
    whole[: len(rows)] = rows
    return whole
