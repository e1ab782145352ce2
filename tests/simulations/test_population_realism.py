# SPDX-License-Identifier: Apache-2.0
"""Simulated homes are like real ones where it matters: load, hours at home, and how hard they are to tell apart."""

import datetime
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from skyglow_client.features.class22 import class22
from skyglow_shared.models.features import contract, normalise
from skyglow_shared.study import Period
from skyglow_simulations.population import census, households, load, presence
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.calibration_models import fitted
from skyglow_simulations.report.summary import auc

PERIOD = Period(datetime.date(2026, 3, 9), 28)
NOON, EVENING, NIGHT = slice(24, 26), slice(36, 44), slice(2, 10)


@dataclass
class Town:
    """Readings of today's homes, of the same homes as of 2009, and what is true of them."""

    kwh: NDArray[np.float32]
    trial: NDArray[np.float32]
    occupied: NDArray[np.bool_]
    composition: NDArray[np.int8]
    size: NDArray[np.int8]
    weekday: NDArray[np.bool_]
    scores: NDArray[np.float64]


@pytest.fixture(scope="module")
def town() -> Town:
    """All homes of every ninth LSOA, with cross-validated scores for `all aged 66+` from one week's 22 features."""
    kinds = presence.day_types(PERIOD)
    parts = []
    plans = households.plan_areas(census.load("E06000045"), scale=1, seed=11)
    for area in range(0, len(plans), 9):
        rng = households.random_of(11, 1, area)
        homes = households.draw(plans[area], rng)
        at_home = presence.simulate(homes, PERIOD, rng)
        kwh = load.simulate(homes, at_home, PERIOD, rng)
        trial = load.simulate(homes, at_home, PERIOD, rng, era=q.TRIAL_2009)
        parts.append((kwh, trial, at_home.occupied, homes.composition, homes.size))
    kwh, trial, occupied, composition, size = (np.concatenate(column) for column in zip(*parts, strict=True))
    x, usable = normalise(contract("class22-v1"), class22(kwh[:, 7:14].astype(float)))
    assert usable.mean() > 0.99
    return Town(kwh, trial, occupied, composition, size, kinds == 0, cross_validated(x, composition <= 1))


def cross_validated(x: NDArray[np.float64], y: NDArray[np.bool_], folds: int = 4) -> NDArray[np.float64]:
    fold = np.random.default_rng(0).integers(0, folds, len(y))
    scores = np.zeros(len(y))
    for out in range(folds):
        weights = fitted(x[fold != out], y[fold != out])
        scores[fold == out] = x[fold == out] @ weights[:-1] + weights[-1]
    return scores


def test_homes_all_aged_66_plus_are_no_easier_to_find_than_real_ones(town: Town):
    """Harder than in 2009 (.76): more work at home, and some have cars and panels."""
    assert 0.69 < auc(town.scores, (town.composition <= 1).astype(float)) < 0.77


def test_scores_differ_by_composition_within_both_classes(town: Town):
    mean = [town.scores[town.composition == kind].mean() / town.scores.std() for kind in range(6)]
    assert mean[0] - mean[1] > 0.08
    assert mean[2] - mean[4] > 0.2


def test_load_is_like_that_of_real_homes(town: Town):
    daily = town.trial.sum(axis=2, dtype=float)
    log = np.log(np.maximum(daily, 0.1))
    assert daily.mean() == pytest.approx(10.5, rel=0.1)
    assert np.percentile(daily.mean(axis=1), 5) == pytest.approx(4.0, rel=0.15)
    assert np.percentile(daily.mean(axis=1), 95) == pytest.approx(21.3, rel=0.1)
    assert log.mean(axis=1).std() == pytest.approx(0.62, abs=0.05)
    assert log.std(axis=1).mean() == pytest.approx(0.28, abs=0.04)
    assert town.trial[:, town.weekday, NOON].mean() == pytest.approx(0.21, abs=0.03)
    assert town.trial[:, town.weekday, EVENING].mean() == pytest.approx(0.36, abs=0.04)
    assert town.trial[:, ~town.weekday, NOON].mean() == pytest.approx(0.279, abs=0.04)
    assert town.trial[:, :, NIGHT].mean() == pytest.approx(0.095, abs=0.015)


def test_homes_keep_their_habits_as_real_ones_do(town: Town):
    flat = town.trial[:2000].reshape(2000, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    for lag, real in ((1, 0.49), (48, 0.29)):
        likeness = (flat[:, lag:] * flat[:, :-lag]).mean(axis=1) / np.maximum(flat.var(axis=1), 1e-9)
        assert likeness.mean() == pytest.approx(real, abs=0.06)


def test_a_few_meters_show_zeros_and_most_never_do(town: Town):
    zeros = (town.trial == 0).mean(axis=(1, 2))
    assert 0.005 < zeros.mean() < 0.013
    assert (zeros > 0).mean() < 0.12


def test_readings_are_whole_watt_hours_and_never_negative(town: Town):
    assert town.kwh.dtype == np.float32
    assert np.isfinite(town.kwh).all()
    assert (town.kwh >= 0).all()
    assert np.array_equal(np.round(town.kwh.astype(float), 3).astype(np.float32), town.kwh)


def test_larger_homes_use_more(town: Town):
    daily = town.kwh.sum(axis=2, dtype=float).mean(axis=1)
    means = [daily[town.size == size].mean() for size in range(1, 6)]
    assert means == sorted(means)
    assert means[3] / means[0] == pytest.approx(2.0, abs=0.4)


def test_homes_are_occupied_at_the_hours_people_are_home(town: Town):
    assert 0.75 < town.occupied.mean() < 0.85
    assert 0.50 < town.occupied[:, town.weekday, NOON].mean() < 0.60
    assert town.occupied[:, town.weekday, NOON].mean() < town.occupied[:, ~town.weekday, NOON].mean() < 0.75
    assert town.occupied[:, :, NIGHT].mean() == pytest.approx(
        0.955, abs=0.012
    )  # stays elsewhere, homes nobody lives in
    noon = [town.occupied[town.composition == kind][:, town.weekday, NOON].mean() for kind in range(6)]
    assert noon[0] > noon[2] + 0.15
    assert noon[1] > noon[0]


def test_empty_homes_use_less(town: Town):
    day = town.kwh[:, town.weekday, 20:36]
    here = town.occupied[:, town.weekday, 20:36]
    assert day[~here].mean() < 0.6 * day[here].mean()


def test_some_homes_are_away_for_days_and_most_for_none(town: Town):
    empty = ~town.occupied.any(axis=2)
    assert 0.025 < empty.mean() < 0.055
    assert 0.08 < (empty.sum(axis=1) >= 2).mean() < 0.25
