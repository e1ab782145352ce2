# SPDX-License-Identifier: Apache-2.0
"""The sum over homes of their clipped gradients, without making the gradients.

A home's gradient is scaled by scaling its errors, so the sum of clipped gradients is one product of all errors with all
inputs: what the same step without privacy computes, cut into leaves (see `rounding`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_client.learning.clipped_sums.batch import Batch, rows
from skyglow_client.learning.clipped_sums.leaves import leaves
from skyglow_client.learning.clipped_sums.norms import form, measured, terms
from skyglow_client.learning.clipped_sums.passes import block_homes, passed
from skyglow_client.learning.clipped_sums.rounding import SINGLE, Arithmetic, leaf_homes
from skyglow_shared.errors import InternalError
from skyglow_shared.models.aligned import aligned, widened
from skyglow_shared.models.network import Layer, Network, Parameters, outer, parts, product

_LEAVES_AT_ONCE = 4096
_ROUNDINGS = 4  # from a norm to a scaled error
_FULL_UP = 16  # homes of a product are filled up to a multiple: each new size of a product takes a while to prepare


Pair = tuple[Tensor, Tensor]
"""Two factors of a block's gradients, one row a home."""

Piece = tuple[Tensor, Tensor, slice]
"""The same, and which of the homes are meant."""


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
    """What is done to every block: the network as wide as it is computed, parameters, and what becomes of gradients."""

    network: Network
    parameters: Parameters
    clip: Clip


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
    wide = aligned(network)
    work = Work(wide, parts(wide, widened(network, wide, weights), clip.arithmetic.dtype), clip)
    cuts = list(leaves(batch.keys, leaf_homes(clip.arithmetic, terms(wide))))
    for first in range(0, len(cuts), _LEAVES_AT_ONCE):
        total = np.zeros(network.parameters)
        into = parts(network, total, torch.float64)
        totals = [
            _Total(*each, layer, form(wide, layer) == "explicit") for each, layer in zip(into, wide.layers, strict=True)
        ]
        _sum(work, batch, cuts[first : first + _LEAVES_AT_ONCE], totals)
        yield total


