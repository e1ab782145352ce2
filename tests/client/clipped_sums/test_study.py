# SPDX-License-Identifier: Apache-2.0
"""A study's perceptron at a supplier: its gradient block, from whichever homes there are, and its scores."""

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.clipped_sums import DOUBLE, Batch, clipped_sum
from skyglow_client.learning.contributions import contributions, labels
from skyglow_client.learning.homes import Homes
from skyglow_shared.errors import StudyError
from skyglow_shared.layout import block_shape, share_block
from skyglow_shared.models import logistic, presence
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import step_size
from skyglow_shared.soundness import check

K = presence.load("presence_basis_v2").components.shape[1]
NAME = "all_aged_66_plus"


@pytest.fixture
def study(town):
    study = town.study()
    [model] = study.models
    return msgspec.structs.replace(
        study, models=(msgspec.structs.replace(model, kind="perceptron", hidden=(7, 5), start=()),)
    )


@pytest.fixture
def block(study):
    return next(block for block in study.blocks if block.source == "gradient")


def make_homes(number, seed=0):
    rng = np.random.default_rng([seed, number])
    pseudonyms = rng.integers(0, 256, (number, 16), dtype=np.uint8)
    lsoa = rng.integers(0, 3, number)
    return Homes(
        pseudonyms=pseudonyms[np.lexsort(pseudonyms.T[::-1])],
        lsoa=lsoa,
        msoa=lsoa // 2,
        x={NAME: rng.uniform(-1, 1, (number, 22))},
        profile=rng.normal(0, 0.3, (number, 2, K)),
        metered=rng.random(number) < 0.9,
        composition=rng.integers(-1, 6, number).astype(np.int8),
        diary=np.full((number, 2, K), np.nan),
        calibrates=rng.random(number) < 0.5,
    )


def weights_of(study):
    [model] = study.models
    return {NAME: np.random.default_rng(3).normal(0, 0.5, logistic.parameter_count(model))}


def test_the_gradient_block_is_the_training_halves_clipped_sum(study, block):
    homes, weights, [model] = make_homes(80), weights_of(study), study.models
    chosen = homes.metered & (homes.composition >= 0) & ~homes.calibrates
    batch = Batch(
        np.arange(chosen.sum(), dtype=np.uint64),
        homes.x[NAME][chosen],
        labels(model, homes.composition)[chosen][:, None],
    )
    wanted = clipped_sum(
        logistic.network_of(model), weights[NAME], batch, block.l2_bound, arithmetic=DOUBLE, method="by_home"
    )
    part = share_block(study, block)
    found = block_sum(study, block, homes, weights)
    assert found.shape == block_shape(study, block)
    clipped_a_little_more = 0.02 * block.l2_bound * chosen.sum()
    np.testing.assert_allclose(found[0] * step_size(part), wanted, rtol=0, atol=clipped_a_little_more)
    assert np.linalg.norm(wanted) > 10 * clipped_a_little_more / np.sqrt(len(wanted))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_supplier_with_hardly_a_panel_home_answers_like_any_other(study, block, number):
    homes = make_homes(300).take(np.arange(300) < 40)
    panel = np.flatnonzero(homes.metered & (homes.composition >= 0) & ~homes.calibrates)
    kept = np.ones(40, dtype=bool)
    kept[panel[number:]] = False
    found = block_sum(study, block, homes.take(kept), weights_of(study))
    assert found.shape == block_shape(study, block)
    assert np.linalg.norm(found) <= number * sensitivity_steps(share_block(study, block).noise_multiplier)
    assert found.any() == (number > 0)


def test_a_class_that_no_home_has_is_no_special_case(study, block):
    homes = make_homes(60)
    homes.composition[homes.composition <= 1] = 4
    assert block_sum(study, block, homes, weights_of(study)).any()


def test_one_household_moves_the_block_by_its_charged_bound_at_most(study, block):
    homes, weights = make_homes(120), weights_of(study)
    bound = sensitivity_steps(share_block(study, block).noise_multiplier)
    whole = block_sum(study, block, homes, weights)
    for home in range(0, 120, 17):
        rest = block_sum(study, block, homes.take(np.arange(120) != home), weights)
        assert np.linalg.norm(whole - rest) <= bound


@pytest.mark.parametrize("number", [1, 3, 255, 256, 500])
def test_a_score_is_the_same_to_the_last_bit_whoever_is_beside_the_home(study, number):
    """Five hidden units are forty bytes: rows that lie differently in memory are products that round differently."""
    homes, weights = make_homes(520), weights_of(study)
    scores = next(block for block in study.blocks if block.source == "area_score")
    whole = contributions(study, scores, homes, weights).vectors
    kept = np.random.default_rng(number).permutation(520) < number
    part = contributions(study, scores, homes.take(kept), weights).vectors
    np.testing.assert_array_equal(part, whole[kept[homes.metered]])


def test_a_contract_of_another_digest_is_refused_whatever_the_kind(study):
    [model] = study.models
    with pytest.raises(StudyError, match="differs"):
        logistic.build(msgspec.structs.replace(model, features_digest="00" * 32))


def test_hidden_layers_go_with_perceptrons_alone_and_must_fit_the_grid(study, block):
    check(study)
    [model] = study.models
    for change in ({"kind": "logistic"}, {"hidden": ()}):
        with pytest.raises(StudyError, match="hidden"):
            check(msgspec.structs.replace(study, models=(msgspec.structs.replace(model, **change),)))
    large = msgspec.structs.replace(model, hidden=(1024, 1024))
    training = next(phase for phase in study.phases if block in phase.blocks)
    noisy = msgspec.structs.replace(
        training, blocks=tuple(msgspec.structs.replace(one, noise_multiplier=60.0) for one in training.blocks)
    )
    phases = tuple(noisy if phase is training else phase for phase in study.phases)
    with pytest.raises(StudyError, match="noise_multiplier"):
        check(msgspec.structs.replace(study, models=(large,), phases=phases))
    tiny = msgspec.structs.replace(
        training, blocks=tuple(msgspec.structs.replace(one, l2_bound=1e-30) for one in training.blocks)
    )
    phases = tuple(tiny if phase is training else phase for phase in study.phases)
    with pytest.raises(StudyError, match="within its limits"):
        check(msgspec.structs.replace(study, phases=phases))
