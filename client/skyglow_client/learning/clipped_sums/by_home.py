# SPDX-License-Identifier: Apache-2.0
"""Each home's gradient by itself, by automatic differentiation: the fused sums' oracle, and what stands in for them.

It shares nothing with them but the network's description: convolutions are torch's own, and `vmap` maps over homes, so
that one gradient a home comes out whatever the network does inside.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import binary_cross_entropy_with_logits, conv1d, pad, relu

from skyglow_client.learning.clipped_sums.batch import Batch, Rows, rows
from skyglow_client.learning.clipped_sums.passes import block_homes
from skyglow_client.learning.clipped_sums.rounding import Arithmetic
from skyglow_shared.errors import InternalError
from skyglow_shared.models.aligned import aligned, narrowed, widened
from skyglow_shared.models.network import SLOTS, Layer, Network, Parameters


def home_gradients(
    network: Network, weights: NDArray[np.float64], batch: Batch, arithmetic: Arithmetic
) -> Iterator[NDArray[np.float64]]:
    """Gradients ``[homes, parameters]``, block by block; zero for a home whose rows cannot be used.

    Privacy
    -------
    Sensitive, one row a household, unclipped. The leading dimension is checked to be the number of households.
    """
    batch.check(network)
    wide = aligned(network)
    step, parameters = block_homes(wide), widened(network, wide, weights, arithmetic.dtype)
    each = vmap(grad(lambda values, x, y, share: _loss(wide, values, x, y, share)), in_dims=(None, 0, 0, 0))
    for begin in range(0, len(batch), step):
        part = batch.take(slice(begin, begin + step))
        with np.errstate(all="ignore"):
            block: Rows = rows(wide, part, arithmetic.dtype, step)
        found = each(parameters, block.x, block.y, block.share)
        flat = torch.cat([numbers.flatten(1) for layer in found for numbers in layer], dim=1)
        if flat.shape != (step, wide.parameters):
            raise InternalError("gradients are not one a household; please report this")
        yield narrowed(network, wide, flat[: len(part)].double().numpy())


def _loss(network: Network, parameters: Parameters, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    values = x
    for number, (layer, (weight, bias)) in enumerate(zip(network.layers, parameters, strict=True)):
        values = _convolved(layer, weight, values) + bias
        if number < len(network.layers) - 1:
            values = relu(values)
    each = binary_cross_entropy_with_logits(values, y, reduction="none")
    return torch.where(share > 0, each * share, 0.0).sum()


def _convolved(layer: Layer, weight: Tensor, values: Tensor) -> Tensor:
    """One home's values ``[places, inputs]`` through the layer's weights, ``[places, outputs]``."""
    if layer.days == layer.half_hours == 1:
        return values @ weight.T
    kernels = weight.view(layer.outputs, layer.days, layer.half_hours, layer.inputs)
    edge, half = layer.days // 2 * SLOTS, layer.half_hours // 2
    padded = pad(values.T, (edge + half, edge + half))
    whole = sum(
        conv1d(padded[:, day * SLOTS : day * SLOTS + len(values) + 2 * half], kernels[:, day].mT)
        for day in range(layer.days)
    )
    assert isinstance(whole, Tensor)  # noqa: S101 - there is at least one day
    return whole.T
