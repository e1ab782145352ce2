# SPDX-License-Identifier: Apache-2.0
"""One household moves the released integers by its charged bound at most, every rounding included."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_client.learning.clipped_sums import DOUBLE, METHODS, SINGLE, Batch, clipped_sum, exact_sum
from skyglow_client.learning.clipped_sums.batch import rows
from skyglow_client.learning.clipped_sums.leaves import leaves
from skyglow_client.learning.clipped_sums.norms import form, measured, terms
from skyglow_client.learning.clipped_sums.passes import block_homes, passed
from skyglow_client.learning.clipped_sums.rounding import home_steps, leaf_homes, slack
from skyglow_client.learning.clipped_sums.sums import Clip, fused_sums
from skyglow_shared.errors import StudyError
from skyglow_shared.models.aligned import aligned, widened
from skyglow_shared.models.network import parts
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import Block

NAMES = ("logistic", "perceptron", "daily", "daily, narrow", "temporal")
numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


def block_of(bound, noise=1.0):
    return Block(name="gradient", source="gradient", model="m", l2_bound=bound, noise_multiplier=noise)


def without(batch, home):
    rest = np.arange(len(batch)) != home
    days = None if batch.days is None else batch.days[rest]
    return Batch(batch.keys[rest], batch.x[rest], batch.y[rest], days)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bound", [1e-3, 0.7])
def test_removing_any_home_stays_within_the_charged_sensitivity(network, batch_of, weights_of, bound, method):
    block, weights = block_of(bound), weights_of(network)
    batch = batch_of(network, 24, missing=0.2)
    whole = exact_sum(network, weights, batch, block, method=method)
    moved = [
        np.linalg.norm(whole - exact_sum(network, weights, without(batch, home), block, method=method))
        for home in range(0, 24, 5)
    ]
    assert 0 < max(moved) <= sensitivity_steps(block.noise_multiplier)


def test_a_home_that_fills_a_leaf_and_cuts_it_in_two_is_still_within_it(networks, batch_of, weights_of):
    """The worst place to stand: 257 homes where a leaf takes 256."""
    network = networks["perceptron"]
    most = leaf_homes(SINGLE, terms(network))
    batch, block, weights = batch_of(network, most + 1), block_of(1e-3), weights_of(network)
    assert len(list(leaves(batch.keys, most))) == 2
    whole = exact_sum(network, weights, batch, block, method="fused")
    part = exact_sum(network, weights, without(batch, 3), block, method="fused")
    assert np.linalg.norm(whole - part) <= sensitivity_steps(block.noise_multiplier)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**16), data=st.data())
def test_no_numbers_make_a_home_longer_than_its_bound(networks, batch_of, weights_of, name, seed, data):
    network = networks[name]
    batch = batch_of(network, 3, seed)
    for place in data.draw(st.lists(st.integers(0, batch.x.size - 1), max_size=6)):
        batch.x.ravel()[place] = data.draw(numbers)
    weights = weights_of(network, seed, data.draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e4, 1e18])))
    for home in range(3):
        one = batch.take(slice(home, home + 1))
        for method in METHODS:
            found = clipped_sum(network, weights, one, 0.3, method=method)
            assert np.linalg.norm(found) <= (0.3 if method == "fused" else 0.3 * (1 + 1e-12))
            steps = exact_sum(network, weights, one, block_of(0.3), method=method)
            assert np.linalg.norm(steps) <= sensitivity_steps(1.0)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**16), scale=st.sampled_from([1e-12, 1e-4, 1.0, 1e4, 1e8]))
def test_norms_are_never_too_short_in_float32(networks, batch_of, weights_of, name, seed, scale):
    """Against the gradient of the same float32 numbers, made explicitly in float64."""
    network = networks[name]
    homes, parameters = 5, parts(network, weights_of(network, seed), torch.float32)
    block = rows(network, batch_of(network, homes, seed, size=scale), torch.float32, homes)
    found = passed(network, parameters, block)
    for layer, into, errors in zip(network.layers, found.rows, found.errors, strict=True):
        kind = form(network, layer)
        one = measured(kind, layer, into, errors, SINGLE)
        if kind == "explicit":  # what was made is what is added up, rounded as it is
            gradient = torch.from_numpy(one.right[:, 0]).double()
        else:
            by_weights = torch.bmm(errors.mT.double(), into.double())
            gradient = torch.cat([by_weights.flatten(1), errors.double().sum(1)], dim=1)
        assert (one.square >= gradient.square().sum(1).numpy() * (1 - 1e-12)).all()
        assert (one.magnitude >= one.square * (1 - 1e-3)).all()


def test_days_that_cancel_do_not_make_a_home_look_short(networks):
    """Inner products lose the difference of near-equal numbers; their rounding is added, not hoped away."""
    layer = networks["daily"].layers[1]
    network = networks["daily"]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(1, 1, layer.width, generator=generator).expand(4, 9, -1) * 1e3
    errors = torch.randn(4, 9, layer.outputs, generator=generator)
    errors[:, 8] = -errors[:, :8].sum(1)  # the gradient is zero but for rounding
    errors[:, 0] += 1e-3 * torch.rand(4, layer.outputs, generator=generator)
    assert form(network, layer) == "gram"
    true = torch.bmm(errors.double().mT, inputs.double()).square().sum((1, 2))
    one = measured("gram", layer, inputs.contiguous(), errors, SINGLE)
    assert (one.square >= true.numpy()).all()
    factor = np.minimum(1 / np.maximum(np.sqrt(one.square), np.sqrt(one.magnitude) / SINGLE.spread), 1.0)
    assert (np.sqrt(one.magnitude) * factor <= SINGLE.spread * (1 + 1e-6)).all()


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=40, unique=True),
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.data(),
)
def test_one_key_more_changes_one_leaf_or_cuts_it_in_two(some, seed, most, data):
    spread = np.random.default_rng(seed).integers(0, 2**64, 40, dtype=np.uint64)
    keys = sorted({*some, *spread.tolist()})

    def members(own):
        ordered = np.array(sorted(own), dtype=np.uint64)
        found = [tuple(ordered[leaf].tolist()) for leaf in leaves(ordered, most)]
        assert [key for leaf in found for key in leaf] == sorted(own)
        assert all(0 < len(leaf) <= most for leaf in found)
        return set(found)

    extra = data.draw(st.sampled_from(keys))
    after, before = members(keys), members([key for key in keys if key != extra])
    assert len(before - after) <= 1 and len(after - before) <= 2
    assert sum(map(len, after - before)) == sum(map(len, before - after)) + 1


def test_leaves_of_equal_keys_end():
    assert [(leaf.start, leaf.stop) for leaf in leaves(np.full(5, 7, dtype=np.uint64), 2)] == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("neighbours", [1, 6, 31, 511, 600])
def test_what_a_home_adds_is_the_same_to_the_last_bit_whoever_is_beside_it(network, batch_of, weights_of, neighbours):
    """Else one home more would move every other home's vector, and no bound on one home would bound the sum."""
    if network.count > 100 and neighbours > 31:
        pytest.skip("the same blocks as with fewer")
    wide = aligned(network)
    parameters = widened(network, wide, weights_of(network), torch.float32)
    step = block_homes(wide)
    home = batch_of(network, 1, seed=5)
    others = batch_of(network, neighbours, seed=6)
    kinds = [form(wide, layer) for layer in wide.layers]

    def added(place):
        x, y = (np.insert(getattr(others, name), place, getattr(home, name), axis=0) for name in ("x", "y"))
        first = place // step * step
        block = Batch(np.arange(len(x), dtype=np.uint64), x, y).take(slice(first, first + step))
        found = passed(wide, parameters, rows(wide, block, torch.float32, step))
        layers = zip(kinds, wide.layers, found.rows, found.errors, strict=True)
        all_measured = [measured(kind, layer, into, errors, SINGLE) for kind, layer, into, errors in layers]
        return [
            np.asarray(getattr(one, name)[place - first])
            for one in all_measured
            for name in ("left", "right", "square", "magnitude")
        ]

    wanted = added(0)
    for place in {neighbours // 2, neighbours}:
        assert all(np.array_equal(*pair) for pair in zip(added(place), wanted, strict=True))


@pytest.mark.parametrize("lacks", ["nothing", "a label", "a day", "a home"])
def test_what_is_seen_of_a_home_does_not_depend_on_what_others_lack(network, batch_of, lacks):
    """Blocks in which nothing is missing are taken as they are, others are made good: both to the same last bit."""
    batch, others, days = batch_of(network, 3), batch_of(network, 3), None
    if lacks == "a label":
        others.y[2].ravel()[0] = np.nan
    if lacks == "a day" and network.places:
        days = np.ones((3, network.places[0]), dtype=bool)
        days[2, 0] = False
    other = Batch(others.keys, others.x, others.y, days).take(slice(2 if lacks == "a home" else 3))
    whole, part = (rows(aligned(network), one, torch.float32, 3) for one in (batch, other))
    assert whole.usable is None and part.usable is None
    for name in ("x", "y", "share"):
        assert torch.equal(getattr(whole, name)[:2], getattr(part, name)[:2])


@pytest.mark.parametrize("homes", [400, 700])
def test_a_leafs_sum_is_the_same_to_the_last_bit_whoever_is_beside_it(networks, batch_of, weights_of, homes):
    """Else one home more would move sums that it is no part of."""
    for name in ("perceptron", "perceptron, wide", "daily", "daily, narrow"):
        network, clip = networks[name], Clip(0.5, 2.0**20, whole=True)
        weights, batch = weights_of(network), batch_of(network, homes)
        cuts = list(leaves(batch.keys, leaf_homes(SINGLE, terms(aligned(network)))))
        assert len(cuts) > 1
        [whole] = fused_sums(network, weights, batch, clip)
        alone = [next(iter(fused_sums(network, weights, batch.take(cut), clip))) for cut in cuts]
        np.testing.assert_array_equal(whole, np.sum(alone, axis=0))


def test_rounding_of_sums_is_within_what_is_charged_for_it(networks, batch_of, weights_of):
    """Leaf sums of float32 against the same in float64, beside the bound that `slack` is made of."""
    for network in networks.values():
        most = leaf_homes(SINGLE, terms(network))
        batch, weights = batch_of(network, most), weights_of(network)
        [found] = fused_sums(network, weights, batch, Clip(1.0))
        [wanted] = fused_sums(network, weights, batch, Clip(1.0, arithmetic=DOUBLE))
        assert np.linalg.norm(found - wanted) < 1e-2  # of the passes too, which the bound is not about
        assert 0 < slack(SINGLE, terms(network), most) <= 0.01
        assert slack(DOUBLE, terms(network), most) < 1e-4


def test_the_bound_leaves_room_for_everything_that_rounds():
    block, parameters, share = block_of(1.0, noise=2.0), 90_000, 0.004
    steps = home_steps(block, parameters, share)
    assert steps * (1 + share) + (1.5 / 256 + 1) * math.sqrt(parameters) <= sensitivity_steps(2.0)
    assert steps > 0.98 * sensitivity_steps(2.0)


def test_a_grid_too_coarse_for_the_model_is_refused(networks, batch_of, weights_of):
    network = networks["perceptron"]
    block = block_of(1.0, noise=1000.0)
    assert sensitivity_steps(1000.0) ** 2 > network.parameters  # so this one is not too coarse
    exact_sum(network, weights_of(network), batch_of(network, 2), block, method="fused")
    with pytest.raises(StudyError, match="noise_multiplier"):
        home_steps(block, 5_000, 0.002)
