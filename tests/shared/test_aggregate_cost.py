# SPDX-License-Identifier: Apache-2.0
"""What a study costs in trust mode `aggregate`, whoever drops out and whoever tells: never more than it says."""

import math
from itertools import combinations

import msgspec
import pytest

from skyglow_shared.layout import share_block
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.privacy.noise import SIGMA_STEPS, sensitivity_steps
from skyglow_shared.privacy.spare import deviation_steps
from skyglow_shared.study import Aggregation, Block, Supplier

NUMBERS = {"training": 23, "calibration": 60, "release": 100}
#: Suppliers, of which so many may drop out and so many collude: K > 2d + c.
TOLERATED = [(3, 1, 0), (4, 0, 2), (6, 1, 2), (6, 2, 1)]


@pytest.fixture(scope="module", params=TOLERATED, ids=lambda found: "K={} d={} c={}".format(*found))
def town(request, study):
    """A study of training, calibration and tables, whose epsilon is exactly what its plan costs."""
    suppliers, dropouts, colluders = request.param
    roster = tuple(Supplier(name=f"s{n}", public_key=f"{n:02x}" * 32) for n in range(suppliers))
    training, release = study.phases
    blocks = tuple(
        Block(name=source, source=source, model=model, l2_bound=1.6, noise_multiplier=9.0)
        for source, model in (("class_score", study.models[0].name), ("diary_profile", ""))
    )
    calibration = msgspec.structs.replace(release, name="calibration", blocks=blocks)
    changed = msgspec.structs.replace(
        study,
        suppliers=roster,
        aggregation=Aggregation(dropouts=dropouts, colluders=colluders),
        phases=(training, calibration, release),
    )
    return msgspec.structs.replace(changed, epsilon=cost(changed, changed.phases))


def cost(study, phases):
    return study_cost(plan(msgspec.structs.replace(study, phases=phases), NUMBERS), study.delta).epsilon_upper


def patterns(study):
    """Every supplier as the victim, with every set of others that drops out and every set of others that tells.

    A colluder may also be among those that dropped out; its noise is then not in the sum, nor missed there.
    """
    names = [supplier.name for supplier in study.suppliers]
    for victim in names:
        others = [name for name in names if name != victim]
        for dropped in subsets(others, study.aggregation.dropouts):
            for told in subsets(others, study.aggregation.colluders):
                yield victim, dropped, told


def subsets(names, most):
    return (set(chosen) for size in range(most + 1) for chosen in combinations(names, size))


def hidden(study, dropped, told):
    """In how many shares of the sum is noise that the office and its colluders do not know; is spare noise among it."""
    return sum(supplier.name not in dropped | told for supplier in study.suppliers), bool(dropped)


def noise_of(study, honest, spare):
    """As how many shares without spare noise so many honest ones hide."""
    return (deviation_steps(study, honest, honest * spare) / SIGMA_STEPS) ** 2


def seen(study, honest, made):
    """The phases as whoever knows all but `honest` shares sees them: their noise over what one home may move."""

    def block(one):
        steps = sensitivity_steps(made(one).noise_multiplier)
        return msgspec.structs.replace(one, noise_multiplier=SIGMA_STEPS * math.sqrt(honest) / steps)

    return tuple(
        msgspec.structs.replace(phase, blocks=tuple(block(one) for one in phase.blocks)) for phase in study.phases
    )


def test_no_allowed_pattern_costs_more_than_the_study_says(town):
    """On any supplier; the pattern may differ from round to round, and no round costs more than in the worst one."""
    allowed = {}
    for victim, dropped, told in patterns(town):
        allowed.setdefault(hidden(town, dropped, told), []).append((victim, dropped, told))
    whole, floor = town.noise_shares, town.noise_shares - town.aggregation.dropouts
    assert min(each for each, _ in allowed) == floor
    for pattern in {(whole, False), (floor, floor < whole)}:  # the worst with nobody missing, and with all that may be
        assert {victim for victim, _, _ in allowed[pattern]} == {supplier.name for supplier in town.suppliers}
    spent = {
        pattern: cost(town, seen(town, noise_of(town, *pattern), lambda block: share_block(town, block)))
        for pattern in allowed
        if pattern in {(whole, False), (floor, floor < whole), (floor + 1, True), max(allowed)}
    }
    assert all(epsilon <= town.epsilon * (1 + 1e-9) for epsilon in spent.values()), spent
    assert spent[whole, False] > 0.98 * town.epsilon  # and nothing is wasted on patterns that are not allowed
    assert spent[floor, floor < whole] > 0.98 * town.epsilon


FORGETFUL = {
    "dropouts": lambda found: Aggregation(dropouts=0, colluders=found.colluders),
    "colluders": lambda found: Aggregation(dropouts=found.dropouts, colluders=0),
    "both": lambda found: Aggregation(dropouts=0, colluders=0),
}


@pytest.mark.parametrize("forgotten", FORGETFUL)
def test_noise_made_for_more_than_are_left_is_too_little(town, forgotten):
    """Variants that forget to provide for dropouts, for colluders, or for either: the same patterns cost too much."""
    forgetful = msgspec.structs.replace(town, aggregation=FORGETFUL[forgotten](town.aggregation))
    if forgetful.aggregation == town.aggregation:
        pytest.skip("there is nothing to forget")
    floor = town.noise_shares - town.aggregation.dropouts
    left = noise_of(forgetful, floor, spare=True)
    assert cost(town, seen(town, left, lambda block: share_block(forgetful, block))) > 1.05 * town.epsilon


def test_without_what_is_spare_a_sum_with_one_missing_would_cost_more(town):
    if not town.aggregation.dropouts:
        pytest.skip("nobody may be missing")
    left = noise_of(town, town.noise_shares - 1, spare=False)
    assert cost(town, seen(town, left, lambda block: share_block(town, block))) > 1.02 * town.epsilon


@pytest.mark.parametrize("phase", ["training", "calibration", "release"])
def test_a_phase_left_out_of_the_account_is_missed(town, phase):
    """The test above can fail by any phase: what a study says without one is less than what it costs."""
    rest = tuple(one for one in town.phases if one.name != phase)
    assert cost(town, rest) < 0.999 * town.epsilon
