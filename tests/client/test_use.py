# SPDX-License-Identifier: Apache-2.0
"""Electricity use: what a home contributes, its length, and that one home moves no sum by more than is charged."""

import dataclasses

import msgspec
import numpy as np
import pytest

from skyglow_client.features import build_features
from skyglow_client.features.use import mean_use
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.homes import homes_of
from skyglow_client.readings import load_panel
from skyglow_shared.electricity import BOUND_KWH, EDGES_KWH, PARTS, VACANT_KWH
from skyglow_shared.errors import InternalError
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import COMPOSITION_CLASSES, Block

USE = Block(name="use", source="area_use", l2_bound=1.2247449, noise_multiplier=4.0)
BINS = Block(name="bins", source="area_use_histogram", l2_bound=1.0, noise_multiplier=4.0)


@pytest.fixture
def asked(town):
    made = town.study()
    phase = made.phases[-1]
    phase = msgspec.structs.replace(phase, blocks=(*phase.blocks, USE, BINS))
    return msgspec.structs.replace(made, phases=(*made.phases[:-1], phase))


@pytest.fixture
def stored(town):
    return town.raw.ingest()[1]


@pytest.fixture
def homes(town, asked, stored):
    table = build_features(town.raw.store, week_start=asked.feature_week)
    panel = load_panel(town.raw.raw, stored.pseudonyms, town.raw.key, COMPOSITION_CLASSES)
    return homes_of(asked, stored, table, panel)


def given(homes, *use):
    """Some of the homes, with the use that is said."""
    rows = np.flatnonzero(homes.metered)[: len(use)]
    mask = np.isin(np.arange(len(homes)), rows)
    return dataclasses.replace(homes.take(mask), use=np.array(use, dtype=np.float64))


def test_use_is_the_mean_of_valid_days_by_part(stored, homes):
    kwh, valid = np.array(stored.kwh, dtype=np.float64), np.array(stored.valid)
    wanted = [
        home[days].reshape(-1, len(PARTS), 12).sum(axis=2).mean(axis=0) for home, days in zip(kwh, valid, strict=True)
    ]
    np.testing.assert_allclose(mean_use(stored), wanted, rtol=1e-6)
    assert homes.use.shape == (len(homes), len(PARTS))
    assert (homes.use[homes.metered] > 0).any()


def test_a_home_has_the_same_use_to_the_last_bit_whoever_is_beside_it(stored):
    whole = mean_use(stored)
    for rows in (slice(0, 1), slice(3, 10), slice(1, None, 2)):
        part = dataclasses.replace(stored, kwh=np.array(stored.kwh[rows]), valid=np.array(stored.valid[rows]))
        np.testing.assert_array_equal(mean_use(part), whole[rows])


def test_a_homes_vector_says_its_use_whether_it_is_held_and_whether_it_is_vacant(asked, homes):
    some = given(homes, (1, 2, 3, 2), (30, 30, 30, 30), (0.01, 0.02, 0.03, 0.01), (12.0, 0, 0, 0))
    part = contributions(asked, USE, some, {}).vectors / np.array([0.5, 1, 1, 1, 1, 0.5, 0.5])
    np.testing.assert_allclose(part[0], [1, *(np.array([1, 2, 3, 2]) / BOUND_KWH), 0, 0])
    np.testing.assert_allclose(part[1], [1, 0.5, 0.5, 0.5, 0.5, 1, 0])
    np.testing.assert_allclose(part[2][-2:], [0, 1])
    np.testing.assert_allclose(part[3], [1, 1, 0, 0, 0, 0, 0])
    edge = VACANT_KWH / len(PARTS)
    near = contributions(asked, USE, given(homes, [0.99 * edge] * 4, [1.01 * edge] * 4), {}).vectors
    assert near[:, -1].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("use", [(0, 0, 0, 0), (6, 6, 6, 6), (1e300, 0, 0, 0), (50, 0, 1, 900), (0.29, 0, 0, 0)])
def test_no_homes_vector_is_longer_than_the_bound(asked, homes, use):
    vectors = contributions(asked, USE, given(homes, use), {}).vectors
    assert not np.isfinite(vectors).all() or np.linalg.norm(vectors) <= USE.l2_bound


@pytest.mark.parametrize("use", [(np.nan,) * 4, (np.inf, 1, 1, 1), (1e308,) * 4])
def test_a_home_with_absurd_use_contributes_nothing_and_nobody_is_warned(asked, homes, use):
    for block in (USE, BINS):
        alone = block_sum(asked, block, given(homes, use), {})
        assert np.isfinite(alone).all()
        assert block is BINS or not alone[:, 1:].any()


@pytest.mark.parametrize("block", [USE, BINS], ids=["means", "bins"])
def test_one_home_moves_the_sums_by_at_most_what_is_charged(asked, homes, block):
    whole, bound = block_sum(asked, block, homes, {}), sensitivity_steps(block.noise_multiplier)
    most = 0
    for home in range(len(homes)):
        rest = block_sum(asked, block, homes.take(np.arange(len(homes)) != home), {})
        moved = sum(int(step) ** 2 for step in (whole - rest).ravel())
        assert moved <= bound**2
        most = max(most, moved)
    assert most > bound**2 / 10, "a test that cannot fail"


def test_a_home_is_in_the_bin_of_its_day(asked, homes):
    some = given(homes, (0, 0, 0, 0.5), (2, 2, 2, 2), (100, 0, 0, 0))
    part = contributions(asked, BINS, some, {}).vectors
    assert part.argmax(axis=1).tolist() == [0, 1 + EDGES_KWH.index(8.0), len(EDGES_KWH)]
    np.testing.assert_array_equal(part.sum(axis=1), 1.0)


def test_use_is_computed_only_where_it_is_asked_for(town, stored, asked, homes):
    table = build_features(town.raw.store, week_start=asked.feature_week)
    panel = load_panel(town.raw.raw, stored.pseudonyms, town.raw.key, COMPOSITION_CLASSES)
    plain = homes_of(town.study(), stored, table, panel)
    assert plain.use is None
    with pytest.raises(InternalError, match="never computed"):
        contributions(asked, USE, plain, {})
