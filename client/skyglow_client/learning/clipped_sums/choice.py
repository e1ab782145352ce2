# SPDX-License-Identifier: Apache-2.0
"""The two ways to a clipped sum behind one call, and which of them is faster for a network."""

import time
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.clipped_sums.batch import Batch
from skyglow_client.learning.clipped_sums.by_home import home_gradients
from skyglow_client.learning.clipped_sums.norms import terms
from skyglow_client.learning.clipped_sums.passes import block_homes
from skyglow_client.learning.clipped_sums.rounding import (
    FINE,
    FINE_BITS,
    SINGLE,
    Arithmetic,
    home_steps,
    slack,
)
from skyglow_client.learning.clipped_sums.sums import Clip, fused_sums, most_homes, rows_alike
from skyglow_shared.errors import InternalError
from skyglow_shared.models.aligned import aligned
from skyglow_shared.models.network import Network
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import ExactSum, clip_rows, grouped_sum
from skyglow_shared.study import Block

Method = Literal["fused", "by_home"]
METHODS: tuple[Method, ...] = ("fused", "by_home")


def clipped_sum(
    network: Network,
    weights: NDArray[np.float64],
    batch: Batch,
    l2_bound: float,
    *,
    arithmetic: Arithmetic = SINGLE,
    method: Method | None = None,
) -> NDArray[np.float64]:
    """Sum over homes of each home's gradient, scaled to norm at most `l2_bound`.

    Parameters
    ----------
    network : Network
    weights : ndarray of float64, shape (parameters,)
    batch : Batch
    l2_bound : float
    arithmetic : Arithmetic
        Numbers that gradients are computed in.
    method : {"fused", "by_home"} or None
        None: whichever is faster.

    Returns
    -------
    ndarray of float64, shape (parameters,)
        Zero for an empty batch.

    Privacy
    -------
    Sensitive. Not on the grid and without noise: for tests and simulations; `exact_sum` is what may be released.
    """
    total = np.zeros(network.parameters)
    if (method or fastest(network)) == "fused":
        for part in fused_sums(network, weights, batch, Clip(l2_bound, arithmetic=arithmetic)):
            total += part
    else:
        for gradients in home_gradients(network, weights, batch, arithmetic):
            total += clip_rows(gradients, l2_bound).sum(axis=0)
    return total


def exact_sum(
    network: Network, weights: NDArray[np.float64], batch: Batch, block: Block, *, method: Method | None = None
) -> ExactSum:
    """The same on the block's grid, in float32 arithmetic and exact integers.

    Returns
    -------
    ndarray of int64, shape (1, parameters), in grid steps

    Raises
    ------
    StudyError
        The block's grid is too coarse for a network of this size.

    Privacy
    -------
    Adding or removing one household changes the result by at most ``sensitivity_steps(block.noise_multiplier)`` in
    Euclidean norm, every rounding included and however many households there are (see `rounding`). The result is exact,
    hence sensitive: only `privacy.release.add_noise` may take it further.
    """
    if (method or fastest(network)) == "by_home":
        total = np.zeros((1, network.parameters), dtype=np.int64)
        for gradients in home_gradients(network, weights, batch, SINGLE):
            total += grouped_sum(gradients, np.zeros(len(gradients), dtype=np.intp), 1, block)
        return ExactSum(total)
    parts = (part.astype(np.int64) for part in fused_sums(network, weights, batch, on_grid(network, block)))
    fine = next(parts, None)
    if fine is None:
        return ExactSum(np.zeros((1, network.parameters), dtype=np.int64))
    for more in parts:
        fine += more
    fine += FINE // 2
    fine >>= FINE_BITS
    return ExactSum(fine[None])


@lru_cache(maxsize=64)
def on_grid(network: Network, block: Block) -> Clip:
    """What becomes of each home in the fused sum on a block's grid: its bound leaves room for all that rounds."""
    charged = sensitivity_steps(block.noise_multiplier)
    share = slack(SINGLE, terms(aligned(network)), most_homes(network, SINGLE))
    steps = home_steps(block, network.parameters, share)
    return Clip(block.l2_bound * steps / charged, FINE * charged / block.l2_bound, whole=True)


@lru_cache(maxsize=64)
def fastest(network: Network) -> Method:
    """The faster method for a network, of those that are sound on this machine; nobody's data decide.

    Raises
    ------
    InternalError
        None is.
    """
    sound = [method for method in METHODS if steady(network, method)]
    if not sound:
        raise InternalError("this machine's arithmetic depends on where in memory homes lie; please report this")
    batch, weights = _alike(network)
    taken = {}
    for method in sound:
        for _ in range(2):  # the first warms up
            begun = time.process_time()
            clipped_sum(network, weights, batch, 1.0, method=method)
            taken[method] = time.process_time() - begun
    return min(sound, key=taken.__getitem__)


@lru_cache(maxsize=64)
def steady(network: Network, method: Method) -> bool:
    """Whether equal homes get equal gradients, to the last bit, at every place of a block.

    Compilers' and libraries' ways with the edges of arrays differ from processor to processor. Where this does not hold
    one home more could move the others' gradients, so the method must not be used.
    """
    batch, weights = _alike(network)
    if method == "by_home":
        vectors = next(iter(home_gradients(network, weights, batch, SINGLE)))
        return bool((vectors == vectors[:1]).all())
    return rows_alike(network, weights, batch)


def _alike(network: Network) -> tuple[Batch, NDArray[np.float64]]:
    """A block of equal homes of made-up numbers, and weights."""
    homes = block_homes(aligned(network))
    one = _uneven((1, *network.places, network.inputs)).astype(np.float32)
    label = np.abs(_uneven((1, *network.places, network.outputs))).astype(np.float32)
    x, y = (np.repeat(values, homes, axis=0) for values in (one, label))
    return Batch(np.arange(homes, dtype=np.uint64) << np.uint64(50), x, y), _uneven((network.parameters,)) / 8


def _uneven(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers within one of zero, no two alike: what is timed must be no home's and needs no chance."""
    return np.sin(np.arange(1.0, np.prod(shape) + 1) ** 1.5).reshape(shape)
