# SPDX-License-Identifier: Apache-2.0
"""How much electricity each home of a store uses, by part of the day."""

import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.rows import ROWS, by_blocks
from skyglow_client.readings.store import Store
from skyglow_shared.electricity import PARTS


def mean_use(store: Store) -> NDArray[np.float64]:
    """Mean kWh a day of every home by part of the day, over its valid days of the whole period.

    Parameters
    ----------
    store : Store

    Returns
    -------
    ndarray of float64, shape (homes, parts)
        NaN where a home has no valid day. A home's row depends on that home alone, to the last bit.
    """
    found = [_means(store.kwh[first : first + ROWS], store.valid[first : first + ROWS]) for first in _starts(store)]
    return np.concatenate(found) if found else np.zeros((0, len(PARTS)))


def _starts(store: Store) -> range:
    return range(0, len(store.kwh), ROWS)


def _means(kwh: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of as many homes as fit in one block of rows."""

    def means(kwh: NDArray[np.float64], valid: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = np.where(valid[:, :, None] > 0, kwh, 0.0)
        parts = whole.reshape(*whole.shape[:2], len(PARTS), -1).sum(axis=3).sum(axis=1)
        return np.asarray(parts / valid.sum(axis=1)[:, None])

    return by_blocks(means, kwh, valid.astype(np.float64))
