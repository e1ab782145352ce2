# SPDX-License-Identifier: Apache-2.0
"""How far a diary is from the meter: of the diary's own days, of days with readings, of that home alone."""

import datetime
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.diaried import by_model, by_rule, diaried, gaps
from skyglow_client.learning.occupied import chances
from skyglow_client.readings.panel import DiaryDays
from skyglow_shared.layout import column_weights, held_bound
from skyglow_shared.models import presence, temporal
from skyglow_shared.privacy.release import clip_rows

START = datetime.date(2026, 3, 9)  # a Monday
MODEL = temporal.load("presence_model_v1")
HOMES, DAYS = 6, 14


@pytest.fixture
def store():
    rng = np.random.default_rng(1)
    kwh = rng.gamma(0.6, 0.3, (HOMES, DAYS, 48)).astype(np.float32)
    valid = np.ones((HOMES, DAYS), dtype=bool)
    valid[2, 3] = valid[2, 5] = False
    kwh[~valid] = np.nan
    return SimpleNamespace(kwh=kwh, valid=valid, start=START, days=DAYS)


def diaries(*days):
    """Home and day of each diary; somebody was home in the first half of it."""
    home, day = (np.array(column) for column in zip(*days, strict=True))
    at_home = np.tile(np.arange(48) < 24, (len(home), 1)).astype(np.float32)
    return DiaryDays(home, np.datetime64(START) + day, at_home)


def test_it_is_the_mean_over_the_diarys_days_with_readings_by_a_loop(store):
    kept = diaries((0, 1), (0, 2), (0, 5), (2, 3), (2, 4), (2, 5), (4, 12), (4, 40), (5, -1))
    found = gaps(store, np.ones(HOMES, bool), kept, by_model(MODEL, START))
    presence_of = chances(np.where(store.valid[:, :, None], store.kwh, np.nan), START, MODEL)
    said = (np.arange(48) < 24).astype(float)
    wanted = np.full((HOMES, 2, 48), np.nan)
    wanted[0, 0] = np.mean([said - presence_of[0, day] for day in (1, 2)], axis=0)
    wanted[0, 1] = said - presence_of[0, 5]
    wanted[2, 0] = said - presence_of[2, 4]
    wanted[4, 1] = said - presence_of[4, 12]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_only_homes_inside_a_study_are_in_it_and_nobody_else_changes_them(store):
    kept, inside = diaries((0, 1), (2, 4), (4, 12)), np.array([True, False, True, True, True, False])
    alone = gaps(store, inside, diaries((2, 4)), by_rule)
    together = gaps(store, inside, kept, by_rule)
    assert together.shape == (4, 2, 48)
    np.testing.assert_array_equal(alone[1], together[1])
    assert np.isfinite(together).all(axis=2).sum() == 3


def test_a_study_that_trains_a_model_takes_the_same_days(store):
    kept = diaries((0, 1), (0, 5), (2, 4))
    trained = diaried(store, np.ones(HOMES, bool), kept).gaps(MODEL)
    np.testing.assert_array_equal(trained, gaps(store, np.ones(HOMES, bool), kept, by_model(MODEL, START)))


def test_what_lies_beyond_a_profiles_bound_is_told(town):
    """Held coefficients and what lay beyond add up to the profile of a home where nobody was."""
    study = town.study()
    block = next(block for block in study.blocks if block.source == "area_profile")
    block = msgspec.structs.replace(block, l2_bound=0.4)
    empty = presence.load(study.occupancy.basis).empty
    with town.open() as supplier:
        homes = supplier.homes(study)
    homes.profile[:] = np.where(np.arange(len(homes))[:, None, None] % 2, empty, 0.1 * empty)
    vectors = contributions(study, block, homes, {}).vectors
    length = np.linalg.norm(empty)
    short, long = vectors[::2], vectors[1::2]
    np.testing.assert_allclose(short[:, :-1], np.tile(0.1 * empty.ravel(), (len(short), 1)))
    assert (short[:, -1] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(long[:, :-1], axis=1), held_bound(block))
    np.testing.assert_allclose(long[:, -1] / column_weights(study, block)[-1], length - held_bound(block))
    assert (np.linalg.norm(clip_rows(vectors, block.l2_bound), axis=1) <= block.l2_bound * (1 + 1e-12)).all()


def test_gaps_are_held_so_that_counts_and_squares_have_room(town):
    """A gap beyond the bound is shortened, its square is that of what is sent, and no home is clipped further."""
    study = town.study()
    block = next(block for block in study.blocks if block.source == "diary_profile")
    block = msgspec.structs.replace(block, l2_bound=0.1)
    with town.open() as supplier:
        homes = supplier.homes(study)
    homes.diary[:], homes.profile[:] = 0.2, 0.1
    vectors = contributions(study, block, homes, {}).vectors / column_weights(study, block)
    gap = np.delete(vectors[:, :-2], [0, homes.diary.shape[2] + 1], axis=1)
    assert len(gap)
    np.testing.assert_allclose(np.linalg.norm(gap, axis=1), held_bound(block))
    np.testing.assert_allclose(vectors[:, -2], held_bound(block) ** 2)
    np.testing.assert_allclose(vectors[:, -1], 2 * 0.1 * gap[:, 0])
    weighted = vectors * column_weights(study, block)
    assert np.linalg.norm(weighted[:, :-2], axis=1).max() <= block.l2_bound * (1 + 1e-12)
