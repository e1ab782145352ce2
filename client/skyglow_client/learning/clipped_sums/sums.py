# SPDX-License-Identifier: Apache-2.0
"""The sum over homes of their clipped gradients, without making the gradients.

A home's gradient is scaled by scaling its errors, so the sum of clipped gradients is one product of all errors with all
inputs: what the same step without privacy computes, cut into leaves (see `rounding`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from skyglow_shared.models.aligned import aligned, narrowed, widened
from skyglow_shared.models.network import Layer, Network, Parameters, parts

_LEAVES_AT_ONCE = 4096
_ROUNDINGS = 4  # from a norm to a scaled error


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
    wide = aligned(network)
    parameters = parts(wide, widened(network, wide, weights), clip.arithmetic.dtype)
    cuts = list(leaves(batch.keys, leaf_homes(clip.arithmetic, terms(wide))))
    for first in range(0, len(cuts), _LEAVES_AT_ONCE):
        some = cuts[first : first + _LEAVES_AT_ONCE]
        yield narrowed(network, wide, _sum(wide, parameters, batch, some, clip))


@torch.no_grad()
def rows_alike(network: Network, weights: NDArray[np.float64], batch: Batch) -> bool:
    """Whether the homes of a block, all equal, come out equal to the last bit."""
    wide = aligned(network)
    parameters = parts(wide, widened(network, wide, weights), torch.float32)
    pairs = clipped_block(wide, parameters, batch, Clip(1.0))
    return all(bool((factor == factor[:1]).all()) for pair in pairs for factor in pair)


def _check_precision() -> None:
    lowered = torch.get_float32_matmul_precision() != "highest" or torch.is_autocast_enabled("cpu")
    if lowered:
        raise InternalError(
            "products are set to less than their numbers' precision; leave torch's settings as they are"
        )


@torch.no_grad()
def _sum(
    network: Network, parameters: Parameters, batch: Batch, cuts: Sequence[slice], clip: Clip
) -> NDArray[np.float64]:
    """The sum of neighbouring leaves. Blocks and leaves end where they like: what a leaf still lacks is waited for."""
    totals = [_Total.start(network, layer, clip.arithmetic) for layer in network.layers]
    step, end = block_homes(network), cuts[-1].stop
    waiting, begun = list(cuts), cuts[0].start
    pieces: list[list[Pair]] = [[] for _ in network.layers]
    for begin in range(begun, end, step):
        block = slice(begin, min(begin + step, end))
        pairs = clipped_block(network, parameters, batch.take(block), clip)
        while waiting and waiting[0].start < block.stop:
            cut = waiting[0]
            own = slice(max(cut.start, begin) - begin, min(cut.stop, block.stop) - begin)
            for held, (left, right) in zip(pieces, pairs, strict=True):
                held.append((left[own], right[own]))
            if cut.stop > block.stop:
                break
            for total, held in zip(totals, pieces, strict=True):
                total.add(held, whole=clip.whole)
                held.clear()
            waiting.pop(0)
    return np.concatenate([total.numbers() for total in totals])


Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _Total:
    """One layer's sum so far, in float64, and room for a leaf's."""

    weights: Tensor
    biases: Tensor | None
    room: Tensor

    @classmethod
    def start(cls, network: Network, layer: Layer, arithmetic: Arithmetic) -> "_Total":
        explicit = form(network, layer) == "explicit"
        shape = (1, layer.parameters) if explicit else (layer.outputs, layer.width)
        biases = None if explicit else torch.zeros(layer.outputs, dtype=torch.float64)
        return cls(torch.zeros(shape, dtype=torch.float64), biases, torch.empty(shape, dtype=arithmetic.dtype))

    def add(self, pieces: Sequence[Pair], *, whole: bool) -> None:
        """Add a leaf, given in pieces; rounded to whole numbers if asked."""
        left, right = pieces[0] if len(pieces) == 1 else (torch.cat(some) for some in zip(*pieces, strict=True))
        errors, inputs = left.flatten(0, 1), right.flatten(0, 1)
        torch.mm(errors.T, inputs, out=self.room)
        self.weights.add_(self.room.round_() if whole else self.room)
        if self.biases is not None:
            total = errors.sum(0)
            self.biases.add_(total.round_() if whole else total)

    def numbers(self) -> NDArray[np.float64]:
        """In the order of the parameter vector."""
        made = [self.weights] if self.biases is None else [self.weights, self.biases]
        return np.concatenate([numbers.numpy().ravel() for numbers in made])


def clipped_block(network: Network, parameters: Parameters, batch: Batch, clip: Clip) -> list[Pair]:
    """Both factors of the clipped gradients of a block's homes, layer by layer."""
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
