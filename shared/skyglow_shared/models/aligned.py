# SPDX-License-Identifier: Apache-2.0
"""Networks whose homes all begin at the same place of a cache line.

Matrix products may round a row by where in memory it lies, so a home's gradient would depend, in the last bit, on how
many homes come before it: no bound on one home would then bound a sum. Layers are therefore widened with zeros until
every home's numbers fill whole lines of 64 bytes. What is added has no weight and no label, and gives zero everywhere.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from skyglow_shared.errors import InternalError
from skyglow_shared.models.network import Network, forward, parts, surrounded

_LINE = 16  # numbers of 4 bytes


def aligned(network: Network) -> Network:
    """The network with layers as wide as alignment wants; itself where a home's places fill whole lines anyway."""
    if network.count % _LINE == 0:
        return network
    layers = (replace(layer, inputs=_up(layer.inputs), outputs=_up(layer.outputs)) for layer in network.layers)
    return Network(tuple(layers), network.places)


@lru_cache(maxsize=64)
def places_of(network: Network, wide: Network) -> NDArray[np.intp]:
    """Where a network's parameters are among those of the widened one, ``[parameters]``."""
    found, begin = [], 0
    for own, other in zip(network.layers, wide.layers, strict=True):
        weights = begin + other.width * np.arange(own.outputs)[:, None] + np.arange(own.width)
        biases = begin + other.width * other.outputs + np.arange(own.outputs)
        found += [weights.ravel(), biases]
        begin += other.parameters
    places = np.concatenate(found)
    places.setflags(write=False)
    return places


def widened(network: Network, wide: Network, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """A parameter vector of the widened network that gives the same log-odds."""
    if weights.shape != (network.parameters,):
        raise InternalError("a parameter vector is not of its network's length; please report this")
    found = np.zeros(wide.parameters)
    found[places_of(network, wide)] = weights
    return found


def logits(network: Network, weights: NDArray[np.float64], x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-odds `[homes, *places, outputs]` of inputs `[homes, *places, inputs]`, in float64."""
    wide = aligned(network)
    layers = parts(wide, widened(network, wide, weights), torch.float64)
    values = torch.zeros(len(x), network.count, wide.inputs, dtype=torch.float64)
    values[:, :, : network.inputs] = torch.from_numpy(np.array(x, dtype=np.float64)).view(*values.shape[:2], -1)
    for number, (layer, (weight, bias)) in enumerate(zip(wide.layers, layers, strict=True)):
        values = forward(layer, weight, bias, surrounded(layer, values))
        if number < len(layers) - 1:
            values = values.clamp_min(0.0)
    found: NDArray[np.float64] = values[:, :, : network.outputs].reshape(len(x), *network.places, -1).numpy()
    return found


def _up(size: int) -> int:
    return -(-size // _LINE) * _LINE
