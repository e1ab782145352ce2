# SPDX-License-Identifier: Apache-2.0
"""Forward and backward through a network for a block of homes: what goes into each layer, and its gradient.

The gradient of a home's loss by a layer's weights is the sum, over places, of outer products of the gradient by the
layer's outputs (its *error*) with what went into it; by the bias it is the sum of the errors. Nothing else is needed
for norms and for clipped sums, and no gradient by any weight is made here.

Every block has the same shape, the last one is filled up with zeros: rows must not feel how many there are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skyglow_client.learning.clipped_sums.batch import Rows
from skyglow_shared.models.network import Network, Parameters, backward, forward, surrounded

_HOMES = 1024
_PLACES_AT_ONCE, _MANY = 24000, 128
_THRESHOLD = torch.ops.aten.threshold_backward.grad_input  # written over what it is given


@dataclass(frozen=True, slots=True)
class Passed:
    """What one block's passes leave.

    Attributes
    ----------
    rows : tuple of Tensor
        What goes into each layer, ``[homes, places, inputs]``, surrounded if the layer looks around.
    errors : tuple of Tensor
        Of each layer, ``[homes, places, outputs]``.
    """

    rows: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]


def block_homes(network: Network) -> int:
    """Homes of a block: by the network's shape alone."""
    if network.count == 1:
        return _HOMES
    homes = _MANY
    while homes > 1 and homes * network.count > _PLACES_AT_ONCE:
        homes //= 2
    return homes


def passed(network: Network, parameters: Parameters, homes: Rows) -> Passed:
    """Both passes for the homes of one block."""
    rows, outputs = _forward(network, parameters, homes.x)
    error = outputs.pop().sigmoid_().sub_(homes.y).mul_(homes.share)
    if homes.unknown is not None:
        error.masked_fill_(homes.unknown, 0.0)
    errors = [error]
    for number in range(len(network.layers) - 1, 0, -1):
        back = backward(network.layers[number], parameters[number][0], error, rows[number])
        error = _THRESHOLD(back, outputs.pop(), 0.0, grad_input=back)
        errors.append(error)
    return Passed(tuple(rows), tuple(reversed(errors)))


def _forward(network: Network, parameters: Parameters, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """What goes into each layer, and what comes out: rectified, but for the last."""
    rows, outputs, values = [], [], x
    for number, (layer, (weight, bias)) in enumerate(zip(network.layers, parameters, strict=True)):
        rows.append(surrounded(layer, values))
        values = forward(layer, weight, bias, rows[-1], rectified=number < len(network.layers) - 1)
        outputs.append(values)
    return rows, outputs
