# SPDX-License-Identifier: Apache-2.0
"""Shares added up: every weight undone, nothing biased, and the noise exactly as wide as it says."""

import hashlib

import msgspec
import numpy as np
import pytest

from skyglow_server.sums import add_shares
from skyglow_shared.errors import ProtocolError
from skyglow_shared.layout import block_shape, column_weights
from skyglow_shared.messages import Share, encode_integers
from skyglow_shared.privacy.noise import SIGMA_STEPS
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import add_noise, grouped_sum, step_size
from skyglow_shared.study import Block, Phase, Study

SOURCES = {
    "gradient": 1.0,
    "area_score": 1.118034,
    "class_score": 1.5,
    "area_label": 1.118034,
    "area_profile": 0.6,
    "diary_profile": 0.75,
}


def one_block(study, source, noise=4.0):
    """A phase of one block of that source."""
    model = "" if source.endswith("profile") else "all_aged_66_plus"
    block = Block(name="block", source=source, model=model, l2_bound=SOURCES[source], noise_multiplier=noise)
    phase = Phase(name="measure", expected_homes=100, blocks=(block,))
    return msgspec.structs.replace(study, phases=(phase,)), phase, block


def share(name, **blocks):
    content = {block: encode_integers(values) for block, values in blocks.items()}
    return Share(study="", phase="measure", round=0, attempt=0, step="share", supplier=name, blocks=content)


@pytest.fixture
def study(plain_study):
    return msgspec.convert(plain_study, type=Study)


@pytest.mark.parametrize("source", SOURCES)
def test_integers_without_noise_come_back_as_they_were(source, study):
    """A home's vector, weighted and put on the grid by the supplier, is itself again at the office."""
    study, phase, block = one_block(study, source)
    shape, weights = block_shape(study, block), column_weights(study, block)
    assert (weights > 0).all()
    steps = np.random.default_rng(7).integers(-(2**40), 2**40, (3, *shape))
    shares = [share(f"s{n}", block=part) for n, part in enumerate(steps)]
    found = add_shares(study, phase, shares)["block"]
    np.testing.assert_allclose(found.values * weights / step_size(block), steps.sum(axis=0), rtol=1e-12)
    whole = np.round(found.values * weights / step_size(block)).astype(np.int64)
    np.testing.assert_array_equal(whole, steps.sum(axis=0))
    assert found.shares == 3


@pytest.mark.parametrize("source", SOURCES)
def test_homes_in_the_suppliers_units_are_homes_in_the_offices(source, study):
    study, phase, block = one_block(study, source)
    (groups, width), weights = block_shape(study, block), column_weights(study, block)
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, width))
    vectors *= 0.9 * block.l2_bound / np.linalg.norm(vectors * weights, axis=1, keepdims=True)  # none is clipped
    group = rng.integers(0, groups, 50)
    exact = np.zeros((groups, width))
    np.add.at(exact, group, vectors)
    halves = [grouped_sum((vectors * weights)[part], group[part], groups, block) for part in np.split(np.arange(50), 2)]
    found = add_shares(study, phase, [share(f"s{n}", block=half) for n, half in enumerate(halves)])["block"]
    np.testing.assert_allclose(found.values, exact, atol=50 * step_size(block) / weights.min())


def test_it_is_unbiased_and_as_noisy_as_it_says(study):
    study, phase, block = one_block(study, "area_score", noise=2.13)
    exact = np.array([[40.0, -3.0], [0.0, 0.0], [7.0, 7.0]])
    weights = column_weights(study, block)
    steps = np.round(exact * weights / step_size(block)).astype(np.int64)
    found = []
    for number in range(2000):
        keys = (hashlib.sha256(f"{number} {supplier}".encode()).digest() for supplier in range(3))
        parts = [steps, np.zeros_like(steps), np.zeros_like(steps)]
        shares = [share("s", block=add_noise(part, ByteStream(key))) for part, key in zip(parts, keys, strict=True)]
        total = add_shares(study, phase, shares)["block"]
        found.append((total.values - exact) / total.deviation)
    error = np.array(found)  # standard normal, by column, if the deviation is true
    assert np.abs(error.mean(axis=0)).max() < 5 / np.sqrt(len(error))
    assert np.abs(error.std(axis=0) - 1).max() < 5 / np.sqrt(2 * len(error))


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("source", SOURCES)
def test_the_known_deviation_is_the_blocks_own(source, count, study):
    study, phase, block = one_block(study, source)
    zeros = np.zeros(block_shape(study, block), np.int64)
    found = add_shares(study, phase, [share(f"s{n}", block=zeros) for n in range(count)])["block"]
    weights = column_weights(study, block)
    assert found.deviation.shape == weights.shape == (zeros.shape[1],)
    np.testing.assert_allclose(found.deviation, SIGMA_STEPS * step_size(block) * np.sqrt(count) / weights)
    assert step_size(block) * SIGMA_STEPS == pytest.approx(block.noise_multiplier * block.l2_bound, rel=2e-3)


def test_the_order_of_shares_does_not_matter(study):
    study, phase, block = one_block(study, "diary_profile")
    rng = np.random.default_rng(1)
    shares = [share(f"s{n}", block=rng.integers(-(2**30), 2**30, block_shape(study, block))) for n in range(4)]
    one, other = (add_shares(study, phase, order)["block"].values for order in (shares, shares[::-1]))
    np.testing.assert_array_equal(one, other)


def test_a_share_of_other_blocks_is_refused(study):
    study, phase, block = one_block(study, "area_score")
    zeros = np.zeros(block_shape(study, block), np.int64)
    good = share("north", block=zeros)
    for bad in (
        share("south"),
        share("south", other=zeros),
        share("south", block=zeros, other=zeros),
        share("south", block=zeros[:2]),
        share("south", block=np.zeros((4, 2), np.int64)),
    ):
        with pytest.raises(ProtocolError):
            add_shares(study, phase, [good, bad])
