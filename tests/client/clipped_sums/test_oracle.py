# SPDX-License-Identifier: Apache-2.0
"""Clipped sums are what a loop over households says, for every network, with whatever is missing."""

import numpy as np
import pytest

from skyglow_client.learning.clipped_sums import DOUBLE, METHODS, SINGLE, Batch, clipped_sum, exact_sum, fastest
from skyglow_client.learning.clipped_sums import sums as fused
from skyglow_client.learning.clipped_sums.norms import form
from skyglow_shared.models.network import Layer, Network
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import Block

CLIPS_ALL, CLIPS_SOME, CLIPS_NONE = 0.01, 3.0, 1e6


def block_of(bound, noise=1.0):
    return Block(name="gradient", source="gradient", model="m", l2_bound=bound, noise_multiplier=noise)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bound", [CLIPS_ALL, CLIPS_SOME, CLIPS_NONE])
def test_clipped_sums_are_the_loops(network, batch_of, weights_of, loop, bound, method):
    weights = weights_of(network)
    batch = batch_of(network, 6, missing=0.3, unknown=0.2)
    wanted = loop(network, weights, batch, bound)
    found = clipped_sum(network, weights, batch, bound, arithmetic=DOUBLE, method=method)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * max(1.0, np.abs(wanted).max()))


def test_the_bounds_above_do_clip_all_some_and_none(networks, batch_of, weights_of, loop):
    network = networks["perceptron"]
    weights, batch = weights_of(network), batch_of(network, 6, unknown=0.2)
    norms = [np.linalg.norm(loop(network, weights, batch.take(slice(home, home + 1)), np.inf)) for home in range(6)]
    assert CLIPS_ALL < min(norms) < CLIPS_SOME < max(norms) < CLIPS_NONE


@pytest.mark.parametrize("method", METHODS)
def test_no_home_gives_zeros_and_one_is_no_special_case(network, batch_of, weights_of, loop, method):
    weights = weights_of(network)
    empty, one = batch_of(network, 0), batch_of(network, 1, missing=0.3)
    np.testing.assert_array_equal(clipped_sum(network, weights, empty, 1.0, method=method), 0.0)
    np.testing.assert_array_equal(exact_sum(network, weights, empty, block_of(1.0), method=method), 0)
    found = clipped_sum(network, weights, one, 1.0, arithmetic=DOUBLE, method=method)
    np.testing.assert_allclose(found, loop(network, weights, one, 1.0), rtol=0, atol=1e-10)


def test_many_homes_are_the_sum_of_parts_of_them(network, batch_of, weights_of):
    """Over the edges of blocks and leaves; nothing is divided by how many homes there are."""
    weights, batch = weights_of(network), batch_of(network, 300, missing=0.2)
    whole = clipped_sum(network, weights, batch, 0.5, arithmetic=DOUBLE, method="fused")
    parts = [
        clipped_sum(network, weights, batch.take(slice(k, k + 37)), 0.5, arithmetic=DOUBLE, method="fused")
        for k in range(0, 300, 37)
    ]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=0, atol=1e-10)


def test_float32_is_the_same_within_its_precision(network, batch_of, weights_of):
    weights, batch = weights_of(network), batch_of(network, 40, missing=0.2)
    exact = clipped_sum(network, weights, batch, 1.0, arithmetic=DOUBLE, method="by_home")
    found = clipped_sum(network, weights, batch, 1.0, arithmetic=SINGLE, method="fused")
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_on_the_grid_it_is_the_same_within_a_step(network, batch_of, weights_of, method):
    """Homes that are not clipped come out unscaled, whatever room is kept for rounding."""
    weights, batch, block = weights_of(network), batch_of(network, 25, missing=0.2), block_of(50.0)
    steps = exact_sum(network, weights, batch, block, method=method)
    assert steps.shape == (1, network.parameters) and steps.dtype == np.int64
    wanted = clipped_sum(network, weights, batch, 50.0, arithmetic=DOUBLE, method="by_home") / step_size(block)
    off = np.abs(steps[0] - wanted)
    assert off.max() <= (1.0 if method == "fused" else 25.0)  # by home each home is rounded toward zero


def test_leaves_taken_some_at_a_time_add_up_to_the_same_integers(networks, batch_of, weights_of, monkeypatch):
    network = networks["daily"]
    weights, batch = weights_of(network), batch_of(network, 90)
    wanted = exact_sum(network, weights, batch, block_of(1.0), method="fused")
    monkeypatch.setattr(fused, "_LEAVES_AT_ONCE", 3)
    np.testing.assert_array_equal(exact_sum(network, weights, batch, block_of(1.0), method="fused"), wanted)


def test_the_fastest_method_is_one_of_them_and_the_default(networks, batch_of, weights_of, monkeypatch):
    network = networks["logistic"]
    assert fastest(network) in METHODS
    weights, batch = weights_of(network), batch_of(network, 30)
    for method in METHODS:
        monkeypatch.setattr("skyglow_client.learning.clipped_sums.choice.fastest", lambda _, own=method: own)
        np.testing.assert_array_equal(
            exact_sum(network, weights, batch, block_of(1.0)),
            exact_sum(network, weights, batch, block_of(1.0), method=method),
        )


def test_labels_that_nobody_has_and_classes_that_are_absent_are_no_special_case(networks, batch_of, weights_of, loop):
    network = networks["perceptron"]
    weights, batch = weights_of(network), batch_of(network, 5)
    batch.y[:, 1] = np.nan  # a head without a label
    batch.y[:, 2] = 0.0  # a class without a member
    batch.y[3] = np.nan  # a home that answered nothing
    found = clipped_sum(network, weights, batch, 1.0, arithmetic=DOUBLE, method="fused")
    np.testing.assert_allclose(found, loop(network, weights, batch, 1.0), rtol=0, atol=1e-10)
    alone = clipped_sum(network, weights, batch.take(slice(3, 4)), 1.0, method="fused")
    np.testing.assert_array_equal(alone, 0.0)


def test_a_homes_loss_is_the_mean_over_its_days(networks, batch_of, weights_of):
    """Twice the days with the same content are the same gradient; and one gradient, not one a day."""
    short = networks["daily"]
    long = Network(short.layers, (18,))
    batch, weights = batch_of(short, 4), weights_of(short)
    twice = Batch(batch.keys, np.concatenate([batch.x] * 2, axis=1), np.concatenate([batch.y] * 2, axis=1))
    np.testing.assert_allclose(
        clipped_sum(long, weights, twice, CLIPS_NONE, arithmetic=DOUBLE),
        clipped_sum(short, weights, batch, CLIPS_NONE, arithmetic=DOUBLE),
        rtol=0,
        atol=1e-12,
    )


def test_the_sum_of_ones_own_bound_is_reached(networks, batch_of, weights_of):
    """The room for rounding is small: a clipped home is within a hundredth of its bound."""
    for network in networks.values():
        block = block_of(1e-3)
        steps = exact_sum(network, weights_of(network), batch_of(network, 1), block, method="fused")
        assert np.linalg.norm(steps) > 0.99 * sensitivity_steps(block.noise_multiplier)


def test_wide_layers_go_by_inner_products_and_narrow_ones_by_gradients(networks):
    forms = {name: {form(network, layer) for layer in network.layers} for name, network in networks.items()}
    assert forms["perceptron"] == {"single"}
    assert "gram" in forms["daily"]
    assert forms["daily, narrow"] == forms["temporal"] == {"explicit"}
    assert form(Network((Layer(4, 4),), (28,)), Layer(4, 4)) == "explicit"
