# SPDX-License-Identifier: Apache-2.0
"""The mixed model against a dense solve in information form, and its parts."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skyglow_server.estimation.grid import Grid, Likelihood, grid_weights
from skyglow_server.estimation.mixed import Drift, Point, System, Turn, noise_covariance, solve_at
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.posterior import SLOPE, solve

ROWS = np.array([[1.0, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0.5, 0.5]])


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    share = np.array([0.1, 0.2, 0.15, 0.3, 0.25])
    logit = np.log(share / (1 - share))
    membership = np.array([[1.0, 1, 1, 0, 0], [0, 0, 0, 1, 1]])
    drift = Drift(share, logit - logit.mean(), np.array([500.0, 600, 700, 800, 900]), membership)
    design = np.concatenate([np.diag(rng.uniform(100, 300, 5)), 40 * membership / 2.5])
    loadings = {
        "own": np.diag(rng.uniform(5, 15, 7)),
        "shared": rng.normal(0, 4, (7, 3)),
        "sized": np.eye(7)[:, :5] * 6,
    }
    return System(rng.normal(0, 20, 7) + design @ share, design, loadings, "sized"), drift


@pytest.fixture
def turning(case):
    """The same with a direction that turns the design, taken from two sources' loadings."""
    system, drift = case
    rng = np.random.default_rng(1)
    direction = rng.normal(size=10)
    direction /= np.linalg.norm(direction)
    loading = np.concatenate([system.loadings["own"], system.loadings["shared"]], axis=1) @ direction
    design = np.concatenate([np.diag(rng.uniform(40, 80, 5)), np.zeros((2, 5))])
    return replace(system, turn=Turn(loading, design, ("own", "shared"))), drift


def brute_force(system, drift, lsoa, msoa, scale, t=0.0):
    """θ | y by precision matrices, one effect at a time, instead of by marginal covariances."""
    h = drift.share * (1 - drift.share)
    effects = np.column_stack([np.ones(5), drift.logit, drift.membership.T, np.eye(5)])
    sizes = [PLANNING.drift_level_deviation, PLANNING.drift_slope_deviation, msoa, msoa, *[lsoa] * 5]
    states = np.column_stack([h[:, None] * effects * sizes, np.diag(np.sqrt(PLANNING.turnover * h / drift.households))])
    noise = sum(part @ part.T * (scale**2 if name == "sized" else 1) for name, part in system.loadings.items())
    design, residual = system.design, system.residual - system.design @ drift.expected(PLANNING)
    if system.turn is not None:
        noise = noise - np.outer(system.turn.loading, system.turn.loading)
        design, residual = design + t * system.turn.design, residual - t * system.turn.loading
    precision = np.linalg.inv(noise)
    design = design @ states
    covariance = np.linalg.inv(np.eye(states.shape[1]) + design.T @ precision @ design)
    mean = drift.expected(PLANNING) + states @ covariance @ design.T @ precision @ residual
    evidence = multivariate_normal(np.zeros(7), design @ design.T + noise).logpdf(residual)
    return mean, states @ covariance @ states.T, evidence


@pytest.mark.parametrize("kind", ["case", "turning"])
def test_one_point_of_the_grid_agrees_with_a_dense_solve(request, kind):
    system, drift = request.getfixturevalue(kind)
    likelihood, differences = Likelihood(system, drift, PLANNING), []
    for lsoa, msoa, scale, t in ((0.2, 0.14, 1.0, 0.0), (0.08, 0.4, 2.0, 0.0 if kind == "case" else -2.0)):
        prior, noise = drift.covariance(lsoa, msoa, PLANNING), noise_covariance(system, scale)
        mean, covariance, _ = solve_at(system, drift.expected(PLANNING), prior, noise, t)
        wanted_mean, wanted_covariance, evidence = brute_force(system, drift, lsoa, msoa, scale, t)
        np.testing.assert_allclose(mean, wanted_mean, atol=1e-8)
        np.testing.assert_allclose(covariance, wanted_covariance, atol=1e-8)
        differences.append(likelihood.at(Point(lsoa, msoa, scale, t)) - evidence)
    assert differences[0] == pytest.approx(differences[1], abs=1e-8)


