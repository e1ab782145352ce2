# SPDX-License-Identifier: Apache-2.0
"""Small networks of every kind, homes for them, and the slow, plain way to their clipped sums."""

import numpy as np
import pytest
import torch

from skyglow_client.learning.clipped_sums import Batch
from skyglow_shared.models.network import Layer, Network

NETWORKS = {
    "logistic": Network((Layer(22, 5),)),
    "perceptron": Network((Layer(20, 13), Layer(13, 9), Layer(9, 4))),
    "perceptron, wide": Network((Layer(20, 36), Layer(36, 2))),  # its inputs have columns to spare when aligned
    "daily": Network((Layer(48, 40), Layer(40, 40), Layer(40, 3)), (9,)),  # its norms go by inner products
    "daily, narrow": Network((Layer(48, 3), Layer(3, 2)), (9,)),  # its norms go by the gradients
    "temporal": Network((Layer(3, 4, 1, 5), Layer(4, 3, 3, 1), Layer(3, 4, 3, 3), Layer(4, 1)), (4, 48)),
}


def make_batch(network, homes, seed=0, missing=0.0, unknown=0.0, size=1.0):
    """Homes with keys in order; on days that are missing stands what must not be looked at."""
    rng = np.random.default_rng([seed, homes])
    x = rng.normal(0, size, (homes, *network.places, network.inputs))
    y = rng.integers(0, 2, (homes, *network.places, network.outputs)).astype(float)
    y[rng.random(y.shape) < unknown] = np.nan
    days = None
    if network.places and missing:
        days = rng.random((homes, network.places[0])) >= missing
        x[~days], y[~days] = np.nan, np.inf
    keys = np.sort(rng.integers(0, 2**64, homes, dtype=np.uint64))
    return Batch(keys, x, y, days)


def make_weights(network, seed=1, size=0.5):
    return np.random.default_rng(seed).normal(0, size, network.parameters)


def home_loss(network, weights, x, y, counts):
    """One home's loss, written down as it is defined: windows by their indices, means by their known places."""
    values, begin = x, 0
    places = range(max(1, int(np.prod(network.places))))
    for number, layer in enumerate(network.layers):
        end = begin + layer.outputs * layer.width
        weight = weights[begin:end].reshape(layer.outputs, layer.width)
        bias, begin = weights[end : end + layer.outputs], end + layer.outputs
        nothing = torch.zeros(layer.inputs, dtype=values.dtype)
        reach = [
            48 * day + slot
            for day in range(-(layer.days // 2), layer.days // 2 + 1)
            for slot in range(-(layer.half_hours // 2), layer.half_hours // 2 + 1)
        ]
        seen = [
            torch.cat([values[place + by] if place + by in places else nothing for by in reach]) for place in places
        ]
        values = torch.stack(seen) @ weight.T + bias
        if number < len(network.layers) - 1:
            values = torch.relu(values)
    loss = torch.zeros((), dtype=values.dtype)
    for output in range(network.outputs):
        known = [place for place in places if counts[place] and not torch.isnan(y[place, output])]
        for place in known:
            logit = values[place, output]
            loss = loss + (torch.logaddexp(logit, torch.zeros_like(logit)) - y[place, output] * logit) / len(known)
    return loss


def by_loop(network, weights, batch, bound):
    """The sum over homes of clipped gradients: one home after the other, each gradient by itself."""
    total = np.zeros(network.parameters)
    count = max(1, int(np.prod(network.places)))
    for home in range(len(batch)):
        days = np.ones(network.places[:1] or (1,), dtype=bool) if batch.days is None else batch.days[home]
        counts = np.repeat(days, count // len(days))
        x = np.array(batch.x[home], dtype=float).reshape(count, -1)
        x[~counts] = 0.0
        y = torch.from_numpy(np.array(batch.y[home], dtype=float).reshape(count, -1))
        flat = torch.from_numpy(weights).requires_grad_()
        loss = home_loss(network, flat, torch.from_numpy(x), y, counts)
        gradient = torch.autograd.grad(loss, flat)[0].numpy() if loss.requires_grad else np.zeros_like(total)
        if np.isfinite(gradient).all():
            total += gradient * min(1.0, bound / max(np.linalg.norm(gradient), 1e-300))
    return total


@pytest.fixture(params=NETWORKS, ids=lambda name: name.replace(", ", "-"))
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(scope="session")
def networks():
    return NETWORKS


@pytest.fixture(scope="session")
def batch_of():
    return make_batch


@pytest.fixture(scope="session")
def weights_of():
    return make_weights


@pytest.fixture(scope="session")
def loop():
    return by_loop
