# SPDX-License-Identifier: Apache-2.0
"""The privacy curve of an epoch of random allocation, against exact cases, simulation and published figures."""

import math

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from scipy.special import logsumexp

from skyglow_shared.privacy import allocation
from skyglow_shared.privacy.accounting import Event, adaptive_cost, study_cost
from skyglow_shared.privacy.noise import SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.sampling import RandomAllocation

ONE_HOME = np.arange(16, dtype=np.uint8)[None]


def test_an_epoch_of_one_round_is_the_gaussian_mechanism():
    for pessimistic in (False, True):
        found = allocation.losses(2.0, 1, 1e-4, pessimistic=pessimistic).get_epsilon_for_delta(1e-6)
        assert found == pytest.approx(2.2541, abs=1e-3)


@pytest.mark.parametrize(
    ("noise", "rounds", "epochs", "published"), [(2.0, 20, 25, (2.696, 2.778)), (1.0, 100, 10, (1.925, 2.006))]
)
def test_the_bracket_is_narrow_and_within_the_published_one(noise, rounds, epochs, published):
    """Feldman & Shenfeld 2026, by their own package: numerical bounds at δ 1e-6."""
    cost = study_cost([Event(noise, 1 / rounds, epochs, 0, epoch=rounds)], 1e-6)
    assert published[0] < cost.epsilon_lower < cost.epsilon_upper < published[1]
    assert cost.epsilon_upper - cost.epsilon_lower < 0.003 * cost.epsilon_upper


@pytest.mark.parametrize(("noise", "rounds"), [(0.7, 6), (2.0, 20), (8.2, 2), (4.0, 37)])
def test_both_laws_have_the_exact_mean_and_bracket_the_exact_variance(noise, rounds):
    exact = math.expm1(noise**-2) / rounds
    low, high = (allocation.ratio(noise, rounds, pessimistic=pessimistic) for pessimistic in (False, True))
    for law in (low, high):
        assert law.chances.sum() == pytest.approx(1.0, abs=1e-12)
        assert law.chances @ law.values == pytest.approx(1.0, abs=1e-9)
    spreads = [float(law.chances @ (law.values - 1) ** 2) for law in (low, high)]
    assert spreads[0] <= exact <= spreads[1]
    assert spreads[1] - spreads[0] < 0.005 * exact


def test_hockey_sticks_lie_between_both_laws():
    """Against two million simulated ratios, in both directions; a bound that were too low by little would be seen."""
    noise, rounds = 0.8, 5
    draws = np.random.default_rng(3).normal(-0.5 / noise**2, 1 / noise, (2_000_000, rounds))
    ratios = np.exp(draws).mean(axis=1)
    low, high = (allocation.ratio(noise, rounds, pessimistic=pessimistic) for pessimistic in (False, True))
    for scale in np.exp([0.0, 0.5, 1.0]):
        for curve in (lambda x, e=scale: np.maximum(x - e, 0), lambda x, e=scale: np.maximum(1 - e * x, 0)):
            simulated = curve(ratios)
            error = 5 * simulated.std() / math.sqrt(len(ratios))
            least, most = (float(law.chances @ curve(law.values)) for law in (low, high))
            assert least <= most
            assert least - error <= simulated.mean() <= most + error
            assert most - least < 0.01 * most + 1e-6


def exact_moment(noise, rounds, order):
    """E L^order without the home, for whole orders: the coefficient of zᵃ/a! in (Σ e^{k(k-1)/2σ²} zᵏ/k!)ᵀ over Tᵃ."""
    series = [math.exp(k * (k - 1) / (2 * noise**2)) / math.factorial(k) for k in range(order + 1)]
    power = [1.0] + [0.0] * order
    for _ in range(rounds):
        power = [sum(power[i] * series[k - i] for i in range(k + 1)) for k in range(order + 1)]
    return power[order] * math.factorial(order) / rounds**order


@pytest.mark.parametrize(("noise", "rounds"), [(2.0, 20), (4.0, 4), (8.2, 2)])
def test_renyi_divergences_are_the_exact_ones_or_hardly_more(noise, rounds):
    orders = np.array([2.0, 4.0, 8.0, 16.0])
    found, left_out = allocation.renyi(noise, rounds, orders)
    exact = np.array([math.log(exact_moment(noise, rounds, int(order))) / (order - 1) for order in orders])
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= exact * 1.02).all()
    assert left_out < 1e-14


def test_the_renyi_total_is_never_less_than_the_plans():
    for event in (Event(2.0, 0.05, 25, 0, epoch=20), Event(8.2, 0.5, 20, 23, epoch=2), Event(0.7, 0.25, 1, 0, epoch=4)):
        assert adaptive_cost([[event]], 1e-6) >= study_cost([event], 1e-6).epsilon_upper


def test_epochs_compose_with_everything_else():
    mixed = [Event(4.0, 0.25, 10, 23, epoch=4), Event(3.0, 1.0, 1, 300), Event(8.0, 0.5, 20, 23)]
    cost = study_cost(mixed, 1e-6)
    parts = [study_cost([event], 1e-6).epsilon_upper for event in mixed]
    assert max(parts) < cost.epsilon_lower <= cost.epsilon_upper < sum(parts)


def attacked(sampler, noise, trials):
    """Log likelihood ratios of an epoch that somebody saw: without the home, and with it, as the sampler draws it."""
    rounds = sampler.epoch
    sums = np.zeros((2, trials, rounds))
    for trial in range(trials):
        for round_ in range(rounds):
            secret = trial.to_bytes(32, "big")
            sums[1, trial, round_] = sampler.members(secret, ONE_HOME, round_)[0]
    noised = discrete_gaussian(ByteStream(bytes(32)), sums.size).reshape(sums.shape) / SIGMA_STEPS
    return logsumexp((sums / noise + noised) / noise - 0.5 / noise**2, axis=2) - math.log(rounds)


def test_nobody_tells_a_home_apart_better_than_its_epoch_was_charged_for():
    """The best test there is, on what the sampler really draws: within the charge, and far beyond a wrong one."""
    noise, rounds, trials = 0.6, 4, 30_000
    event = Event(noise, 1 / rounds, 1, 0, epoch=rounds)
    without, with_home = attacked(RandomAllocation(event), noise, trials)
    epsilon = 2.0

    advantage = np.mean(with_home > epsilon) - math.exp(epsilon) * np.mean(without > epsilon)
    error = 4 * math.sqrt((0.25 + math.exp(2 * epsilon) * np.mean(without > epsilon)) / trials)
    right = allocation.losses(noise, rounds, 1e-4, pessimistic=True).get_delta_for_epsilon(epsilon)
    wrong = from_gaussian_mechanism(noise, sampling_prob=1 / rounds).get_delta_for_epsilon(epsilon)  # one round's
    assert right - error <= advantage <= right * 1.03 + error
    assert advantage - error > 1.5 * wrong