def test_shares_are_expected_where_logits_that_move_as_far_up_as_down_lead_on_average(case):
    _, drift = case
    rng = np.random.default_rng(2)
    level, slope, lsoa = rng.standard_normal((3, 500_000, 1))
    area = np.hypot(PLANNING.drift_lsoa, PLANNING.drift_msoa) * lsoa
    moved = PLANNING.drift_level_deviation * level + PLANNING.drift_slope_deviation * slope * drift.logit + area
    average = 1 / (1 + (1 - drift.share) / drift.share * np.exp(-moved))
    further = drift.expected(PLANNING) - drift.share
    assert (further > 0.001).all()
    np.testing.assert_allclose(further, average.mean(axis=0) - drift.share, atol=2e-4)


@pytest.mark.parametrize("kind", ["case", "turning"])
def test_the_walk_finds_every_point_that_matters(request, kind):
    system, drift = request.getfixturevalue(kind)
    grid, likelihood = Grid.of(system, drift, PLANNING), Likelihood(system, drift, PLANNING)
    places = list(product(*(range(len(values)) for values in grid.values)))
    logs = np.array([likelihood.at(grid.point(place)) + grid.prior(place) for place in places])
    wanted = np.exp(logs - logs.max())
    wanted = dict(zip(map(grid.point, places), wanted / wanted.sum(), strict=True))
    found = grid_weights(system, drift, PLANNING)
    assert sum(abs(found.get(point, 0.0) - weight) for point, weight in wanted.items()) < 3e-3


@pytest.mark.parametrize("kind", ["case", "turning"])
def test_the_grid_is_the_mixture_of_its_points(request, kind):
    system, drift = request.getfixturevalue(kind)
    posterior = solve(system, drift, PLANNING)
    assert sum(posterior.weights.values()) == pytest.approx(1)
    found = {point: brute_force(system, drift, *point[:4]) for point in posterior.weights}
    points = [(weight, *found[point][:2]) for point, weight in posterior.weights.items()]
    mean = sum(weight * m for weight, m, _ in points)
    covariance = sum(weight * (c + np.outer(m - mean, m - mean)) for weight, m, c in points)
    np.testing.assert_allclose(posterior.mean, mean, atol=1e-8)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=1e-8)
    heaviest = sorted(posterior.weights, key=lambda point: -posterior.weights[point])
    alike = [other for other in heaviest[1:] if other[:2] == heaviest[0][:2]]  # the same prior on σ
    assert alike
    for other in alike[:5]:
        odds = np.log(posterior.weights[other] / posterior.weights[heaviest[0]])
        priors = [-0.5 * (np.log(point.scale) / 0.7) ** 2 - 0.5 * point.turn**2 for point in (other, heaviest[0])]
        evidence = found[other][2] - found[heaviest[0]][2]
        assert odds == pytest.approx(evidence + priors[0] - priors[1], abs=1e-8)


def test_parts_of_a_turning_system_add_up_too(turning):
    system, drift = turning
    posterior = solve(system, drift, PLANNING)
    parts = posterior.parts(system, ROWS)
    assert set(parts) == {*system.loadings, SLOPE, "area model"}
    np.testing.assert_allclose(sum(parts.values()), np.diag(ROWS @ posterior.covariance @ ROWS.T))
    assert all((part > 0).all() for part in parts.values())


def test_parts_add_up_to_the_variance(case):
    system, drift = case
    posterior = solve(system, drift, PLANNING)
    parts = posterior.parts(system, ROWS)
    assert set(parts) == {*system.loadings, "area model"}
    np.testing.assert_allclose(sum(parts.values()), np.diag(ROWS @ posterior.covariance @ ROWS.T))
    assert all((part > 0).all() for part in parts.values())


def test_without_data_the_prior_remains(case):
    system, drift = case
    blind = replace(system, design=np.zeros_like(system.design))
    posterior = solve(blind, drift, replace(PLANNING, drift_grid=(0.1, 0.2)))
    np.testing.assert_allclose(posterior.mean, drift.expected(PLANNING))
    wanted = [weight * drift.covariance(*point[:2], PLANNING) for point, weight in posterior.weights.items()]
    np.testing.assert_allclose(posterior.covariance, sum(wanted))
