# SPDX-License-Identifier: Apache-2.0
"""Many small models at once: one set of weights a client, each local step a handful of batched products.

A model is logistic, or has one hidden rectified layer. Its gradient is written out, so that a step of gradient descent
adds products to the weights in place and makes no other tensor of their size. The features carry a column of ones: the
first layer's last row of weights is its bias.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_LARGE = 64  # rows of a batch from which on NumPy's products are taken: no slower for a hundred, slower for ten

Weights = tuple[Tensor, ...]
"""`[models, features + 1, heads]` for a logistic model; else `[models, features + 1, hidden]`,
`[models, hidden, heads]` and the heads' bias `[models, 1, heads]`."""


def weight_shapes(features: int, hidden: int, heads: int) -> tuple[tuple[int, int], ...]:
    """Shapes of one model's weights."""
    if hidden == 0:
        return ((features + 1, heads),)
    return (features + 1, hidden), (hidden, heads), (1, heads)


def initial_weights(shapes: Sequence[tuple[int, int]], generator: torch.Generator) -> Weights:
    """One model's first weights, `[1, …]`, uniform within one over the root of the layer's inputs; biases too."""
    widths = (shapes[0][0] - 1, *(shapes[1][0] for _ in shapes[1:]))
    return tuple(
        (torch.rand(1, *shape, generator=generator) * 2 - 1) / math.sqrt(width)
        for shape, width in zip(shapes, widths, strict=True)
    )


def with_ones(features: Tensor) -> Tensor:
    """Features `[…, features]` with the column of ones that carries the bias, float32 `[…, features + 1]`."""
    ones = torch.ones(*features.shape[:-1], 1, dtype=torch.float32, device=features.device)
    return torch.cat([features.to(torch.float32), ones], dim=-1)


def logits(weights: Weights, inputs: Tensor) -> Tensor:
    """Log-odds `[models, rows, heads]` on inputs `[models or 1, rows, features + 1]`."""
    first, *rest = weights
    hidden = inputs @ first
    if not rest:
        return hidden
    second, bias = rest
    return hidden.clamp_min_(0.0) @ second + bias


@dataclass(frozen=True, slots=True)
class Buffers:
    """Where the steps of one batch size put what they compute, so that a step allocates nothing of size.

    Attributes
    ----------
    rows : Tensor
        `[models · batch, features + 1 + heads]`: inputs and labels of the batch, to be filled before a step.
    inputs, labels : Tensor
        The two parts of it, `[models, batch, features + 1]` and `[models, batch, heads]`.
    hidden, slope : Tensor
        `[models, batch, hidden]`: the hidden layer, and the gradient by its inputs.
    error : Tensor
        `[models, batch, heads]`: the gradient by the log-odds, times the learning rate.
    total : Tensor
        `[models, 1, heads]`: its sum over the batch.
    step : Tensor
        `[models, 1, hidden]`: the change of the second layer, where there is one head.
    change : Tensor
        `[models, features + 1, hidden]`: the change of the first layer, of large batches on the processor; else empty.
    """

    rows: Tensor
    inputs: Tensor
    labels: Tensor
    hidden: Tensor
    slope: Tensor
    error: Tensor
    total: Tensor
    step: Tensor
    change: Tensor


def buffers(models: int, batch: int, hidden: int, sizes: tuple[int, int], device: torch.device) -> Buffers:
    """Make the buffers of a batch size; `sizes` are the numbers of features and heads."""
    features, heads = sizes

    def empty(*shape: int) -> Tensor:
        return torch.empty(models, *shape, device=device)

    rows = empty(batch, features + 1 + heads)
    by_numpy = device.type == "cpu" and batch >= _LARGE
    return Buffers(
        rows=rows.flatten(0, 1),
        inputs=rows[:, :, : features + 1],
        labels=rows[:, :, features + 1 :],
        hidden=empty(batch, hidden),
        slope=empty(batch, hidden),
        error=empty(batch, heads),
        total=empty(1, heads),
        step=empty(1, hidden),
        change=empty(features + 1, hidden) if by_numpy else empty(0),
    )


def descend(weights: Weights, rates: Tensor, room: Buffers) -> None:
    """One step of gradient descent of every model on its own batch, in place.

    Parameters
    ----------
    weights : tuple of Tensor
        One set a model; changed.
    rates : Tensor
        Learning rate over batch size of each model, `[models, 1, 1]`: models of different settings differ in it.
    room : Buffers
        Of this batch size, its rows filled; all else is overwritten.
    """
    first, *rest = weights
    if not rest:
        torch.bmm(room.inputs, first, out=room.error)
        room.error.sigmoid_().sub_(room.labels).mul_(rates)
        first.baddbmm_(room.inputs.mT, room.error, alpha=-1.0)
        return
    second, bias = rest
    _into_hidden(first, room)
    room.hidden.clamp_min_(0.0)
    back = _one_head if room.labels.shape[-1] == 1 else _heads
    back(second, bias, rates, room)
    bias.sub_(torch.sum(room.error, dim=1, keepdim=True, out=room.total))
    torch.ops.aten.threshold_backward.grad_input(room.slope, room.hidden, 0.0, grad_input=room.slope)
    _back_from_hidden(first, room)


def _into_hidden(first: Tensor, room: Buffers) -> None:
    """What goes into the hidden layer.

    Notes
    -----
    NumPy's library of products uses all that processors of AMD have where it knows them, torch's does not: 2.3 times as
    fast for a hundred rows (benchmarks.md). It cannot add to what is there, which is dear for few rows.
    """
    if room.change.numel():
        np.matmul(room.inputs.numpy(), first.numpy(), out=room.hidden.numpy())
    else:
        torch.bmm(room.inputs, first, out=room.hidden)


def _back_from_hidden(first: Tensor, room: Buffers) -> None:
    """Take the gradient by the first layer from it."""
    if room.change.numel():
        np.matmul(room.inputs.mT.numpy(), room.slope.numpy(), out=room.change.numpy())
        first.sub_(room.change)
    else:
        first.baddbmm_(room.inputs.mT, room.slope, alpha=-1.0)


def _heads(second: Tensor, bias: Tensor, rates: Tensor, room: Buffers) -> None:
    torch.baddbmm(bias, room.hidden, second, out=room.error)
    room.error.sigmoid_().sub_(room.labels).mul_(rates)
    torch.bmm(room.error, second.mT, out=room.slope)
    second.baddbmm_(room.hidden.mT, room.error, alpha=-1.0)


def _one_head(second: Tensor, bias: Tensor, rates: Tensor, room: Buffers) -> None:
    """The same for a single head, where a batched product with one column is slower than multiplying and adding up."""
    row = second.mT
    torch.sum(torch.mul(room.hidden, row, out=room.slope), dim=2, keepdim=True, out=room.error)
    room.error.add_(bias).sigmoid_().sub_(room.labels).mul_(rates)
    torch.sum(torch.mul(room.hidden, room.error, out=room.slope), dim=1, keepdim=True, out=room.step)
    torch.mul(room.error, row, out=room.slope)
    row.sub_(room.step)
