# SPDX-License-Identifier: Apache-2.0
"""The gap between diaries and meters: unbiased, covered by its variance, and not tied to a plan that the sums deny."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from skyglow_server.estimation.diaries import diary_model
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.readers import Reader, lack
from skyglow_shared.models import presence

K, HOMES, LONG = 4, 600, 9.0
ONE = replace(PLANNING, presence_multiples=((1.0, 1.0),))
PLANNED = np.array([[0.1, 0.06, 0.06, 0.05], [0.09, 0.06, 0.05, 0.05]])  # sd of a day's gap by home
READER = Reader(
    gap=np.zeros((2, K)),
    slope=np.ones((2, K)),
    usual=np.full(7, 0.2),
    unread=np.zeros((8, 2, 48)),
    courses=np.zeros((1, 2, 48)),
    season=np.zeros((52, 1)),
    unseen=np.zeros((2, 48)),
    unseen_by_area=0.0,
    profile_deviation=np.array([[0.13, 0.07, 0.04, 0.03], [0.1, 0.05, 0.05, 0.04]]),
    diary_deviation=PLANNED,
    short=np.zeros((2, K)),
    beyond=np.zeros(2),
    cut=np.zeros((2, K)),
    moved=0.0,
    lost=0.0,
    axes=np.eye(2 * K).reshape(2 * K, 2, K),
    kinds=np.zeros((7, 2, K)),
    kinds_and_sizes=np.zeros((11, 2, K)),
    lsoa_deviation=np.full(2 * K, 0.001),
    msoa_deviation=np.full(2 * K, 0.0004),
    own=np.ones(2),
)


@pytest.fixture
def basis():
    return presence.load("presence_basis_v2")


def sums_of(simulator, basis, gap, rng, noise=3.0, *, spread=1.0, slope=1.0, homes=HOMES):
    """The block of homes whose mean gap is `gap`, whose diaries and profiles vary as planned."""
    alike = PLANNING.first_alike(PLANNING.residual_alike, K)
    shared = rng.normal(0, np.sqrt(alike), (homes, 1, K))
    own = rng.normal(0, np.sqrt(1 - alike), (homes, 2, K))
    z = rng.normal(0, READER.profile_deviation, (homes, 2, K))
    r = gap + (slope - 1) * z + spread * PLANNED * (shared + own)
    each = np.concatenate([np.ones((homes, 2, 1)), r], axis=2).reshape(homes, -1)
    columns = np.column_stack([each, np.square(r).sum(axis=(1, 2)), (r * z)[:, :, 0].sum(axis=1)])
    exact = columns.sum(axis=0, keepdims=True)
    return simulator.Sum(exact + rng.normal(0, noise, exact.shape), noise)


def fit(block, basis, planning=ONE, deviation=0.05, *, reader=READER, bound=LONG, known=0.0):
    """The model where meters are known to be off by `known`."""
    plan = replace(planning, presence_model_deviation=deviation)
    zeros = np.zeros((2, K))
    return diary_model(block, lack(basis, bound), zeros, zeros + known, reader=reader, planning=plan)


def test_it_is_bayes_rule_written_out(simulator, basis):
    block = sums_of(simulator, basis, 0.01, np.random.default_rng(1), noise=4.0)
    found = fit(block, basis)
    count, total = block.values[0, [0, 5]], block.values[0, [1, 6]]
    prior = 0.05**2 * np.array([[1, ONE.gap_alike], [ONE.gap_alike, 1]])
    planned = PLANNED**2
    expected = count @ planned.sum(axis=1)
    trust = (0.7 * expected) ** 2 / ((0.7 * expected) ** 2 + 16)
    one = planned[:, 0] * (1 + trust * (block.values[0, -2] / expected - 1))
    sampling = np.sqrt(np.outer(count * one, count * one)) * np.array([[1, 0.4], [0.4, 1]])
    error = sampling + 16 * (1 + 0.05**2) * np.eye(2)
    precision = np.linalg.inv(prior) + np.diag(count) @ np.linalg.inv(error) @ np.diag(count)
    wanted = np.linalg.solve(precision, np.diag(count) @ np.linalg.inv(error) @ total)
    np.testing.assert_allclose(found.shift[:, 0], wanted, rtol=1e-8)
    variance = sum(part[:, 0] for part in found.parts.values())
    np.testing.assert_allclose(variance, np.diag(np.linalg.inv(precision)), rtol=1e-8)


@pytest.mark.parametrize("noise", [0.01, 6.0])
def test_it_is_unbiased_and_its_variance_is_that_of_its_errors(simulator, basis, noise):
    """Gaps drawn from the prior, two hundred times: errors over sds are standard normal."""
    rng, errors = np.random.default_rng(2), []
    likely = PLANNING.by_component(0.05, K)
    for _ in range(200):
        common, apart = rng.normal(size=(1, K)), rng.normal(size=(2, K))
        alike = ONE.first_alike(ONE.gap_alike, K)
        gap = likely * (np.sqrt(alike) * common + np.sqrt(1 - alike) * apart)
        found = fit(sums_of(simulator, basis, gap, rng, noise), basis)
        errors.append((found.shift - gap) / np.sqrt(sum(found.parts.values())))
    errors = np.array(errors)
    assert np.abs(errors.mean(axis=0)).max() < 0.3  # 4 deviations
    assert 0.935 < (np.abs(errors) < 1.96).mean() < 0.97


def test_meters_that_are_off_far_beyond_the_plan_are_put_right_all_the_same(simulator, basis):
    block = sums_of(simulator, basis, 0.04, np.random.default_rng(3), noise=8.0)
    narrow, wide = fit(block, basis, ONE, 0.005), fit(block, basis, PLANNING, 0.005)
    assert np.abs(wide.shift[:, 0] - 0.04).max() < 0.02 < np.abs(narrow.shift[:, 0] - 0.04).max()
    kept = fit(sums_of(simulator, basis, 0.002, np.random.default_rng(3), noise=8.0), basis, PLANNING, 0.005)
    assert (sum(kept.parts.values()) < sum(wide.parts.values())).all()


def test_meters_that_say_nothing_widen_the_interval(simulator, basis):
    parts = [
        fit(sums_of(simulator, basis, 0.0, np.random.default_rng(4), spread=spread), basis).parts["diary sampling"]
        for spread in (0.8, 2.0)
    ]
    assert (parts[1] > 3 * parts[0]).all()


def test_squares_that_noise_took_away_do_not_make_a_mean_certain(simulator, basis):
    """A mean that is off by chance would else pass for a model that is off by far."""
    block = sums_of(simulator, basis, 0.0, np.random.default_rng(11), noise=0.5)
    usual = fit(block, basis).parts["diary sampling"]
    block.values[0, -2] = -12.0
    left = fit(block, basis).parts["diary sampling"] / usual
    assert (left > 0.15).all()
    assert (left < 0.4).all()


def test_a_slope_is_found_and_without_diaries_the_plan_stands(simulator, basis):
    rng = np.random.default_rng(5)
    found = [
        fit(sums_of(simulator, basis, 0.0, rng, 0.5, slope=slope, homes=4000), basis).slope for slope in (0.6, 1.2)
    ]
    np.testing.assert_allclose(found, (0.6, 1.2), atol=0.06)
    nobody = fit(simulator.Sum(np.full((1, 12), -2.0), 5.0), basis)
    np.testing.assert_allclose(nobody.shift, 0, atol=1e-12)
    np.testing.assert_allclose(nobody.parts["public mean curve"], np.tile(PLANNING.by_component(0.05, K) ** 2, (2, 1)))
    assert nobody.slope == pytest.approx(1.0, abs=0.05)


def test_meters_that_are_off_in_the_mean_are_doubted_in_their_slope_too(simulator, basis):
    """The same word on the slope counts for little of a reader that errs as known, for much of one that does not."""
    found = []
    for gap in (0.0, 0.03):
        rng = np.random.default_rng(12)
        block = sums_of(simulator, basis, gap, rng, 0.5, slope=0.8, homes=HOMES)
        block = replace(block, deviation=np.r_[block.deviation[:-1], 8.0])
        found.append(fit(block, basis, PLANNING, 0.001))
    as_known, off = found
    assert abs(as_known.slope - 1) < 0.05
    assert off.slope == pytest.approx(0.8, abs=0.12)
    assert off.slope_variance > 3 * as_known.slope_variance


def test_a_slope_is_bayes_rule_written_out_over_both_priors(simulator, basis):
    """By brute force on a grid, where the mean gap says nothing of which prior holds."""
    rng, homes = np.random.default_rng(13), HOMES
    block = sums_of(simulator, basis, 0.0, rng, 0.01, slope=0.85, homes=homes)
    plan = replace(PLANNING, presence_multiples=((1.0, 0.9), (6.0, 0.1)))
    found = fit(block, basis, plan, 1e-9)
    count = block.values[0, [0, 5]]
    squares = block.values[0, -2]
    one_home = PLANNED[:, 0] ** 2 * squares / (count @ np.square(PLANNED).sum(axis=1))
    spread = READER.profile_deviation[:, 0] ** 2
    grid = np.linspace(-1, 3, 400_001)
    prior = 0.9 * norm.pdf(grid, 1, plan.slope_deviation) + 0.1 * norm.pdf(grid, 1, 6 * plan.slope_deviation)
    weight = prior * norm.pdf(block.values[0, -1], (grid - 1) * (count @ spread), np.sqrt(count @ (one_home * spread)))
    mean = np.average(grid, weights=weight)
    assert found.slope == pytest.approx(mean, abs=1e-3)
    assert found.slope_variance == pytest.approx(np.average((grid - mean) ** 2, weights=weight), rel=0.02)


def test_what_the_bound_cuts_off_is_added_and_carried_as_an_error(simulator, basis):
    block = sums_of(simulator, basis, 0.0, np.random.default_rng(6), noise=0.01)
    reader = replace(READER, cut=np.array([[0.01, -0.004, 0, 0], [0.006, 0, 0, 0]]))
    found = [fit(block, basis, reader=reader, bound=bound) for bound in (0.2, LONG)]
    added = reader.cut * (np.linalg.norm(basis.empty) - 0.2)
    np.testing.assert_allclose(found[0].shift - found[1].shift, added, rtol=0.05, atol=1.5e-4)
    doubt = np.linalg.norm(added, axis=1, keepdims=True) / (4 * np.sqrt(K))
    np.testing.assert_allclose(found[0].parts["bound on diaries"], np.tile(doubt, (1, K)) ** 2, rtol=0.1, atol=1e-7)
    assert (found[1].parts["bound on diaries"] == 0).all()


def test_what_the_bound_holds_back_of_a_move_is_made_up_for(simulator, basis):
    """Homes send half of what their mean gap lies from the known one: the model doubles it again."""
    known, moved = 0.01, 0.02
    block = sums_of(simulator, basis, known + 0.5 * moved, np.random.default_rng(9), noise=0.01, homes=20_000)
    reader = replace(READER, gap=np.full((2, K), known), lost=0.5 / lack(basis, 0.2))
    found = fit(block, basis, reader=reader, bound=0.2, known=known)
    np.testing.assert_allclose(found.shift, moved, atol=0.004)


def test_what_the_bound_takes_of_what_is_known_to_differ_by_place_is_known_too(simulator, basis):
    """Where the gap is known to be 0.03 larger, of which homes send a quarter, a quarter of it is nothing new."""
    block = sums_of(simulator, basis, 0.01 + 0.25 * 0.03, np.random.default_rng(10), noise=0.01, homes=20_000)
    reader = replace(READER, gap=np.full((2, K), 0.01), moved=0.75 / lack(basis, 0.2))
    found = fit(block, basis, reader=reader, bound=0.2, known=0.01 + 0.03)
    np.testing.assert_allclose(found.shift, 0, atol=0.004)


def test_further_components_are_not_taken_to_be_off_alike_on_weekdays_and_weekends(simulator, basis):
    gap = np.zeros((2, K))
    gap[:, 1] = 0.02, -0.02
    block = sums_of(simulator, basis, gap, np.random.default_rng(8), noise=0.01, homes=6000)
    found = fit(block, basis, ONE, 0.01)
    np.testing.assert_allclose(found.shift[:, 1], gap[:, 1], atol=0.004)
