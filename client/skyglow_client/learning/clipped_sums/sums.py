# SPDX-License-Identifier: Apache-2.0
"""The sum over homes of their clipped gradients, without making the gradients.

A home's gradient is scaled by scaling its errors, so the sum of clipped gradients is one product of all errors with all
inputs: what the same step without privacy computes, cut into leaves (see `rounding`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_client.learning.clipped_sums.batch import Batch, rows
from skyglow_client.learning.clipped_sums.leaf_sums import Factors, LeafSums, Piece, Way
from skyglow_client.learning.clipped_sums.leaves import leaves
from skyglow_client.learning.clipped_sums.norms import Measured, explicit, measured, terms
from skyglow_client.learning.clipped_sums.passes import block_homes, passed
from skyglow_client.learning.clipped_sums.rounding import SINGLE, Arithmetic, leaf_homes
from skyglow_shared.errors import InternalError
from skyglow_shared.models.aligned import aligned, widened
from skyglow_shared.models.network import REAL, Network, Parameters, gradients, product

_LEAVES_AT_ONCE = 4096
_ROUNDINGS = 8  # from a norm to a scaled error


@dataclass(frozen=True, slots=True)
class Clip:
    """What becomes of each home's gradient.

    Attributes
    ----------
    bound : float
        Largest norm of a home's gradient.
    scale : float
        What it is multiplied by thereafter.
    whole : bool
        Whether each leaf's sum is rounded to whole numbers.
    arithmetic : Arithmetic
        Numbers that all is computed in.
    """

    bound: float
    scale: float = 1.0
    whole: bool = False
    arithmetic: Arithmetic = SINGLE


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to every block.

    Attributes
    ----------
    network : Network
        As wide as it is computed.
    ways : tuple of Way
        By layer.
    parameters : Parameters
    clip : Clip
    """

    network: Network
    ways: tuple[Way, ...]
    parameters: Parameters
    clip: Clip

    @classmethod
    def of(cls, network: Network, weights: NDArray[np.float64], clip: Clip) -> "Work":
        """The work for a network's own parameters."""
        wide, ways = _ways(network)
        return cls(wide, ways, widened(network, wide, weights, clip.arithmetic.dtype), clip)


@lru_cache(maxsize=64)
def _ways(network: Network) -> tuple[Network, tuple[Way, ...]]:
    wide = aligned(network)
    return wide, tuple(Way.of(wide, *layers) for layers in zip(wide.layers, network.layers, strict=True))


@lru_cache(maxsize=64)
def most_homes(network: Network, arithmetic: Arithmetic) -> int:
    """Most homes of a leaf."""
    return leaf_homes(arithmetic, terms(aligned(network)))


def fused_sums(
    network: Network, weights: NDArray[np.float64], batch: Batch, clip: Clip
) -> Iterator[NDArray[np.float64]]:
    """Sums of clipped gradients, ``[parameters]`` each, of some thousand leaves at a time: whole numbers stay exact.

    Privacy
    -------
    Each home's vector, as it is added up, has norm at most ``clip.bound · clip.scale``, whatever its numbers are. A
    home with a number that is not finite, or whose square is beyond the arithmetic, contributes zero; that is decided
    before anything is clipped or added.
    """
    batch.check(network)
    _check_precision()
    _keep_memory()
    cuts = list(leaves(batch.keys, most_homes(network, clip.arithmetic)))
    for first in range(0, len(cuts), _LEAVES_AT_ONCE):
        yield _sum(network, weights, batch, clip, cuts[first : first + _LEAVES_AT_ONCE])