@torch.no_grad()
def rows_alike(network: Network, weights: NDArray[np.float64], batch: Batch) -> bool:
    """Whether the homes of a block, all equal, come out equal to the last bit, and sums of them wherever they lie."""
    wide = aligned(network)
    parameters = parts(wide, widened(network, wide, weights), torch.float32)
    pairs = clipped_block(Work(wide, parameters, Clip(1.0)), batch)
    homes = max(1, len(batch) // 3)
    for pair in pairs:
        wanted = _summed([(*pair, slice(0, homes))])
        for first in (1, len(batch) - homes):
            found = _summed([(*pair, slice(first, first + homes))])
            if not all(torch.equal(*both) for both in zip(found, wanted, strict=True)):
                return False
    return all(bool((factor == factor[:1]).all()) for pair in pairs for factor in pair)


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
    one = torch.eye(_FULL_UP).mul_(1 + 2.0**-22)
    return bool(torch.equal(product(one, torch.eye(_FULL_UP)), one))


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Have the C library keep what is freed for the next step, instead of asking the system for it page by page.

    glibc keeps twice as much as the largest piece that was ever freed, if that is below 32 MiB; nothing is written to
    the piece, so it takes no memory. Elsewhere this does nothing.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@torch.no_grad()
def _sum(work: Work, batch: Batch, cuts: Sequence[slice], totals: Sequence["_Total"]) -> None:
    """Add neighbouring leaves. Blocks and leaves end where they like: what a leaf still lacks is waited for."""
    step, end = block_homes(work.network), cuts[-1].stop
    waiting = iter(cuts)
    cut: slice | None = next(waiting)
    pieces: list[list[Piece]] = [[] for _ in totals]
    for begin in range(cuts[0].start, end, step):
        block = slice(begin, min(begin + step, end))
        pairs = clipped_block(work, batch.take(block))
        while cut is not None and cut.start < block.stop:
            own = slice(max(cut.start, begin) - begin, min(cut.stop, block.stop) - begin)
            for held, pair in zip(pieces, pairs, strict=True):
                held.append((*pair, own))
            if cut.stop > block.stop:
                break
            for total, held in zip(totals, pieces, strict=True):
                total.add(held, whole=work.clip.whole)
                held.clear()
            cut = next(waiting, None)


def _joined(pieces: Sequence[Piece]) -> Pair:
    """Both factors of a leaf's sum from where its homes lie; errors are filled up with zeros, and add nothing."""
    homes = sum(own.stop - own.start for _, _, own in pieces)
    left, right, own = pieces[0]
    more = -homes % _FULL_UP if left.shape[1] == 1 else 0
    errors = [some[place] for some, _, place in pieces]
    if more:
        errors.append(left.new_zeros(more, *left.shape[1:]))
    joined = torch.cat(errors) if len(errors) > 1 else errors[0]
    if len(pieces) == 1 and own.stop + more <= len(right):
        return joined, right[own.start : own.stop + more]
    inputs = [some[place] for _, some, place in pieces]
    if more:
        inputs.append(right.new_zeros(more, *right.shape[1:]))
    return joined, torch.cat(inputs)


def _summed(pieces: Sequence[Piece]) -> Pair:
    """The sum of all homes' products of both factors, and of the first factor."""
    left, right = _joined(pieces)
    errors = left.flatten(0, 1)
    return outer(errors, right.flatten(0, 1)), errors.sum(0)


@dataclass(frozen=True, slots=True)
class _Total:
    """One layer's sum so far, in float64.

    Attributes
    ----------
    weights, biases : Tensor
        The layer's part of a vector of the network's own parameters.
    layer : Layer
        As wide as it is computed.
    explicit : bool
        Whether homes' gradients are given, and not their factors.
    """

    weights: Tensor
    biases: Tensor
    layer: Layer
    explicit: bool

    def add(self, pieces: Sequence[Piece], *, whole: bool) -> None:
        """Add a leaf, given in pieces; rounded to whole numbers if asked."""
        weights, biases = _summed(pieces)
        if self.explicit:
            split = self.layer.outputs * self.layer.width
            weights, biases = weights[0, :split].view(self.layer.outputs, -1), weights[0, split:]
        for total, found in ((self.weights, weights), (self.biases, biases)):
            own = found[tuple(slice(size) for size in total.shape)]
            into, more = total.numpy(), (own.round_() if whole else own).numpy()
            np.add(into, more, out=into)  # numpy widens a little at a time, torch all at once


def clipped_block(work: Work, batch: Batch) -> list[Pair]:
    """Both factors of the clipped gradients of a block's homes, layer by layer."""
    network, parameters, clip = work.network, work.parameters, work.clip
    block = rows(network, batch, clip.arithmetic.dtype, block_homes(network))
    found = passed(network, parameters, block)
    layers = [
        measured(form(network, layer), layer, into, errors, clip.arithmetic)
        for layer, into, errors in zip(network.layers, found.rows, found.errors, strict=True)
    ]
    square = torch.stack([one.square for one in layers]).sum(0)
    magnitude = torch.stack([one.magnitude for one in layers]).sum(0)
    usable = block.usable & torch.isfinite(square) & torch.isfinite(magnitude)
    longest = torch.maximum(square.sqrt(), magnitude.sqrt() / clip.arithmetic.spread)
    factor = clip.scale * (clip.bound / longest).clamp_max(1.0) * (1 - _ROUNDINGS * clip.arithmetic.roundoff)
    factor = torch.where(usable, factor, 0.0).to(clip.arithmetic.dtype)[:, None, None]
    pairs = [(one.left.mul_(factor), one.right) for one in layers]
    if not bool(usable.all()):
        for values in (values for pair in pairs for values in pair):
            values.masked_fill_(~usable[:, None, None], 0.0)
    return pairs
