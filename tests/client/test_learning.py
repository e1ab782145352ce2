# SPDX-License-Identifier: Apache-2.0
"""One vector a home, made of that home alone to the last bit, whatever its numbers and its neighbours are."""

import warnings

import msgspec
import numpy as np
import pytest
import torch

from skyglow_client.learning import homes as rooms
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.contributions import contributions, labels
from skyglow_client.learning.gradients import household_gradients
from skyglow_client.learning.homes import Homes
from skyglow_client.learning.rows import ROWS, by_blocks
from skyglow_shared.errors import InternalError, StudyError
from skyglow_shared.layout import block_shape, column_weights, held_bound, label_length, share_block
from skyglow_shared.models import logistic, presence
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.soundness import check
from skyglow_shared.study import COMPOSITION_CLASSES

K = presence.load("presence_basis_v2").components.shape[1]
NAME = "all_aged_66_plus"


@pytest.fixture(autouse=True)
def no_warning():
    """A warning from numpy would be a line on a supplier's screen that depends on one home."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def study(town):
    return town.study()


def make_homes(number, seed=3):
    rng = np.random.default_rng(seed)
    lsoa = rng.integers(0, 3, number)
    diary = rng.normal(0, 0.3, (number, 2, K))
    diary[rng.random(number) < 0.5] = np.nan
    diary[rng.random(number) < 0.3, 1] = np.nan
    return Homes(
        pseudonyms=rng.integers(0, 256, (number, 16), dtype=np.uint8),
        lsoa=lsoa,
        msoa=lsoa // 2,
        x={NAME: rng.uniform(-1, 1, (number, 22))},
        profile=rng.normal(0, 0.3, (number, 2, K)),
        metered=rng.random(number) < 0.9,
        composition=rng.integers(-1, 6, number).astype(np.int8),
        diary=diary,
        calibrates=rng.random(number) < 0.5,
    )


def weights_of(seed=0, size=1.0):
    return {NAME: np.random.default_rng(seed).normal(0, size, 23)}


def test_vmap_gives_each_households_own_gradient(study):
    """The oracle: autograd on one household at a time, and the closed form."""
    model = study.models[0]
    rng = np.random.default_rng(1)
    x, y, weights = rng.uniform(-1, 1, (40, 22)), rng.integers(0, 2, 40).astype(float), weights_of()[NAME]
    found = household_gradients(model, weights, x, y)
    assert found.shape == (40, 23)
    for home in range(40):
        module = logistic.build(model)
        with torch.no_grad():
            module.linear.weight.copy_(torch.from_numpy(weights[None, :-1]))
            module.linear.bias.copy_(torch.from_numpy(weights[-1:]))
        logistic.loss(module, torch.from_numpy(x[home]), torch.tensor(y[home])).backward()
        alone = np.concatenate([module.linear.weight.grad.numpy().ravel(), module.linear.bias.grad.numpy()])
        np.testing.assert_allclose(found[home], alone, rtol=0, atol=1e-14)
    error = 1 / (1 + np.exp(-logistic.logits(weights, x))) - y
    np.testing.assert_allclose(found, error[:, None] * np.c_[x, np.ones(40)], rtol=0, atol=1e-14)


@pytest.mark.parametrize("number", [1, 3, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 7])
def test_a_homes_vector_is_the_same_to_the_last_bit_whoever_is_beside_it(study, number):
    """Vectorised arithmetic rounds by position and by shape; on a grid a last bit of every home can be a step."""
    homes = make_homes(2 * ROWS + 7)
    rng = np.random.default_rng(number)
    kept = np.zeros(len(homes), dtype=bool)
    kept[rng.permutation(len(homes))[:number]] = True
    for block in study.blocks:
        everything = np.full((len(homes), block_shape(study, block)[1]), np.nan)
        for rows in (np.ones(len(homes), dtype=bool), kept):
            chosen = homes.take(rows)
            here = contributions(study, block, chosen, weights_of())
            place = {pseudonym.tobytes(): row for row, pseudonym in enumerate(homes.pseudonyms)}
            marked = [place[pseudonym.tobytes()] for pseudonym in chosen.pseudonyms]
            members = np.array(marked)[cohort_of(block, chosen)]
            if rows.all():
                everything[members] = here.vectors
            else:
                np.testing.assert_array_equal(here.vectors, everything[members], err_msg=block.name)


def cohort_of(block, homes):
    """The cohorts as the study's documentation says them."""
    panel = homes.metered & (homes.composition >= 0)
    return {
        "gradient": panel & ~homes.calibrates,
        "area_score": homes.metered,
        "class_score": panel & homes.calibrates,
        "area_label": panel & homes.calibrates,
        "area_profile": homes.metered,
        "diary_profile": panel & np.isfinite(homes.diary).all(axis=2).any(axis=1),
    }[block.source]


