# SPDX-License-Identifier: Apache-2.0
"""Each household's own gradient, or its own few steps, of a model without hidden layers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad, vmap

from skyglow_client.learning.rows import by_blocks
from skyglow_shared.models import logistic
from skyglow_shared.study import Model

Array = NDArray[np.float64]


def household_gradients(
    model: Model, weights: Array, x: Array, y: Array, *, steps: int = 1, rate: float = 0.0
) -> Array:
    """Gradient of each household's log loss by itself, or the gradients of some steps of its own, added up.

    Parameters
    ----------
    model : Model
    weights : ndarray of float64, shape (parameters,)
        Flat parameter vector, in the order of the module's own parameters.
    x : ndarray of float64, shape (homes, features)
    y : ndarray of float64, shape (homes,)
    steps : int
        Steps that each household takes from the same weights, on its own data alone.
    rate : float
        Size of such a step.

    Returns
    -------
    ndarray of float64, shape (homes, parameters)
        Of several steps, how far the household went over `rate`, backwards: with one it is the gradient.

    Notes
    -----
    A household that walks alone is still one vector, which is clipped as a whole: federated averaging (McMahan et al.
    2017) with the household in place of the device. `vmap` maps over households, so a vector for each is what comes out
    whatever the model does inside; a model that mixed days into the batch would fail the check of `contributions`.
    """
    module = logistic.build(model)
    shapes = {name: value.shape for name, value in module.named_parameters()}
    parts = torch.split(torch.from_numpy(weights), [shape.numel() for shape in shapes.values()])
    parameters = {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}

    def loss(parameters: dict[str, torch.Tensor], one_x: torch.Tensor, one_y: torch.Tensor) -> torch.Tensor:
        logit = functional_call(module, parameters, (one_x,))
        return torch.nn.functional.binary_cross_entropy_with_logits(logit, one_y)

    def walk(parameters: dict[str, torch.Tensor], one_x: torch.Tensor, one_y: torch.Tensor) -> dict[str, torch.Tensor]:
        total: dict[str, torch.Tensor] = grad(loss)(parameters, one_x, one_y)
        for _ in range(steps - 1):
            here = {name: parameters[name] - rate * total[name] for name in total}
            slope = grad(loss)(here, one_x, one_y)
            total = {name: total[name] + slope[name] for name in total}
        return total

    each = vmap(walk, in_dims=(None, 0, 0))

    def gradients(x: Array, y: Array) -> Array:
        found = each(parameters, torch.from_numpy(x), torch.from_numpy(y))
        return np.concatenate([found[name].reshape(len(x), -1).numpy() for name in shapes], axis=1)

    return by_blocks(gradients, x, y)
