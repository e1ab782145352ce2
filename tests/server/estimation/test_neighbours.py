# SPDX-License-Identifier: Apache-2.0
"""MSOAs that drift as their neighbours do: better where they do so, no worse where they do not, and honest in both."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server.estimation.mixed import Drift, System, noise_covariance, solve_at
from skyglow_server.estimation.neighbours import correlations, load_neighbours
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.posterior import solve
from skyglow_shared.errors import FormatError, GeographyError

SIDE, INSIDE, DRAWS = 7, 4, 60  # MSOAs on a square, LSOAs in each, drawn studies
SAMPLING = 0.03  # of a MSOA's measured share
LSOA_DRIFT, MSOA_DRIFT = 0.15, 0.13  # logits


@pytest.fixture(scope="module")
def square():
    """Who is whose neighbour on a square of MSOAs."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    return np.abs(row[:, None] - row) + np.abs(column[:, None] - column) == 1


@pytest.fixture(scope="module")
def drift():
    msoas = SIDE**2
    share = np.full(msoas * INSIDE, 0.2)
    membership = np.repeat(np.eye(msoas), INSIDE, axis=1)
    return Drift(share, np.zeros(share.size), np.full(share.size, 650.0), membership)


def errors(drift, neighbours, nearness):
    """Root mean square errors of MSOAs without and with the table of neighbours, and coverage with it."""
    rng = np.random.default_rng(8)
    rows, p0 = drift.membership / INSIDE, drift.expected(PLANNING)
    known = replace(drift, neighbours=neighbours)
    prior = np.linalg.cholesky(known.covariance(LSOA_DRIFT, MSOA_DRIFT, PLANNING, nearness))
    found = []
    for _ in range(DRAWS):
        truth = p0 + prior @ rng.standard_normal(p0.size)
        seen = rows @ truth + SAMPLING * rng.standard_normal(len(rows))
        system = System(seen, rows, {"sampling": SAMPLING * np.eye(len(rows))})
        fits = [solve(system, one, PLANNING) for one in (drift, known)]
        off = [rows @ (fit.mean - truth) for fit in fits]
        deviation = np.sqrt(np.einsum("ma,ab,mb->m", rows, fits[1].covariance, rows))
        found.append((*(np.mean(one**2) for one in off), np.mean(np.abs(off[1]) < 1.96 * deviation)))
    without, with_them, held = np.mean(found, axis=0)
    return np.sqrt(without), np.sqrt(with_them), held


def test_correlations_are_those_of_neighbours(square):
    assert (correlations(square, 0.0) == np.eye(SIDE**2)).all()
    before = 0.0
    for nearness in (0.6, 0.9, 0.98):
        found = correlations(square, nearness)
        np.testing.assert_allclose(np.diagonal(found), 1.0)
        assert np.linalg.eigvalsh(found).min() > 0
        assert found[0, 1] > max(before, found[0, -1])
        before = found[0, 1]
    alone = np.pad(square, (0, 1))  # an island
    np.testing.assert_allclose(correlations(alone, 0.9)[-1], np.eye(SIDE**2 + 1)[-1])
    np.testing.assert_allclose(correlations(alone, 0.9)[:-1, :-1], correlations(square, 0.9))


def test_a_given_nearness_agrees_with_a_dense_solve_effect_by_effect(square, drift):
    rng = np.random.default_rng(3)
    known, rows = replace(drift, neighbours=square), drift.membership / INSIDE
    system = System(rng.normal(0.2, 0.03, len(rows)), rows, {"sampling": SAMPLING * np.eye(len(rows))})
    expected, h = drift.expected(PLANNING), 0.16
    effects = [np.ones((len(h * expected), 1)) * PLANNING.drift_level_deviation]
    root = np.linalg.cholesky(correlations(square, 0.9))
    effects += [drift.membership.T @ root * 0.3, 0.1 * np.eye(expected.size)]
    effects += [np.eye(expected.size) * np.sqrt(PLANNING.turnover / h / 650)]
    states = h * np.hstack(effects)
    weighed = rows @ states / SAMPLING
    precision = np.eye(states.shape[1]) + weighed.T @ weighed
    wanted = expected + states @ np.linalg.solve(precision, weighed.T @ (system.residual - rows @ expected) / SAMPLING)
    covariance = known.covariance(0.1, 0.3, PLANNING, 0.9)
    found, left, _ = solve_at(system, expected, covariance, noise_covariance(system, 1.0))
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    np.testing.assert_allclose(left, states @ np.linalg.solve(precision, states.T), atol=1e-10)


def test_neighbours_that_drift_alike_tell_of_each_other(square, drift):
    without, with_them, held = errors(drift, square, 0.9)
    assert with_them < 0.98 * without
    assert held == pytest.approx(0.95, abs=0.025)


def test_neighbours_that_have_nothing_in_common_cost_little(square, drift):
    without, with_them, held = errors(drift, square, 0.0)
    assert with_them < 1.01 * without
    assert held == pytest.approx(0.95, abs=0.025)


def test_the_table_may_be_a_countrys_and_say_a_pair_once_or_twice(tmp_path):
    path = tmp_path / "neighbours.csv"
    path.write_text("area_code,neighbour_code\nE02000001,E02000002\nE02000002,E02000001\nE02000003,E02999999\n")
    near = load_neighbours(path, ("E02000001", "E02000002", "E02000003"))
    assert near.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("area_code,neighbour_code\nE02000001,E02000001\n", FormatError),
        ("area_code,neighbour\nE02000001,E02000002\n", FormatError),
        ("area_code,neighbour_code\nE02000001\n", FormatError),
        ("area_code,neighbour_code\nE02000008,E02000009\n", GeographyError),
        ("area_code,neighbour_code\n", GeographyError),
    ],
)
def test_a_table_that_says_nothing_of_the_study_is_refused(tmp_path, text, error):
    path = tmp_path / "neighbours.csv"
    path.write_text(text)
    with pytest.raises(error, match=r"neighbours\.csv"):
        load_neighbours(path, ("E02000001", "E02000002"))