@torch.inference_mode()
def rows_alike(network: Network, weights: NDArray[np.float64], batch: Batch) -> bool:
    """Whether the homes of a block, all equal, come out equal to the last bit, and sums of them wherever they lie."""
    work, homes = Work.of(network, weights, Clip(1.0)), max(1, len(batch) // 3)
    block = clipped_block(work, batch)
    sums = LeafSums(network, work.ways, torch.float32, whole=False)
    found = [sums.add([(block, slice(first, first + homes))]).copy() for first in (0, 1, len(batch) - homes)]
    each = [factor.reshape(len(batch), -1) for factors in block for factor in factors]
    return all(bool((values == values[:1]).all()) for values in (np.stack(found), *each))


def _check_precision() -> None:
    set_to = torch._C._get_fp32_precision_getter("mkldnn", "matmul")
    lowered = set_to not in {"none", "ieee"} or torch.is_autocast_enabled("cpu")
    if lowered or not _products_are_whole():
        raise InternalError(
            "products are set to less than their numbers' precision; leave torch's settings as they are"
        )


@lru_cache(maxsize=1)
def _products_are_whole() -> bool:
    """Whether products keep all bits of float32: libraries can be told not to where torch does not see it."""
    one = torch.eye(16).mul_(1 + 2.0**-22)
    both = (product(one, torch.eye(16)), torch.from_numpy(one.numpy() @ np.eye(16, dtype=np.float32)))
    return all(torch.equal(found, one) for found in both)


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Have the C library keep what is freed for the next step, instead of asking the system for it page by page.

    glibc keeps twice as much as the largest piece that was ever freed, if that is below 32 MiB; nothing is written to
    the piece, so it takes no memory. Elsewhere this does nothing.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@np.errstate(all="ignore")  # of homes that cannot be used, and of whatever weights the office chose
@torch.inference_mode()
def _sum(
    network: Network, weights: NDArray[np.float64], batch: Batch, clip: Clip, cuts: Sequence[slice]
) -> NDArray[np.float64]:
    """The sum of neighbouring leaves. Blocks and leaves end where they like: what a leaf still lacks is waited for."""
    work = Work.of(network, weights, clip)
    sums = LeafSums(network, work.ways, clip.arithmetic.dtype, whole=clip.whole)
    step, end = block_homes(work.network), cuts[-1].stop
    waiting = iter(cuts)
    cut: slice | None = next(waiting)
    pieces: list[Piece] = []
    for begin in range(cuts[0].start, end, step):
        stop = min(begin + step, end)
        block = clipped_block(work, batch if stop - begin == len(batch) else batch.take(slice(begin, stop)))
        while cut is not None and cut.start < stop:
            pieces.append((block, slice(max(cut.start, begin) - begin, min(cut.stop, stop) - begin)))
            if cut.stop > stop:
                break
            sums.add(pieces)
            pieces.clear()
            cut = next(waiting, None)
    return sums.total


def clipped_block(work: Work, batch: Batch) -> list[Factors]:
    """Layer by layer, what the clipped gradients of a block's homes are made of."""
    arithmetic = work.clip.arithmetic
    block = rows(work.network, batch, arithmetic.dtype, block_homes(work.network))
    found = passed(work.network, work.parameters, block)
    each = list(zip(work.ways, found.rows, found.errors, strict=True))
    made = [gradients(way.layer, errors, into) if way.form == "explicit" else None for way, into, errors in each]
    layers = [  # thereafter: products drive the little that is done between two out of the cache
        measured(way.form, way.layer, into, errors, arithmetic) if own is None else explicit(own, arithmetic)
        for (way, into, errors), own in zip(each, made, strict=True)
    ]
    longest = _longest(layers, arithmetic)
    scale = _scale(work.clip, longest).astype(REAL[arithmetic.dtype])
    pairs = [(one.left, one.right) for one in layers]
    sound = np.isfinite(longest)
    if block.usable is not None:
        sound &= block.usable.numpy()
    if not sound.all():
        scale[~sound] = 0.0
        wrong = torch.from_numpy(~sound)[:, None, None]
        pairs = [(_without(left, wrong), _without(right, wrong)) for left, right in pairs]
    return [way.factors(*pair, scale) for way, pair in zip(work.ways, pairs, strict=True)]


def _without(values: NDArray[np.floating], wrong: Tensor) -> NDArray[np.floating]:
    kept: NDArray[np.floating] = torch.from_numpy(values).masked_fill(wrong, 0.0).numpy()
    return kept


def _longest(layers: Sequence[Measured], arithmetic: Arithmetic) -> NDArray[np.float64]:
    """At least the norm of each home's gradient; not finite where a home cannot be used."""
    found: NDArray[np.float64] = np.sqrt(reduce(np.add, [one.square for one in layers]))
    if any(one.magnitude is not one.square for one in layers):
        magnitude = np.sqrt(reduce(np.add, [one.magnitude for one in layers]))
        found = np.maximum(found, magnitude / arithmetic.spread)
    return found


def _scale(clip: Clip, longest: NDArray[np.float64]) -> NDArray[np.float64]:
    """What brings each home within its bound, what rounds on the way taken off."""
    most = clip.scale * (1 - _ROUNDINGS * clip.arithmetic.roundoff)
    found: NDArray[np.float64] = np.minimum(clip.bound * most / longest, most)
    return found
