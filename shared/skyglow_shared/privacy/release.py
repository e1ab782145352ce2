# SPDX-License-Identifier: Apache-2.0
"""The one shape in which anything leaves a supplier: a noised grouped sum of clipped per-home vectors.

Clip each home's vector, put it on the integer grid toward zero (so that its norm cannot grow), add the homes of each
group, add discrete Gaussian noise. All sums are exact integers: one home moves the result by at most
`sensitivity_steps(noise_multiplier)` in Euclidean norm, with no rounding error to account for.
"""

import math
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import InternalError
from skyglow_shared.privacy.noise import SIGMA_STEPS, discrete_gaussian, sensitivity_steps
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.study import Block

#: A grouped sum on the grid before its noise is added. Sensitive: must not leave the gate.
ExactSum = NewType("ExactSum", np.ndarray)

_SHRINK = 1 - 1e-9
_ABSURD = 1e300  # beyond this a norm could overflow, and say so


def clip_rows(vectors: NDArray[np.float64], l2_bound: float) -> NDArray[np.float64]:
    """Scale each home's vector to norm at most `l2_bound`; a home with a non-finite or absurd entry contributes zero.

    Parameters
    ----------
    vectors : ndarray of float, shape (homes, width)
    l2_bound : float

    Returns
    -------
    ndarray of float64, shape (homes, width)
    """
    finite = (np.abs(vectors) < _ABSURD).all(axis=1, keepdims=True)  # false for NaN too
    clean: NDArray[np.float64] = np.where(finite, vectors, 0.0).astype(np.float64)
    largest = np.abs(clean).max(axis=1, initial=0.0, keepdims=True)
    safe = np.where(largest > l2_bound, largest, 1.0)  # so that squares cannot overflow, however absurd the values
    norm = safe * np.sqrt(np.square(clean / safe).sum(axis=1, keepdims=True))
    return clean * (l2_bound / np.maximum(norm, l2_bound))


def squares_in_noise(vectors: NDArray[np.float64], block: Block) -> NDArray[np.float64]:
    """Squared lengths [homes] of homes' clipped vectors, in units of the standard deviation of the block's noise."""
    clipped = clip_rows(vectors, block.l2_bound)
    return np.asarray(np.square(clipped / (block.l2_bound * block.noise_multiplier)).sum(axis=1))


def room(squares: NDArray[np.float64], noise_multiplier: float) -> NDArray[np.float64]:
    """By what to multiply homes' vectors of all blocks of a phase, that together they are within its one bound.

    On the grid all noise is alike, `SIGMA_STEPS`. So one home's vectors of several blocks are one vector, and what
    counts is how long that may be: 1 / `noise_multiplier` of the noise's standard deviation.

    Parameters
    ----------
    squares : ndarray of float64, shape (homes,)
        `squares_in_noise`, added up over all blocks that a home is in.
    noise_multiplier : float
        The phase's.

    Returns
    -------
    ndarray of float64, shape (homes,)
        At most 1; less where a home's vectors would be longer, with room for rounding.

    Privacy
    -------
    A home's factor depends on that home alone. Putting vectors on the grid moves every number toward zero, so that what
    holds before holds there.
    """
    return np.asarray(_SHRINK / np.maximum(noise_multiplier * np.sqrt(squares), _SHRINK))


def quantise(vectors: NDArray[np.float64], block: Block) -> NDArray[np.int64]:
    """Put clipped vectors on the block's grid, toward zero, and hold the integer norm to the bound exactly.

    Parameters
    ----------
    vectors : ndarray of float64, shape (homes, width)
        Clipped to the block's `l2_bound`.
    block : Block

    Returns
    -------
    ndarray of int64, shape (homes, width)
        Every row has Euclidean norm at most `sensitivity_steps(block.noise_multiplier)`.

    Raises
    ------
    InternalError
        The vectors were not clipped, or the block's bound is beyond those that a study may have.
    """
    bound = sensitivity_steps(block.noise_multiplier)
    scaled = vectors * (bound / block.l2_bound)
    if not (np.abs(scaled) < 2 * bound).all():  # no clipped vector; as an integer it could be anything
        raise InternalError("a block has a bound that its grid cannot hold; please report this")
    steps = np.trunc(scaled).astype(np.int64)
    over = np.square(steps).sum(axis=1) > bound**2
    if over.any():  # float error at the very edge
        steps[over] = np.trunc(scaled[over] * _SHRINK).astype(np.int64)
        if (np.square(steps[over]).sum(axis=1) > bound**2).any():
            raise InternalError("a home's vector is longer than its bound after clipping; please report this")
    return steps


def grouped_sum(vectors: NDArray[np.float64], group: NDArray[np.intp], groups: int, block: Block) -> ExactSum:
    """Clip, quantise and add per-home vectors by group.

    Parameters
    ----------
    vectors : ndarray of float, shape (homes, width)
        One row a household: the leading dimension is the number of households, whatever a row is made of.
    group : ndarray of int, shape (homes,)
        Which group each home belongs to, 0 … groups - 1.
    groups : int
    block : Block
        Gives `l2_bound` and `noise_multiplier`.

    Returns
    -------
    ndarray of int64, shape (groups, width), in grid steps

    Privacy
    -------
    Adding or removing one household changes the result by at most `sensitivity_steps(block.noise_multiplier)` in
    Euclidean norm. The result is exact, hence sensitive: only `add_noise` may take it further.
    """
    if vectors.ndim != 2 or group.shape != (vectors.shape[0],):
        raise InternalError("a block needs one vector and one group for each household; please report this")
    sums = np.zeros((groups, vectors.shape[1]), dtype=np.int64)
    np.add.at(sums, group, quantise(clip_rows(vectors, block.l2_bound), block))
    return ExactSum(sums)


def capped(sums: ExactSum, block: Block) -> ExactSum:
    """Hold every number of one supplier's exact sum to the block's `cap`, in units of the per-home vectors.

    Privacy
    -------
    |min(a, c) - min(b, c)| ≤ |a - b| for every number by itself: what one household moves does not grow, so the
    sensitivity of the capped sum is that of the sum. The cap is a constant of the signed study. Exact, hence sensitive.
    """
    return ExactSum(np.minimum(sums, math.floor(block.cap / step_size(block))))


def add_noise(sums: ExactSum, stream: ByteStream) -> NDArray[np.int64]:
    """Add discrete Gaussian noise of `SIGMA_STEPS` to every number of an exact sum.

    Privacy
    -------
    The result is a Gaussian mechanism of the block's noise multiplier and may leave the supplier once it is charged.
    """
    exact: NDArray[np.int64] = sums
    return exact + discrete_gaussian(stream, exact.size).reshape(exact.shape)


def step_size(block: Block) -> float:
    """The value of one grid step of a block, in the units of the per-home vectors."""
    return block.l2_bound / sensitivity_steps(block.noise_multiplier)


def noise_deviation(block: Block, steps: float = SIGMA_STEPS) -> float:
    """Standard deviation of noise of so many steps of a block's grid, in the units of the per-home vectors."""
    return steps * step_size(block)
