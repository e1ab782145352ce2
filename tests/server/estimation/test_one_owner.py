# SPDX-License-Identifier: Apache-2.0
"""A town where one supplier owns one neighbourhood: that is withheld and its figures with it, and no other place is."""

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.disclosure.spread import DOMINANCE, SUPPLIERS_PRESENT
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Block

SHARES = np.array([0.27, 0.22, 0.18, 0.14, 0.11, 0.08])
CAP, NOISE = 60, 8.0


@pytest.fixture(scope="module")
def case(simulator):
    """(study, areas, sums, code of the area that one supplier owns)."""
    rng = np.random.default_rng(9)
    areas, sums = simulator.drawn(rng, lsoas=60, msoas=14, panel=900)
    metered = np.maximum(sums["area_scores"].values[:, 0].round(), 0).astype(int)
    homes = np.array([rng.multinomial(number, rng.dirichlet(60 * SHARES)) for number in metered])
    owned = areas.codes["MSOA"].index(max(areas.codes["MSOA"], key=areas.codes["MSOA"].count))
    homes[owned] = [metered[owned] - 12, 4, 4, 2, 1, 1]
    sums["spread"] = simulator.noised(np.minimum(homes, CAP).sum(axis=1, keepdims=True), NOISE, rng)
    study = simulator.study_of(areas)
    count = Block(name="spread", source="area_capped_count", l2_bound=1.0, noise_multiplier=NOISE, cap=CAP)
    release = study.phases[-1]
    blocks = tuple(block for block in release.blocks if block.source != "area_profile")
    phases = (*study.phases[:-1], msgspec.structs.replace(release, blocks=(*blocks, count)))
    return msgspec.structs.replace(study, phases=phases), areas, sums, areas.codes["LSOA"][owned]


def test_the_owned_area_is_withheld_and_a_sibling_so_that_it_stays_so(case):
    study, areas, sums, owned = case
    estimates = estimation.estimate(study, areas, sums)
    withheld = {item.area_code: item.reason for item in estimates if item.status == "suppressed"}
    assert withheld.pop(owned) in (DOMINANCE, SUPPLIERS_PRESENT)
    assert set(withheld.values()) == {"complementary"}
    assert len(withheld) == 1, "one sibling, and nothing elsewhere"


def test_the_record_says_what_was_compared(case):
    study, areas, sums, owned = case
    record = [check for check in estimation.checks(study, areas, sums) if check.rule in (DOMINANCE, SUPPLIERS_PRESENT)]
    assert len(record) == 2 * (60 + 14 + 1)
    failed = [check for check in record if not check.passed]
    assert {check.area_code for check in failed} == {owned}
    assert any("allowing for noise" in check.reason and "80%" in check.reason for check in failed)


def test_without_the_count_nothing_is_asked(case):
    study, areas, sums, _ = case
    release = msgspec.structs.replace(study.phases[-1], blocks=study.phases[-1].blocks[:-1])
    plain = msgspec.structs.replace(study, phases=(*study.phases[:-1], release))
    assert not [c for c in estimation.checks(plain, areas, sums) if c.rule in (DOMINANCE, SUPPLIERS_PRESENT)]


def test_what_it_costs_is_small(case):
    """Beside the noise of the built-in study's release the count adds less than a fiftieth to the whole."""
    study, *_ = case

    def cost(blocks):
        release = msgspec.structs.replace(study.phases[-1], blocks=blocks)
        numbers = dict.fromkeys((phase.name for phase in study.phases), 100)
        asked = msgspec.structs.replace(study, phases=(*study.phases[:-1], release))
        return study_cost(plan(asked, numbers), study.delta).epsilon_upper

    scores = tuple(msgspec.structs.replace(block, noise_multiplier=2.08) for block in study.phases[-1].blocks[:1])
    assert cost(scores) < cost((*scores, study.phases[-1].blocks[-1])) < 1.05 * cost(scores)
