# SPDX-License-Identifier: Apache-2.0
"""How long each home's gradient is, by the cheapest way for each layer, never too short.

At a single place a layer's gradient is an outer product and its norm the product of two norms. Where a home has several
places, one of two things is made, whichever takes fewer products: the inner products of its places' errors and inputs
(``gram``), of which the norm is a sum, or the gradient itself (``explicit``).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skyglow_client.learning.clipped_sums.rounding import Arithmetic
from skyglow_shared.models.network import Layer, Network, gradients, seen

Form = Literal["single", "gram", "explicit"]

_FEW = 8  # operations beyond sums of products


@dataclass(frozen=True, slots=True)
class Measured:
    """One layer's gradients of a block of homes.

    Attributes
    ----------
    square : ndarray of float64, shape (homes,)
        Upper bound on each home's squared norm; not finite where a home cannot be used.
    magnitude : ndarray of float64, shape (homes,)
        Upper bound on the squared norm of its summed magnitudes.
    left, right : ndarray of float
        Two factors of the gradients, ``[homes, places, …]``: errors and inputs. Where the form is explicit, both are
        the gradients ``[homes, 1, parameters]``.
    """

    square: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    left: NDArray[np.floating]
    right: NDArray[np.floating]


def form(network: Network, layer: Layer) -> Form:
    """The cheapest way for a layer, in multiplications."""
    places = network.count
    if places == 1:
        return "single"
    return "gram" if places * (layer.width + layer.outputs) < layer.width * layer.outputs else "explicit"


def terms(network: Network) -> int:
    """Most products that one home adds to a number of a leaf's sum."""
    return network.count if "gram" in {form(network, layer) for layer in network.layers} else 1


def measured(kind: Form, layer: Layer, rows: Tensor, errors: Tensor, arithmetic: Arithmetic) -> Measured:
    """Norms of one layer's gradients, and what their sum is made of; `rows` are as they go into the layer."""
    if kind == "explicit":
        return explicit(gradients(layer, errors, rows), arithmetic)
    left, right = errors.numpy(), seen(layer, rows).numpy()
    if kind == "gram":
        return _gram(right, left, arithmetic)
    margin = arithmetic.gamma(layer.width + layer.outputs + _FEW)
    square = _squares(left, arithmetic) * _squares(right, arithmetic, 1.0)
    square *= 1 + margin
    return Measured(square, square, left, right)


def explicit(gradient: Tensor, arithmetic: Arithmetic) -> Measured:
    """Norms of gradients ``[homes, parameters]`` as they were made: what is added up is they."""
    made = gradient.numpy()[:, None]
    square = _squares(made, arithmetic) * (1 + arithmetic.gamma(gradient.shape[1] + _FEW))
    return Measured(square, square, made, made)


def _gram(inputs: NDArray[np.floating], errors: NDArray[np.floating], arithmetic: Arithmetic) -> Measured:
    """A gram's products may cancel: its rounding is bounded by the magnitudes, which cannot.

    numpy takes a home's small products with themselves for symmetric, which is a slow way, unless they are cut in two.
    """
    margin = arithmetic.gamma(errors.shape[2] + inputs.shape[2] + errors.shape[1] + _FEW)
    of_errors, of_inputs = (_inner(values) for values in (errors, inputs))
    of_inputs += 1.0
    of_places = [
        np.einsum("htt->ht", products).astype(np.float64) + _floor(values, arithmetic)
        for products, values in ((of_errors, errors), (of_inputs, inputs))
    ]
    magnitude = np.square(np.sqrt(of_places[0] * of_places[1]).sum(axis=1)) * (1 + 2 * margin)
    summed = np.einsum("hts,hts->ht", of_errors, of_inputs).sum(axis=1, dtype=np.float64)
    square = np.maximum(summed, 0.0) * (1 + margin) + 2 * margin * magnitude
    return Measured(square, magnitude, errors, inputs)


def _inner(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inner products of each home's places, ``[homes, places, places]``."""
    homes, places, _ = values.shape
    found, columns = np.empty((homes, places, places), values.dtype), values.transpose(0, 2, 1)
    for own in (slice(places // 2), slice(places // 2, places)):
        np.matmul(values[:, own], columns, out=found[:, own])
    return found


def _squares(values: NDArray[np.floating], arithmetic: Arithmetic, more: float = 0.0) -> NDArray[np.float64]:
    """Squared norm of each home's numbers, with what underflow may have taken, and `more`."""
    flat = values.reshape(len(values), -1)
    found: NDArray[np.float64] = np.add(np.vecdot(flat, flat), _floor(values, arithmetic) + more, dtype=np.float64)
    return found


def _floor(values: NDArray[np.floating], arithmetic: Arithmetic) -> float:
    return arithmetic.least * math.prod(values.shape[1:])
