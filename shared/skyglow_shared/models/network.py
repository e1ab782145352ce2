# SPDX-License-Identifier: Apache-2.0
"""Networks of linear layers, over a vector a home, over its days, or over its days and half-hours.

A layer is the same linear map at every place; at a place it sees its own inputs or, as a convolution, those of a window
of neighbouring days and half-hours. Time runs on over midnight, and there is nothing before the first and after the
last half-hour. Hidden layers are rectified; what comes out are log-odds. One description covers a logistic model with
several heads, a multilayer perceptron, one that is applied to every day, and a convolution along and across days.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from skyglow_shared.errors import InternalError
from skyglow_shared.privacy.randomness import ByteStream

SLOTS = 48
_ONEDNN = torch.ops.mkldnn._linear_pointwise.default if hasattr(torch.ops.mkldnn, "_linear_pointwise") else None

#: Numbers as numpy calls them, which makes shorter work of small arrays than torch.
REAL: Final[Mapping[torch.dtype, np.dtype[np.floating]]] = MappingProxyType(
    {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
)

Parameters = tuple[tuple[Tensor, Tensor], ...]
"""Of each layer, weights `[outputs, width]` and bias `[outputs]`."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer.

    Attributes
    ----------
    inputs, outputs : int
        Numbers at each place before and after it.
    days, half_hours : int
        The window that it sees around a place; odd.
    """

    inputs: int
    outputs: int
    days: int = 1
    half_hours: int = 1

    @property
    def width(self) -> int:
        """Numbers that an output is made of: the window's places, days first, and the inputs of each."""
        return self.days * self.half_hours * self.inputs

    @property
    def looks_around(self) -> bool:
        """Whether it sees more than the place itself."""
        return self.days > 1 or self.half_hours > 1

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.outputs * (self.width + 1)


@dataclass(frozen=True, slots=True)
class Network:
    """Layers, and the places of a home that they are applied at.

    Attributes
    ----------
    layers : tuple of Layer
    places : tuple of int
        ``()`` for one vector a home, ``(days,)``, or ``(days, 48)``.
    """

    layers: tuple[Layer, ...]
    places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        windows = {size for layer in self.layers for size in (layer.days, layer.half_hours)}
        pairs = zip(self.layers[:-1], self.layers[1:], strict=True)
        sound = (
            len(self.layers) > 0
            and all(before.outputs == after.inputs for before, after in pairs)
            and all(size % 2 == 1 for size in windows)
            and all(
                size >= 1
                for size in (*self.places, *(width for layer in self.layers for width in (layer.inputs, layer.outputs)))
            )
            and (windows == {1} or (len(self.places) == 2 and self.places[1] == SLOTS))
            and len(self.places) <= 2
        )
        if not sound:
            raise InternalError("a network's layers do not fit each other or its places; please report this")

    @property
    def inputs(self) -> int:
        """Numbers that go in at each place."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Log-odds that come out at each place."""
        return self.layers[-1].outputs

    @property
    def count(self) -> int:
        """Places of a home; 1 for a vector a home."""
        return math.prod(self.places)

    @property
    def parameters(self) -> int:
        """Length of the parameter vector: layer by layer, weights row by row and then biases."""
        return sum(layer.parameters for layer in self.layers)


def rounded(weights: NDArray[np.floating], dtype: torch.dtype) -> NDArray[np.floating]:
    """A copy in other numbers; without a word if some are beyond them, whatever weights the office chose."""
    with np.errstate(over="ignore"):
        return weights.astype(REAL[dtype])


def parts(network: Network, weights: NDArray[np.floating], dtype: torch.dtype) -> Parameters:
    """Cut a flat parameter vector into each layer's weights and bias."""
    if weights.shape != (network.parameters,):
        raise InternalError("a parameter vector is not of its network's length; please report this")
    flat, found, begin = torch.from_numpy(rounded(weights, dtype)), [], 0
    for layer in network.layers:
        end = begin + layer.parameters
        own = flat[begin : end - layer.outputs].view(layer.outputs, layer.width)
        found.append((own, flat[end - layer.outputs : end]))
        begin = end
    return tuple(found)


