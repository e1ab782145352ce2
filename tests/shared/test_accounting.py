# SPDX-License-Identifier: Apache-2.0
"""What a study is charged: reference figures, and the algebra every ledger relies on."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from skyglow_shared.privacy.accounting import (
    LARGEST_EPSILON,
    Cost,
    Event,
    adaptive_cost,
    merged,
    plan,
    study_cost,
)
from skyglow_shared.privacy.noise import DISTANCE_PER_SAMPLE
from skyglow_shared.privacy.sampling import sampler_of
from skyglow_shared.study import Block, Phase

EVENTS = st.lists(
    st.builds(Event, st.sampled_from([1.0, 2.0]), st.sampled_from([0.5, 1.0]), st.integers(1, 9), st.integers(0, 3)),
    max_size=8,
)


def exact_gaussian_epsilon(multiplier, delta):
    """Balle & Wang 2018: the exact privacy curve of one Gaussian mechanism."""

    def excess(epsilon):
        a, b = 0.5 / multiplier, epsilon * multiplier
        return norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b) - delta

    return brentq(excess, 0, 50)


def test_the_reference_of_dp_sgd():
    """σ 2, q .05, 500 rounds, δ 1e-6: between 2.848 and 2.873 by every published accountant."""
    cost = study_cost([Event(2.0, 0.05, 500, 0)], 1e-6)
    assert cost.epsilon_upper == pytest.approx(2.873, abs=1e-3)
    assert cost.epsilon_lower == pytest.approx(2.848, abs=1e-3)


@pytest.mark.parametrize("multiplier", [0.7, 2.0, 8.0])
def test_one_gaussian_is_bracketed_about_its_exact_curve(multiplier):
    exact = exact_gaussian_epsilon(multiplier, 1e-6)
    cost = study_cost([Event(multiplier, 1.0, 1, 10)], 1e-6)
    assert cost.epsilon_lower <= exact <= cost.epsilon_upper
    assert cost.epsilon_upper - cost.epsilon_lower < 0.01 * exact


def test_n_gaussians_are_one_of_less_noise():
    composed = study_cost([Event(8.0, 1.0, 16, 0)], 1e-6)
    assert composed.epsilon_lower <= exact_gaussian_epsilon(2.0, 1e-6) <= composed.epsilon_upper


@given(EVENTS)
def test_merging_adds_counts_and_loses_none(events):
    result = merged(events)
    assert sum(event.count for event in result) == sum(event.count for event in events)
    assert len({(event.noise_multiplier, event.sampling_rate, event.numbers) for event in result}) == len(result)
    assert merged(result) == result
    assert sorted(map(repr, merged(reversed(events)))) == sorted(map(repr, result))


def test_rounds_charged_one_by_one_cost_what_the_plan_said():
    one = Event(4.0, 0.5, 1, 23)
    other = Event(6.0, 1.0, 1, 300)
    apart = [one, one, other, one]
    assert study_cost(apart, 1e-6) == study_cost([Event(4.0, 0.5, 3, 23), other], 1e-6)
    assert adaptive_cost([apart], 1e-6) == adaptive_cost([[Event(4.0, 0.5, 3, 23), other]], 1e-6)


def test_order_does_not_matter():
    events = [Event(4.0, 0.5, 10, 23), Event(6.0, 1.0, 1, 300), Event(9.0, 1.0, 2, 5)]
    forward, backward = study_cost(events, 1e-6), study_cost(events[::-1], 1e-6)
    assert forward.epsilon_upper == pytest.approx(backward.epsilon_upper, rel=1e-6)
    assert forward.epsilon_lower == pytest.approx(backward.epsilon_lower, rel=1e-6)


def test_blocks_of_one_round_are_one_mechanism(study):
    """On the same homes, without sampling, two blocks together cost what two releases composed cost."""
    blocks = tuple(
        Block(name=f"b{n}", source="area_profile", l2_bound=n, noise_multiplier=z) for n, z in ((1, 3.0), (2, 4.0))
    )
    together = sampler_of(study, Phase(name="release", expected_homes=1, blocks=blocks), 7).event()
    assert together.noise_multiplier == pytest.approx(2.4)  # 1/2.4² = 1/3² + 1/4²
    joint = study_cost([together], 1e-6)
    apart = study_cost([Event(3.0, 1.0, 1, 7), Event(4.0, 1.0, 1, 0)], 1e-6)
    assert joint.epsilon_upper == pytest.approx(apart.epsilon_upper, rel=2e-3)


def test_a_plan_holds_every_round_of_every_phase(study):
    events = plan(study, {"training": 23, "release": 42})
    assert events == (
        Event(8.0, 0.5, 40, 23),
        Event((4.0**-2 + 6.0**-2) ** -0.5, 1.0, 1, 42),
    )


@pytest.mark.parametrize(
    "events",
    [
        [Event(2.0, 0.05, 500, 0)],
        [Event(8.0, 1.0, 16, 0)],
        [Event(8.0, 0.5, 40, 23), Event(3.3, 1.0, 1, 300), Event(10.0, 1.0, 1, 5)],
    ],
)
def test_the_adaptive_total_is_never_less_than_the_plans(events):
    assert adaptive_cost([events], 1e-6) >= study_cost(events, 1e-6).epsilon_upper


def test_more_noise_less_sampling_and_fewer_rounds_cost_less():
    costs = [
        study_cost([event], 1e-6).epsilon_upper
        for event in (Event(8.0, 0.5, 20, 0), Event(8.0, 0.5, 40, 0), Event(8.0, 1.0, 40, 0), Event(4.0, 1.0, 40, 0))
    ]
    assert costs == sorted(costs)
    assert costs[0] < 0.8 * costs[-1]


def test_the_samplers_distance_is_taken_off_delta():
    numbers = 10**14  # absurdly many, so that it can be seen
    taken = numbers * DISTANCE_PER_SAMPLE * (1 + math.exp(LARGEST_EPSILON))
    assert 1e-8 < taken < 1e-6
    charged = study_cost([Event(2.0, 1.0, 1, numbers)], 1e-6)
    assert charged.epsilon_upper == pytest.approx(study_cost([Event(2.0, 1.0, 1, 0)], 1e-6 - taken).epsilon_upper)
    assert charged.epsilon_upper > study_cost([Event(2.0, 1.0, 1, 0)], 1e-6).epsilon_upper
    assert adaptive_cost([[Event(2.0, 1.0, 1, numbers)]], 1e-6) > adaptive_cost([[Event(2.0, 1.0, 1, 0)]], 1e-6)


def test_nothing_costs_nothing():
    assert study_cost([], 1e-6) == Cost(0.0, 0.0, 1e-6)
    assert adaptive_cost([], 1e-6) == 0.0


@given(st.builds(Event, st.floats(0.1, 1000), st.floats(0.001, 1), st.integers(1, 10**6), st.integers(0, 10**9)))
def test_a_ledger_can_store_events(event):
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
