# SPDX-License-Identifier: Apache-2.0
"""Networks: what a window sees, what comes out, and where training begins."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_shared.errors import InternalError
from skyglow_shared.models import temporal
from skyglow_shared.models.aligned import aligned, logits, narrowed, widened
from skyglow_shared.models.network import (
    Layer,
    Network,
    backward,
    forward,
    gathered,
    initial,
    kernel,
    parts,
    product,
    seen,
    surrounded,
)

sizes = st.sampled_from([1, 3, 5])


@settings(max_examples=30, deadline=None)
@given(days=st.integers(1, 5), window=sizes, half_hours=sizes, inputs=st.integers(1, 3))
def test_a_window_sees_its_neighbours_over_midnight_and_zeros_outside(days, window, half_hours, inputs):
    layer = Layer(inputs, 2, window, half_hours)
    values = torch.randn(2, days * 48, inputs, dtype=torch.float64)
    found = seen(layer, surrounded(layer, values)).reshape(2, days * 48, window, half_hours, inputs)
    for place in (0, 1, 47, days * 48 // 2, days * 48 - 1):
        for day in range(window):
            for slot in range(half_hours):
                at = place + (day - window // 2) * 48 + slot - half_hours // 2
                wanted = values[:, at] if 0 <= at < days * 48 else torch.zeros(2, inputs, dtype=torch.float64)
                assert torch.equal(found[:, place, day, slot], wanted)


@settings(max_examples=30, deadline=None)
@given(days=st.integers(1, 5), window=sizes, half_hours=sizes)
def test_gathering_is_the_adjoint_of_surrounding(days, window, half_hours):
    layer = Layer(2, 3, window, half_hours)
    values = torch.randn(2, days * 48, 2, dtype=torch.float64)
    rows = surrounded(layer, values)
    others = torch.randn(rows.shape, dtype=torch.float64)
    assert torch.allclose((rows * others).sum(), (values * gathered(layer, others)).sum())


@pytest.mark.parametrize("layer", [Layer(3, 4), Layer(3, 4, 3, 5), Layer(2, 3, 1, 3), Layer(2, 3, 3, 1)])
def test_layers_are_products_with_what_they_see_and_backward_is_their_gradient(layer):
    values = torch.randn(2, 96, layer.inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(layer.outputs, layer.width, dtype=torch.float64)
    bias, errors = torch.randn(layer.outputs, dtype=torch.float64), torch.randn(2, 96, layer.outputs).double()
    rows = surrounded(layer, values)
    found = forward(layer, weight, bias, rows)
    assert torch.allclose(found, seen(layer, rows) @ weight.T + bias)
    [wanted] = torch.autograd.grad(found, values, errors)
    assert torch.allclose(backward(layer, weight, errors, rows.detach()), wanted)
    assert kernel(layer, weight).shape == (layer.outputs, layer.inputs, layer.days, layer.half_hours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_those_of_rows_and_columns_however_they_lie(dtype):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, dtype=dtype, generator=generator) for shape in ((37, 19), (23, 19)))
    bias, close = torch.randn(23, dtype=dtype, generator=generator), 1e-5 if dtype == torch.float32 else 1e-14
    wanted = left.double() @ right.double().T
    turned = [part.T.contiguous().T for part in (left, right)]
    for found in (product(left, right), product(*turned), product(left[:, :], right, bias) - bias):
        assert found.dtype == dtype
        assert torch.allclose(found.double(), wanted, rtol=0, atol=close)


@pytest.mark.parametrize("places", [(), (9,), (2, 48)])
def test_widening_changes_no_logit_and_lines_are_filled(places):
    network = Network((Layer(5, 7), Layer(7, 3)), places)
    wide = aligned(network)
    weights = np.random.default_rng(0).normal(size=network.parameters)
    x = np.random.default_rng(1).normal(size=(4, *places, 5))
    (first, one), (second, two) = parts(network, weights, torch.float64)
    wanted = torch.relu(torch.from_numpy(x) @ first.T + one) @ second.T + two
    np.testing.assert_allclose(logits(network, weights, x), wanted.numpy(), rtol=0, atol=1e-12)
    assert all(wide.count * layer.inputs % 16 == 0 for layer in wide.layers)
    filled = [numbers.flatten() for pair in widened(network, wide, weights, torch.float64) for numbers in pair]
    np.testing.assert_array_equal(narrowed(network, wide, torch.cat(filled).numpy()), weights)


def test_training_begins_at_the_same_weights_everywhere():
    network = Network((Layer(22, 8), Layer(8, 1)))
    weights = initial(network, bytes(32))
    np.testing.assert_array_equal(weights, initial(network, bytes(32)))
    assert (weights != initial(network, b"\1" * 32)).any()
    assert not weights[22 * 8 :].any()  # biases, and the last layer: every outcome is equally likely
    hidden = weights[: 22 * 8]
    assert abs(hidden).max() <= np.sqrt(6 / 22) and hidden.std() == pytest.approx(np.sqrt(2 / 22), rel=0.1)
    assert hidden[:3] == pytest.approx([0.038907, 0.029078, 0.233422], abs=1e-5)  # a change is another protocol


@pytest.mark.parametrize(
    "layers, places",
    [
        ((), ()),
        ((Layer(3, 2), Layer(3, 1)), ()),
        ((Layer(3, 2, 1, 2),), (7, 48)),
        ((Layer(3, 2, 1, 3),), (7,)),
        ((Layer(3, 2, 1, 3),), (7, 24)),
        ((Layer(0, 2),), ()),
        ((Layer(3, 2),), (0,)),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, places):
    with pytest.raises(InternalError):
        Network(layers, places)


def test_a_vector_of_another_length_is_refused():
    network = Network((Layer(3, 2),))
    for call in (
        lambda: parts(network, np.zeros(7), torch.float64),
        lambda: widened(network, network, np.zeros(9), torch.float64),
    ):
        with pytest.raises(InternalError, match="length"):
            call()


def test_the_temporal_model_gives_a_logit_for_every_half_hour():
    network = temporal.network(28)
    x = np.zeros((2, 28, 48, len(temporal.CONTRACT.features)))
    assert logits(network, np.zeros(network.parameters), x).shape == (2, 28, 48, 1)
    assert len(temporal.CONTRACT.digest) == 64