def initial(network: Network, public: bytes) -> NDArray[np.float64]:
    """Weights to begin training from, the same on every machine for the same 32 public bytes.

    Weights of hidden layers are uniform with variance 2 / width, which keeps rectified signals at their size; biases
    and the last layer are zero, so that every outcome is equally likely at first.
    """
    pieces, stream = [], ByteStream(public)
    for layer in network.layers[:-1]:
        fractions = (stream.words(layer.outputs * layer.width) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        pieces += [(2 * fractions - 1) * math.sqrt(6 / layer.width), np.zeros(layer.outputs)]
    return np.concatenate([*pieces, np.zeros(network.layers[-1].parameters)])


def surrounded(layer: Layer, values: Tensor) -> Tensor:
    """Put around each day what the layer's window sees beyond it.

    ``[homes, places, inputs]`` becomes ``[homes, days + edges, 48 + edges, inputs]``: a day's row begins in the evening
    before and ends in the morning after, by the window's reach; there are zeros outside of the period. Where the window
    stays within the day all days are one row, ``[homes, 1, places + edges, inputs]``. Values come back as they are if
    the layer sees one place alone.
    """
    if not layer.looks_around:
        return values
    homes, places, inputs = values.shape
    late, early = layer.days // 2, layer.half_hours // 2
    if not late:
        return F.pad(values, (0, 0, early, early))[:, None]
    flat = F.pad(values, (0, 0, late * SLOTS + early, late * SLOTS + early))
    shape = (homes, places // SLOTS + 2 * late, SLOTS + 2 * early, inputs)
    return flat.as_strided(shape, (flat.stride(0), SLOTS * inputs, inputs, 1)).contiguous()


def gathered(layer: Layer, rows: Tensor) -> Tensor:
    """The adjoint of `surrounded`: add up what is said of each place, in whichever rows."""
    if not layer.looks_around:
        return rows
    late, early = layer.days // 2, layer.half_hours // 2
    if not late:
        return rows[:, 0, early : rows.shape[2] - early].contiguous()
    homes, days = rows.shape[0], rows.shape[1] - 2 * late
    total = rows[:, :, early : early + SLOTS]
    if early:
        total = total.clone()
        total[:, :-1, SLOTS - early :] += rows[:, 1:, :early]
        total[:, 1:, :early] += rows[:, :-1, early + SLOTS :]
    return total[:, late : late + days].reshape(homes, days * SLOTS, layer.inputs)


def seen(layer: Layer, rows: Tensor) -> Tensor:
    """What the layer multiplies by its weights at each place: ``[homes, places, width]``."""
    if not layer.looks_around:
        return rows
    homes, days, slots = rows.shape[0], rows.shape[1] - layer.days + 1, rows.shape[2] - layer.half_hours + 1
    home, day, slot, one = rows.stride()
    shape = (homes, days, slots, layer.days, layer.half_hours, layer.inputs)
    found = rows.as_strided(shape, (home, day, slot, day, slot, one)).reshape(homes, days * slots, layer.width)
    return found.contiguous()  # products do not take rows that overlap


def product(rows: Tensor, columns: Tensor, bias: Tensor | None = None, *, rectified: bool = False) -> Tensor:
    """Each row times each column, ``[rows, n]`` by ``[columns, n]``, and `bias` ``[columns]`` on top.

    Notes
    -----
    No gradient flows through it. In float32 oneDNN does it where torch has it: on processors of AMD in half the time.
    It is quickest where all numbers of `rows` and of `columns` lie in order.
    """
    if rows.dtype == torch.float32 and _ONEDNN is not None:
        found: Tensor = _ONEDNN(rows, columns, bias, "relu" if rectified else "none", [], "")
        return found
    found = F.linear(rows, columns, bias)
    return found.clamp_min_(0.0) if rectified else found


def forward(layer: Layer, weight: Tensor, bias: Tensor, rows: Tensor, *, rectified: bool = False) -> Tensor:
    """Outputs ``[homes, places, outputs]`` of a layer from its surrounded inputs."""
    if not layer.looks_around:
        found = product(rows.flatten(0, 1), weight, bias, rectified=rectified)
        return found.view(*rows.shape[:2], layer.outputs)
    found = F.conv2d(rows.permute(0, 3, 1, 2), kernel(layer, weight), bias)
    found = found.permute(0, 2, 3, 1).reshape(len(rows), -1, layer.outputs)
    return found.clamp_min_(0.0) if rectified else found


def backward(layer: Layer, weight: Tensor, errors: Tensor, rows: Tensor) -> Tensor:
    """Gradient by a layer's inputs ``[homes, places, inputs]``, from that by its outputs."""
    if not layer.looks_around:
        return product(errors.flatten(0, 1), weight.T.contiguous()).view(*errors.shape[:2], layer.inputs)
    shaped = in_rows(layer, errors)
    by_rows, _, _ = torch.ops.aten.convolution_backward(
        shaped, rows.permute(0, 3, 1, 2), kernel(layer, weight), None,
        [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False],
    )  # fmt: skip
    return gathered(layer, by_rows.permute(0, 2, 3, 1))


def in_rows(layer: Layer, errors: Tensor) -> Tensor:
    """Numbers of a layer's outputs as its convolution gives them: ``[homes, outputs, rows, places of a row]``."""
    places = SLOTS if layer.days > 1 else errors.shape[1]
    return errors.view(len(errors), -1, places, layer.outputs).permute(0, 3, 1, 2)


def gradients(layer: Layer, errors: Tensor, rows: Tensor) -> Tensor:
    """Each home's gradient by a layer's weights, row by row, and then by its bias: ``[homes, parameters]``.

    Notes
    -----
    Home by home, which stays in the processor's cache, and for each place of the window by itself: what a home's places
    see there lies in order already, but where a window has both neighbouring days and half-hours.
    """
    homes, places, _ = errors.shape
    found, numbers = errors.new_empty(homes, layer.parameters), layer.outputs * layer.width
    torch.sum(errors, 1, out=found[:, numbers:])
    weights = found[:, :numbers].view(homes, layer.outputs, -1, layer.inputs).numpy()
    around = rows.numpy().reshape(homes, -1 if layer.looks_around else 1, *rows.shape[-2:])
    days, slots = around.shape[1] - layer.days + 1, around.shape[2] - layer.half_hours + 1
    turned, window = errors.numpy().transpose(0, 2, 1), list(np.ndindex(layer.days, layer.half_hours))
    for home in range(homes):
        for number, (day, slot) in enumerate(window):
            into = around[home, day : day + days, slot : slot + slots].reshape(places, layer.inputs)
            np.matmul(turned[home], into, out=weights[home, :, number])
    return found


def kernel(layer: Layer, weight: Tensor) -> Tensor:
    """A layer's weights as torch's convolution wants them: ``[outputs, inputs, days, half-hours]``."""
    return weight.view(layer.outputs, layer.days, layer.half_hours, layer.inputs).permute(0, 3, 1, 2)
