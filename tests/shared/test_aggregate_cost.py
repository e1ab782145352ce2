# SPDX-License-Identifier: Apache-2.0
"""What a study costs in trust mode `aggregate`, whoever drops out and whoever tells: never more than it says."""

import math
from itertools import product

import msgspec
import pytest

from skyglow_shared.layout import share_block
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.privacy.noise import SIGMA_STEPS, sensitivity_steps
from skyglow_shared.study import Aggregation, Supplier


@pytest.fixture(scope="module")
def town(study):
    """Six suppliers, of which one may drop out and two may collude; epsilon is exactly what the plan costs."""
    roster = tuple(Supplier(name=f"s{n}", public_key=f"{n:02x}" * 32) for n in range(6))
    changed = msgspec.structs.replace(study, suppliers=roster, aggregation=Aggregation(dropouts=1, colluders=2))
    return msgspec.structs.replace(changed, epsilon=cost(changed, changed.phases))


def cost(study, phases):
    events = plan(msgspec.structs.replace(study, phases=phases), {"training": 23, "release": 100})
    return study_cost(events, study.delta).epsilon_upper


def seen(study, honest, made):
    """The phases as whoever knows all but `honest` shares sees them: their noise over what one home may move."""

    def block(one):
        steps = sensitivity_steps(made(one).noise_multiplier)
        return msgspec.structs.replace(one, noise_multiplier=SIGMA_STEPS * math.sqrt(honest) / steps)

    return tuple(
        msgspec.structs.replace(phase, blocks=tuple(block(one) for one in phase.blocks)) for phase in study.phases
    )


def test_no_allowed_pattern_costs_more_than_the_study_says(town):
    for dropped, told in product(range(2), range(3)):
        spent = cost(town, seen(town, 6 - dropped - told, lambda block: share_block(town, block)))
        assert spent <= town.epsilon * (1 + 1e-9), (dropped, told)
    worst = cost(town, seen(town, 3, lambda block: share_block(town, block)))
    assert worst > 0.98 * town.epsilon  # and nothing is wasted on patterns that are not allowed


@pytest.mark.parametrize(("dropped", "told"), [(1, 0), (0, 1), (1, 2)])
def test_noise_made_for_everybody_is_too_little_for_fewer(town, dropped, told):
    """The variant that forgets dropouts or colluders: each share holds a sixth of the variance."""
    everybody = msgspec.structs.replace(town, aggregation=Aggregation(dropouts=0, colluders=0))
    spent = cost(town, seen(town, 6 - dropped - told, lambda block: share_block(everybody, block)))
    assert spent > 1.02 * town.epsilon
