# SPDX-License-Identifier: Apache-2.0
"""Means of areas against a slow reference, and what the bound on a home gives back."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from skyglow_server.estimation.inputs import AreaTable
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.profiles import area_means
from skyglow_server.estimation.readers import READERS
from skyglow_shared.models import presence

ONE = replace(PLANNING, presence_multiples=((1.0, 1.0),))
LSOAS, MSOAS, K = 12, 4, 4
READER = READERS["rule"]
LACK = 0.8


@pytest.fixture
def basis():
    return presence.load("presence_basis_v2")


@pytest.fixture
def areas():
    rng = np.random.default_rng(1)
    msoa = np.repeat(np.arange(MSOAS), LSOAS // MSOAS)
    codes = {
        "LSOA": tuple(f"E01{n:06d}" for n in range(LSOAS)),
        "MSOA": tuple(f"E02{n:06d}" for n in msoa),
        "LAD": ("E06000001",) * LSOAS,
    }
    counts = rng.multinomial(700, [0.1, 0.1, 0.2, 0.2, 0.2, 0.2], LSOAS).astype(float)
    return AreaTable(codes, codes, rng.uniform(500, 900, LSOAS).round(), counts, None, rng.uniform(0.4, 0.8, LSOAS))


def sums_of(simulator, areas, seed=2, beyond=0.0):
    rng = np.random.default_rng(seed)
    homes = 0.7 * areas.households
    metered = areas.totals("MSOA", homes)[:, None]
    profiles = np.column_stack([metered * rng.normal(0.02, 0.02, (MSOAS, 2 * K)), beyond * metered])
    deviation = np.full(2 * K + 1, 9.0)
    return simulator.Sum(np.column_stack([homes, homes]), 0.0), simulator.Sum(profiles, deviation)


def by_hand(areas, profiles, planning, axis):
    """One regression on μ, β, v and u along one axis, all with priors: (mean, covariance) of LSOAs."""
    kinds = np.column_stack([areas.counts / areas.counts.sum(axis=1, keepdims=True), areas.employed])
    effects = READER.kinds
    if areas.sizes is not None:
        sizes = areas.sizes / areas.sizes.sum(axis=1, keepdims=True)
        kinds, effects = np.column_stack([kinds, sizes[:, 1:4], sizes[:, 4:].sum(axis=1)]), READER.kinds_and_sizes
    kinds = kinds - areas.weights("LAD") @ kinds
    to_msoa = areas.weights("MSOA")
    design = np.column_stack([np.ones(LSOAS), kinds, areas.membership("MSOA").T, np.eye(LSOAS)])
    spread = np.linalg.norm(READER.axes[axis])
    direction = READER.directions[axis]
    known = effects.reshape(-1, 2 * K) @ direction
    sds = (0.3, planning.presence_mix_deviation * np.sqrt(np.mean(known**2)), READER.msoa_deviation[axis])
    own = np.sqrt(READER.lsoa_deviation[axis] ** 2 + spread**2 / areas.households)
    prior = np.concatenate([np.repeat(sds, (1, kinds.shape[1], MSOAS)), own])
    expected = np.concatenate([[0.0], known, np.zeros(MSOAS + LSOAS)])
    households = areas.totals("MSOA", areas.households)
    metered = 0.7 * households
    error = (9.0 / metered) ** 2 + spread**2 * (1 / metered - 1 / households)
    rows = to_msoa @ design
    measured = profiles.values[:, :-1] @ direction / metered
    precision = rows.T @ np.diag(1 / error) @ rows + np.diag(1 / prior**2)
    effects = np.linalg.solve(precision, rows.T @ (measured / error) + expected / prior**2)
    return design @ effects, design @ np.linalg.inv(precision) @ design.T


@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2 * K - 1])
def test_means_and_variances_are_those_of_one_regression_at_every_level(simulator, areas, basis, axis, sizes):
    if sizes:
        people = np.random.default_rng(4).multinomial(700, np.full(8, 1 / 8), LSOAS).astype(float)
        areas = replace(areas, sizes=people)
    scores, profiles = sums_of(simulator, areas)
    found, _ = area_means(areas, scores, profiles, basis, lack=0.0, reader=READER, planning=ONE)
    mean, covariance = by_hand(areas, profiles, ONE, axis)
    for level in ("LSOA", "MSOA", "LAD"):
        weights = areas.weights(level)
        along = found[level].mean.reshape(-1, 2 * K) @ READER.directions[axis]
        np.testing.assert_allclose(along, weights @ mean, atol=1e-9)
        total = found[level].noise + found[level].frame + found[level].model
        np.testing.assert_allclose(total[:, axis], np.diag(weights @ covariance @ weights.T), rtol=1e-6)


def beyond_by_grid(sent, error, expected, planning):
    """Posterior mean of how far homes go beyond the bound, and the sd of a normal distribution as wide in the middle.

    By brute force: a mixture prior, a normal error.
    """
    grid = np.linspace(-40, 60, 4_000_001) * expected
    prior = sum(
        chance * norm.pdf(grid, expected, times * planning.presence_beyond_deviation * expected)
        for times, chance in planning.presence_multiples
    )
    weight = prior * norm.pdf(sent, grid, error)
    mean = np.average(grid, weights=weight)
    below = (np.cumsum(weight) - weight / 2) / weight.sum()
    half = brentq(lambda far: np.interp([mean - far, mean + far], grid, below) @ [-1, 1] - 0.95, 0, np.ptp(grid))
    return mean, half / norm.ppf(0.975)


@pytest.mark.parametrize(("sent", "error"), [(0.009, 1e-5), (0.009, 0.001), (0.0, 0.1), (0.03, 0.002), (0.1, 0.01)])
def test_homes_beyond_the_bound_are_given_back_as_far_as_sums_and_reader_say(simulator, areas, basis, sent, error):
    """To all areas alike, with the variance of what is not known of it."""
    scores, profiles = sums_of(simulator, areas, beyond=sent)
    metered = areas.totals("MSOA", 0.7 * areas.households).sum()
    deviation = np.r_[profiles.deviation[:-1], error * metered / np.sqrt(MSOAS)]
    profiles = replace(profiles, deviation=deviation)
    none, _ = area_means(areas, scores, profiles, basis, lack=0.0, reader=READER, planning=PLANNING)
    found, overall = area_means(areas, scores, profiles, basis, lack=LACK, reader=READER, planning=PLANNING)
    along = basis.empty / np.linalg.norm(basis.empty)
    held = float(profiles.values[:, :-1].sum(axis=0) @ along.ravel() / metered)
    usual, farther = READER.beyond
    mean, sd = beyond_by_grid(sent, error, LACK * (usual + farther * held), PLANNING)
    for level in ("LSOA", "MSOA", "LAD"):
        moved = found[level].mean - none[level].mean - READER.short * LACK
        np.testing.assert_allclose(moved, np.broadcast_to(mean * along, moved.shape), rtol=0.01, atol=3e-5)
        np.testing.assert_allclose(np.sqrt(found[level].beyond), sd, rtol=0.002)
        assert not none[level].beyond.any()
    np.testing.assert_allclose(overall, found["LAD"].mean[0])


def test_however_much_people_seem_to_be_home_some_homes_are_expected_to_stand_empty():
    usual, farther = READER.beyond
    found = READER.beyond_at(np.array([0.0, 0.01, -1.0]))
    np.testing.assert_allclose(found, [usual, usual + 0.01 * farther, usual / 4])


def test_areas_far_further_apart_than_planned_are_believed(simulator, areas, basis):
    scores, profiles = sums_of(simulator, areas)
    metered = areas.totals("MSOA", 0.7 * areas.households)
    far = np.outer(np.where(np.arange(MSOAS) % 2, 0.04, -0.04), np.tile(PLANNING.by_component(1.0, K), 2))
    profiles = replace(profiles, values=np.column_stack([far * metered[:, None], np.zeros(MSOAS)]))
    narrow, wide = (
        area_means(areas, scores, profiles, basis, lack=0.0, reader=READER, planning=plan)[0]["MSOA"].mean
        for plan in (ONE, PLANNING)
    )
    assert np.abs(wide.reshape(far.shape) - far).max() < 0.015
    assert np.abs(narrow.reshape(far.shape) - far).max() > 0.02


def test_an_area_without_a_count_gets_what_its_homes_suggest(simulator, areas, basis):
    scores, profiles = sums_of(simulator, areas)
    scores = replace(scores, values=scores.values * np.where(np.arange(LSOAS) < 3, 0, 1)[:, None], deviation=5.0)
    found, _ = area_means(areas, scores, profiles, basis, lack=0.0, reader=READER, planning=ONE)
    assert np.isfinite(found["MSOA"].mean).all()
    assert (found["MSOA"].model[0] > found["MSOA"].model[1:]).all()
    assert np.abs(found["MSOA"].mean[0] - found["LAD"].mean[0]).max() < 0.05
