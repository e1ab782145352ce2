# SPDX-License-Identifier: Apache-2.0
"""The sum of one leaf's scaled gradients, layer by layer, from wherever in which blocks its homes lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skyglow_client.learning.clipped_sums.norms import Form, form
from skyglow_shared.models.aligned import numbers_of
from skyglow_shared.models.network import REAL, Layer, Network

_Array = NDArray[np.floating]

Factors = tuple[_Array, ...]
"""By what each row is to be scaled, ``[homes · rows]``, and what: errors and inputs, ``[homes · rows, …]``, the latter
scaled already, or the former, and then ones come first; or gradients, ``[homes, parameters]``."""

Piece = tuple[Sequence[Factors], slice]
"""A block, layer by layer, and which of its homes are meant."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a layer's gradients are measured and added.

    Attributes
    ----------
    layer : Layer
        As wide as it is computed.
    own : Layer
        As it is.
    form : {"single", "gram", "explicit"}
    rows : int
        Of each home, in what is added.
    """

    layer: Layer
    own: Layer
    form: Form
    rows: int

    @classmethod
    def of(cls, wide: Network, layer: Layer, own: Layer) -> "Way":
        """The way for a layer of the widened network."""
        kind = form(wide, layer)
        return cls(layer, own, kind, 1 if kind == "explicit" else wide.count)

    def factors(self, left: _Array, right: _Array, scale: _Array) -> Factors:
        """What a block's homes add, ``[homes, places, …]`` each as it was measured, scaled by ``[homes]``.

        The narrower of errors and inputs is scaled; errors are written over.
        """
        if self.form == "explicit":
            return scale, left.reshape(len(left), -1)
        errors, inputs = (values.reshape(-1, values.shape[-1]) for values in (left, right))
        by = scale if self.rows == 1 else scale.repeat(self.rows)
        if errors.shape[1] > inputs.shape[1]:
            return by, errors, inputs * by[:, None]
        errors *= by[:, None]
        return np.ones_like(by), errors, inputs

    def add_up(self, factors: Factors, weights: _Array, biases: _Array) -> None:
        """Put a leaf's sum in a layer's part of a vector of the network's own parameters."""
        by, errors, *inputs = factors
        if inputs:
            errors = errors[:, : self.own.outputs]
            np.matmul(errors.T, inputs[0][:, : self.own.width], out=weights)
            np.matmul(by, errors, out=biases)
            return
        found, split = by @ errors, self.layer.outputs * self.layer.width
        weights[...] = found[:split].reshape(self.layer.outputs, -1)[: self.own.outputs, : self.own.width]
        biases[...] = found[split:][: self.own.outputs]


class LeafSums:
    """Adds leaves' sums, each made in the same place.

    Parameters
    ----------
    network : Network
    ways : sequence of Way
    dtype : torch.dtype
    whole : bool
        Whether each leaf's sum is rounded to whole numbers.
    """

    def __init__(self, network: Network, ways: Sequence[Way], dtype: torch.dtype, *, whole: bool) -> None:
        self.total = np.empty(0)
        self._ways, self._whole = ways, whole
        self._leaf = np.empty(network.parameters, REAL[dtype])
        self._layers = list(numbers_of(network, network, self._leaf))

    def add(self, pieces: Sequence[Piece]) -> _Array:
        """Add the leaf that is made of `pieces`, and return its sum, until the next."""
        for number, (way, into) in enumerate(zip(self._ways, self._layers, strict=True)):
            way.add_up(_joined(pieces, number, way.rows), *into)
        if self._whole:
            np.rint(self._leaf, out=self._leaf)
        if self.total.size:
            self.total += self._leaf  # numpy widens a little at a time, torch all at once
        else:
            self.total = self._leaf.astype(np.float64)
        return self._leaf


def _joined(pieces: Sequence[Piece], number: int, rows: int) -> Factors:
    """A leaf's factors in one piece each: how its sum rounds must not tell how its homes lay in blocks.

    For the same reason torch puts pieces together: at the beginning of a cache line, where a block's errors are too.
    """
    cut = [[each[own.start * rows : own.stop * rows] for each in block[number]] for block, own in pieces]
    if len(cut) == 1:
        return tuple(cut[0])
    return tuple(torch.cat([torch.from_numpy(part) for part in each]).numpy() for each in zip(*cut, strict=True))