def test_no_home_trains_and_calibrates(study):
    homes = make_homes(500)
    for block in study.blocks:
        part = contributions(study, block, homes, weights_of())
        assert len(part.vectors) == len(part.groups) == cohort_of(block, homes).sum()


def test_columns_are_what_the_layout_says(study):
    homes = make_homes(200)
    weights = weights_of()
    score = logistic.scores(study.models[0], weights[NAME], homes.x[NAME])
    label = np.isin(homes.composition, [0, 1]).astype(float)
    one = np.ones(200)
    kept = np.isfinite(homes.diary).all(axis=2)[..., None]
    gap = np.where(kept, homes.diary, 0)
    square, cross = (gap**2).sum(axis=(1, 2)), (gap * homes.profile)[:, :, 0].sum(axis=1)
    empty = presence.load("presence_basis_v2").empty.ravel()
    profile = homes.profile.reshape(200, -1)
    norm = np.linalg.norm(profile, axis=1, keepdims=True)
    bound = held_bound(next(block for block in study.blocks if block.name == "profiles"))
    held = np.where(norm > bound, profile / norm * bound, profile)
    assert (norm > bound).any() and (norm < bound).any()
    wanted = {
        "area_scores": (np.c_[one, score], homes.lsoa),
        "class_scores": (np.c_[one, score, score**2], homes.composition),
        "panel_labels": (np.c_[one, 2 * label - 1], homes.msoa),
        "profiles": (np.c_[held, (profile - held) @ empty / np.linalg.norm(empty)], homes.msoa),
        "diaries": (np.c_[np.concatenate([kept, gap], axis=2).reshape(200, -1), square, cross], np.zeros(200)),
    }
    for block in study.blocks[1:]:
        cohort = cohort_of(block, homes)
        part = contributions(study, block, homes, weights)
        vectors, groups = wanted[block.name]
        np.testing.assert_allclose(
            part.vectors, (vectors * column_weights(study, block))[cohort], atol=1e-13, err_msg=block.name
        )
        np.testing.assert_array_equal(part.groups, groups[cohort], err_msg=block.name)


def sums_of(study, block, homes):
    return np.asarray(block_sum(study, block, homes, weights_of()), dtype=float)


def test_homes_that_trained_are_counted_apart(study):
    """In groups after those of the calibration homes, with a one as long as the bound and nothing of their scores."""
    homes = make_homes(400)
    plain = next(block for block in study.blocks if block.source == "class_score")
    block = msgspec.structs.replace(plain, counts_trainers=True)
    assert block_shape(study, block)[0] == 2 * block_shape(study, plain)[0]
    found, before = (contributions(study, one, homes, weights_of()) for one in (block, plain))
    panel = homes.metered & (homes.composition >= 0)
    trained, kinds = ~homes.calibrates[panel], homes.composition[panel]
    np.testing.assert_array_equal(found.vectors[~trained], before.vectors)
    np.testing.assert_array_equal(found.groups[~trained], before.groups)
    np.testing.assert_array_equal(found.groups[trained], kinds[trained] + len(COMPOSITION_CLASSES))
    np.testing.assert_allclose(found.vectors[trained], np.tile([block.l2_bound, 0, 0], (trained.sum(), 1)))
    whole, most = sums_of(study, block, homes), sensitivity_steps(share_block(study, block).noise_multiplier)
    for home in np.flatnonzero(panel)[:20]:
        moved = whole - sums_of(study, block, homes.take(np.arange(400) != home))
        assert 0 < np.linalg.norm(moved) <= most


@pytest.mark.parametrize("size", [0.0, 1e3, 1e150, 1.7e308])
def test_absurd_weights_give_neither_warnings_nor_other_homes_trouble(study, size):
    homes = make_homes(300)
    weights = {NAME: np.full(23, size) * np.where(np.arange(23) % 2, 1, -1)}
    for block in study.blocks:
        assert contributions(study, block, homes, weights).vectors.dtype == np.float64


@pytest.mark.parametrize("number", [0, 1])
def test_no_home_or_one_is_no_special_case(study, number):
    homes = make_homes(300).take(np.arange(300) < number)
    for block in study.blocks:
        part = contributions(study, block, homes, weights_of())
        assert part.vectors.shape == (cohort_of(block, homes).sum(), block_shape(study, block)[1])


