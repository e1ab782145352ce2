# SPDX-License-Identifier: Apache-2.0
"""The sum of one leaf's scaled gradients, layer by layer, from wherever in which blocks its homes lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_client.learning.clipped_sums.norms import Form, form
from skyglow_shared.models.network import Layer, Network, outer

_FULL_UP = 16  # rows of a product are filled up to a multiple: each new size of a product takes a while to prepare

Pair = tuple[Tensor, Tensor]
"""Errors and inputs, ``[homes · places, …]``; or gradients ``[homes, parameters]``, twice."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a layer's gradients are measured and added.

    Attributes
    ----------
    layer : Layer
        As wide as it is computed.
    form : {"single", "gram", "explicit"}
    rows : int
        Of each home, in both factors.
    spare : int or None
        A column of the inputs that is zero always, where there is one and inputs are narrower than errors: scaled,
        they take the factors there, so that the biases' sum comes out with the weights'.
    """

    layer: Layer
    form: Form
    rows: int
    spare: int | None

    @classmethod
    def of(cls, wide: Network, layer: Layer, own: Layer) -> "Way":
        """The way for a layer of the widened network."""
        kind = form(wide, layer)
        if kind == "explicit":
            return cls(layer, kind, 1, None)
        return cls(layer, kind, wide.count, own.width if own.width < layer.width < layer.outputs else None)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Gradients of a block of homes, and by what each home's are to be scaled.

    Attributes
    ----------
    pairs : list of Pair
        By layer.
    factors : dict of int to Tensor
        By how many rows a home has, ``[homes · rows, 1]``; zero for a home that cannot be used.
    """

    pairs: list[Pair]
    factors: dict[int, Tensor]

    @classmethod
    def of(cls, pairs: list[Pair], factor: Tensor, rows: set[int]) -> "Scaled":
        """From one factor a home, ``[homes]``."""
        return cls(pairs, {each: factor[:, None].expand(-1, each).reshape(-1, 1) for each in rows})


Piece = tuple[Scaled, slice]
"""A block, and which of its homes are meant."""


def leaf_sum(pieces: Sequence[Piece], ways: Sequence[Way]) -> list[Pair]:
    """Each layer's weights' and biases' part of a leaf's sum.

    Notes
    -----
    All factors first, then all products: a product drives the little that is done between two out of the cache.
    """
    factors = [_factors(pieces, number, way) for number, way in enumerate(ways)]
    return [_multiplied(*pair, way) for pair, way in zip(factors, ways, strict=True)]


def _factors(pieces: Sequence[Piece], number: int, way: Way) -> Pair:
    """Both factors of a leaf's sum, the scaled one first; of gradients, what scales them and they."""
    if way.form == "explicit":
        factors = [block.factors[1][own] for block, own in pieces]
        scale = factors[0] if len(factors) == 1 else torch.cat(factors)
        return scale, _as_it_is(pieces, number, 1, 1, scale.shape[0])
    side = 0 if way.spare is None else 1
    scaled = _scaled(pieces, number, side, way)
    return scaled, _as_it_is(pieces, number, 1 - side, way.rows, scaled.shape[0])


def _multiplied(scaled: Tensor, other: Tensor, way: Way) -> Pair:
    if way.form == "explicit":
        split, found = way.layer.outputs * way.layer.width, torch.from_numpy(scaled[:, 0].numpy() @ other.numpy())
        return found[:split].view(way.layer.outputs, -1), found[split:]
    if way.spare is not None:
        both = outer(other, scaled)
        return both, both[:, way.spare]
    return outer(scaled, other), scaled.sum(0)


def _scaled(pieces: Sequence[Piece], number: int, side: int, way: Way) -> Tensor:
    """One factor, scaled; filled up with zeros, which add nothing."""
    block, own = pieces[0]
    some, rows = block.pairs[number][side], sum([own.stop - own.start for _, own in pieces]) * way.rows
    found, begin = some.new_empty(rows + -rows % _FULL_UP, some.shape[1]), 0
    for block, own in pieces:
        place = slice(own.start * way.rows, own.stop * way.rows)
        end, factors = begin + place.stop - place.start, block.factors[way.rows][place]
        torch.mul(block.pairs[number][side][place], factors, out=found[begin:end])
        if way.spare is not None:
            found[begin:end, way.spare] = factors[:, 0]
        begin = end
    if found.shape[0] > rows:
        found[rows:].zero_()
    return found


def _as_it_is(pieces: Sequence[Piece], number: int, side: int, each: int, rows: int) -> Tensor:
    """The other factor, of so many rows; whoever stands beyond the leaf is multiplied by zero."""
    block, own = pieces[0]
    some, first = block.pairs[number][side], own.start * each
    if len(pieces) == 1 and first + rows <= some.shape[0]:
        return some[first : first + rows]
    parts = [block.pairs[number][side][own.start * each : own.stop * each] for block, own in pieces]
    lacking = rows - sum(part.shape[0] for part in parts)
    return torch.cat([*parts, some.new_zeros(lacking, some.shape[1])] if lacking else parts)


@dataclass(frozen=True, slots=True)
class Total:
    """One layer's sum over leaves so far.

    Attributes
    ----------
    weights, biases : ndarray of float64
        The layer's part of a vector of the network's own parameters.
    way : Way
    """

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    way: Way

    def add(self, weights: Tensor, biases: Tensor, *, whole: bool) -> None:
        """Add a leaf's sum, which is written over: rounded to whole numbers if asked."""
        outputs, width = self.weights.shape
        for total, found in ((self.weights, weights[:outputs, :width]), (self.biases, biases[:outputs])):
            more = found.numpy()
            if whole:
                np.rint(more, out=more)
            np.add(total, more, out=total)  # numpy widens a little at a time, torch all at once
