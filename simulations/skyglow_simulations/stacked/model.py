# SPDX-License-Identifier: Apache-2.0
"""Many small models at once: one set of weights a client, each local step a handful of batched products.

A model is logistic, or has one hidden rectified layer. Its gradient is written out, and everything that a step makes
has its place before training begins. The features carry a column of ones: the first layer's last row of weights is its
bias.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Work = Callable[[], object]
Chosen = NDArray[np.int64] | Tensor
"""Numbers of rows of the table of all, `[models, …]`: an array where the table is on the processor."""

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
class Step:
    """What the steps of one batch size work on, so that a step allocates nothing of size.

    Attributes
    ----------
    fetch : callable
        What takes the batch's inputs and labels from the table of all rows.
    labels : Tensor
        The latter, `[models, batch, heads]`.
    rates : Tensor
        Learning rate over batch size of each model, `[models, 1, 1]`: models of different settings differ in it.
    bias, total : Tensor
        Of the heads, `[models, 1, heads]`, and its change; a logistic model has none.
    hidden, slope : Tensor
        `[models, batch, hidden]`: the hidden layer, and the gradient by its inputs.
    error : Tensor
        `[models, batch, heads]`: the gradient by the log-odds, times the learning rate.
    forward, back : sequence of callable
        Layer by layer, what fills its outputs; and from the last layer on, what takes its gradient from its weights.
    into_slope : callable
        What fills `slope` with the gradient by the hidden layer.
    """

    fetch: Callable[[Chosen], object]
    labels: Tensor
    rates: Tensor
    bias: Tensor
    total: Tensor
    hidden: Tensor
    slope: Tensor
    error: Tensor
    forward: Sequence[_Work]
    back: Sequence[_Work]
    into_slope: _Work


def step_of(weights: Weights, rates: Tensor, batch: int, table: Tensor) -> Step:
    """Make room for the steps of a batch size; they change `weights` in place.

    Parameters
    ----------
    weights : tuple of Tensor
        One set a model.
    rates : Tensor
        As in `Step`.
    batch : int
    table : Tensor
        Everybody's inputs and labels side by side, for one gathering fetches both: `[all rows, features + 1 + heads]`.
    """
    models, width, hidden = weights[0].shape
    first, second, bias = weights if len(weights) == 3 else (weights[0], weights[0], weights[0][:, :1])
    heads = second.shape[2]
    rows = first.new_empty(models, batch, width + heads)
    inputs, error = rows[:, :, :width], first.new_empty(models, batch, heads)
    activity, slope = (first.new_empty(models, batch, hidden) for _ in range(2))
    if len(weights) == 1:
        forward, back = [_product(inputs, first, error)], [_descent(inputs, error, first)]
    else:
        forward = [_product(inputs, first, activity), _product(activity, second, error)]
        back = [_descent(activity, error, second), _descent(inputs, slope, first)]
    one_head = partial(torch.mul, error, second.mT, out=slope)  # no product of matrices is as quick
    return Step(
        fetch=_gathering(table, rows),
        labels=rows[:, :, width:],
        rates=rates,
        bias=bias,
        total=torch.empty_like(bias),
        hidden=activity,
        slope=slope,
        error=error,
        forward=forward,
        back=back,
        into_slope=one_head if heads == 1 else _product(error, second.mT, slope),
    )


def descend(step: Step, chosen: Chosen) -> None:
    """One step of gradient descent of every model on its own batch, `[models, batch]`."""
    step.fetch(chosen)
    step.forward[0]()
    if len(step.forward) == 1:
        step.error.sigmoid_().sub_(step.labels).mul_(step.rates)
        step.back[0]()
        return
    step.hidden.clamp_min_(0.0)
    step.forward[1]()
    step.error.add_(step.bias).sigmoid_().sub_(step.labels).mul_(step.rates)
    step.into_slope()
    torch.ops.aten.threshold_backward.grad_input(step.slope, step.hidden, 0.0, grad_input=step.slope)
    for layer in step.back:
        layer()
    step.bias.sub_(torch.sum(step.error, dim=1, keepdim=True, out=step.total))


def _gathering(table: Tensor, rows: Tensor) -> Callable[[Chosen], object]:
    """What puts chosen rows of the table in `rows`, `[models, batch, …]`."""
    if table.device.type == "cpu":
        return partial(np.take, table.numpy(), axis=0, out=rows.numpy(), mode="clip")  # without a copy in between
    flat = rows.flatten(0, 1)
    return lambda chosen: torch.index_select(table, 0, torch.as_tensor(chosen).flatten(), out=flat)


def _product(left: Tensor, right: Tensor, out: Tensor) -> _Work:
    """What puts each model's product of matrices in `out`.

    Notes
    -----
    On the processor by NumPy, whose library uses AVX-512 on AMD's too, where torch's does not: in less than half the
    time (benchmarks.md). Arrays are made of tensors once: that takes as long as some of the work of a step.
    """
    if out.device.type == "cpu":
        return partial(np.matmul, left.numpy(), right.numpy(), out=out.numpy())
    return partial(torch.bmm, left, right, out=out)


def _descent(inputs: Tensor, errors: Tensor, weight: Tensor) -> _Work:
    """What takes from each model's weights the product of a layer's inputs with its errors."""
    if weight.device.type != "cpu":
        return partial(weight.baddbmm_, inputs.mT, errors, alpha=-1.0)
    own, change = weight.numpy(), np.empty(weight.shape, np.float32)
    multiply = partial(np.matmul, inputs.mT.numpy(), errors.numpy(), out=change)

    def work() -> None:
        multiply()
        np.subtract(own, change, out=own)

    return work
