# SPDX-License-Identifier: Apache-2.0
"""Networks whose homes all begin at the same place of a cache line.

Matrix products may round a row by where in memory it lies, so a home's gradient would depend, in the last bit, on how
many homes come before it: no bound on one home would then bound a sum. Layers are therefore widened with zeros until
every home's numbers fill whole lines of 64 bytes. What is added has no weight and no label, and gives zero everywhere.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_shared.errors import InternalError
from skyglow_shared.models.network import Network, Parameters, forward, rounded, surrounded

_LINE = 16  # numbers of 4 bytes


@lru_cache(maxsize=64)
def aligned(network: Network) -> Network:
    """The network with layers as wide as alignment wants; itself where a home's places fill whole lines anyway."""
    if network.count % _LINE == 0:
        return network
    layers = (replace(layer, inputs=_up(layer.inputs), outputs=_up(layer.outputs)) for layer in network.layers)
    return Network(tuple(layers), network.places)


def widened(network: Network, wide: Network, weights: NDArray[np.floating], dtype: torch.dtype) -> Parameters:
    """Parameters of the widened network that give the same log-odds.

    Notes
    -----
    Only layers that become wider are copied again. All is left to NumPy: a library that was driven out of the cache by
    the step before takes many times as long for its first small operations, and torch more so.
    """
    if weights.shape != (network.parameters,):
        raise InternalError("a parameter vector is not of its network's length; please report this")
    own = numbers_of(network, network, rounded(weights, dtype))
    return tuple(
        (_filled(weight, (layer.outputs, layer.width)), _filled(bias, (layer.outputs,)))
        for layer, (weight, bias) in zip(wide.layers, own, strict=True)
    )


def _filled(own: NDArray[np.floating], shape: tuple[int, ...]) -> Tensor:
    if own.shape == shape:
        return torch.from_numpy(own)
    found = np.zeros(shape, own.dtype)
    found[tuple(map(slice, own.shape))] = own
    return torch.from_numpy(found)


def narrowed(network: Network, wide: Network, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a network's own parameters have in vectors ``[…, parameters]`` of the widened one."""
    if wide == network:
        return vectors
    rows = vectors.shape[:-1]
    pieces = [part.reshape(*rows, -1) for pair in numbers_of(network, wide, vectors) for part in pair]
    return np.concatenate(pieces, axis=-1)


def numbers_of(
    network: Network, wide: Network, vectors: NDArray[np.floating]
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    """Views of each layer's own weights and biases in vectors ``[…, parameters]`` of the widened network."""
    rows, begin = vectors.shape[:-1], 0
    for own, other in zip(network.layers, wide.layers, strict=True):
        middle, end = begin + other.outputs * other.width, begin + other.parameters
        weights = vectors[..., begin:middle].reshape(*rows, other.outputs, other.width)
        yield weights[..., : own.outputs, : own.width], vectors[..., middle : middle + own.outputs]
        begin = end


@torch.inference_mode()
def logits(
    network: Network, weights: NDArray[np.float64], x: NDArray[np.floating], arithmetic: torch.dtype = torch.float64
) -> NDArray[np.float64]:
    """Log-odds `[homes, *places, outputs]` of inputs `[homes, *places, inputs]`, computed in such numbers."""
    wide = aligned(network)
    layers = widened(network, wide, weights, arithmetic)
    values = torch.zeros(len(x), network.count, wide.inputs, dtype=arithmetic)
    values[:, :, : network.inputs] = torch.from_numpy(np.array(x)).view(*values.shape[:2], -1)
    for number, (layer, (weight, bias)) in enumerate(zip(wide.layers, layers, strict=True), start=1):
        values = forward(layer, weight, bias, surrounded(layer, values), rectified=number < len(layers))
    found = values[:, :, : network.outputs].reshape(len(x), *network.places, -1).numpy()
    return found.astype(np.float64)


def _up(size: int) -> int:
    return -(-size // _LINE) * _LINE