def test_a_model_that_mixes_days_into_households_is_caught(study, monkeypatch):
    days = lambda model, weights, x, y, **_: np.zeros((7 * len(x), 23))  # noqa: E731
    monkeypatch.setattr("skyglow_client.learning.contributions.household_gradients", days)
    with pytest.raises(InternalError):
        contributions(study, study.blocks[0], make_homes(50), weights_of())


def test_misaligned_homes_are_caught():
    homes = make_homes(5)
    with pytest.raises(InternalError):
        Homes(homes.pseudonyms, homes.lsoa[:4], *(getattr(homes, name) for name in Homes.__slots__[2:]))


def test_the_halves_are_fair_fixed_and_differ_between_studies(study):
    pseudonyms = np.random.default_rng(0).integers(0, 256, (4000, 16), dtype=np.uint8)
    other = msgspec.structs.replace(study, title="Another")
    first, second = rooms.calibrates(study, pseudonyms), rooms.calibrates(other, pseudonyms)
    assert abs(first.mean() - 0.5) < 0.05  # 6 deviations
    assert abs((first == second).mean() - 0.5) < 0.05
    np.testing.assert_array_equal(first[7:90], rooms.calibrates(study, pseudonyms[7:90]))
    measures = [phase for phase in study.phases if all(block.source != "gradient" for block in phase.blocks)]
    assert rooms.calibrates(msgspec.structs.replace(study, phases=tuple(measures)), pseudonyms).all()


def test_labels_follow_the_studys_classes(study):
    composition = np.array([-1, 0, 1, 2, 3, 4, 5], dtype=np.int8)
    np.testing.assert_array_equal(labels(study.models[0], composition), [0, 1, 1, 0, 0, 0, 0])


def test_blocks_of_rows_are_of_one_size():
    seen = []
    rows = np.arange(2 * ROWS + 3, dtype=np.float64)[:, None]
    np.testing.assert_array_equal(by_blocks(lambda part: seen.append(part.shape) or part * 2, rows), rows * 2)
    assert seen == [(ROWS, 1)] * 3
    assert by_blocks(lambda part: part, rows[:0]).shape == (0, 1)


def test_homes_do_not_show_themselves():
    assert "[" not in repr(make_homes(3))


def test_homes_that_trained_answer_by_area_like_all_others(study):
    """An answer does not hang on the model; what homes that trained score is still in no group of the others."""
    homes = make_homes(400)
    plain = next(block for block in study.blocks if block.source == "area_label")
    block = msgspec.structs.replace(plain, counts_trainers=True)
    found, before = (contributions(study, one, homes, weights_of()) for one in (block, plain))
    assert block_shape(study, block) == block_shape(study, plain)
    panel = homes.metered & (homes.composition >= 0)
    calibrates, counted = homes.calibrates[panel], homes.composition[panel] < 2
    np.testing.assert_array_equal(found.vectors, np.c_[np.full(panel.sum(), 0.5), 2 * counted - 1])
    np.testing.assert_array_equal(found.groups, homes.msoa[panel])
    np.testing.assert_array_equal(before.vectors, found.vectors[calibrates])
    np.testing.assert_array_equal(before.groups, found.groups[calibrates])
    assert np.linalg.norm(found.vectors, axis=1).max() <= block.l2_bound
    whole, most = sums_of(study, block, homes), sensitivity_steps(share_block(study, block).noise_multiplier)
    scores = next(block for block in study.blocks if block.source == "class_score")
    measured = sums_of(study, scores, homes)
    for home in np.flatnonzero(panel & ~homes.calibrates)[:20]:
        rest = homes.take(np.arange(400) != home)
        assert 0 < np.linalg.norm(whole - sums_of(study, block, rest)) <= most
        np.testing.assert_array_equal(measured, sums_of(study, scores, rest))


def test_yes_and_no_are_told_at_the_same_length(study):
    """A bound that would shorten all answers is refused, so that no sum is of less than it says."""
    homes = make_homes(200)
    block = next(block for block in study.blocks if block.source == "area_label")
    told = contributions(study, block, homes, weights_of()).vectors
    assert set(told[:, 1]) == {-1.0, 1.0}
    np.testing.assert_array_equal(np.linalg.norm(told, axis=1), label_length(block))
    short = msgspec.structs.replace(block, l2_bound=label_length(block) - 1e-9)
    phases = tuple(
        msgspec.structs.replace(phase, blocks=tuple(short if one is block else one for one in phase.blocks))
        for phase in study.phases
    )
    check(study)
    with pytest.raises(StudyError, match="shortens every home's labels"):
        check(msgspec.structs.replace(study, phases=phases))
