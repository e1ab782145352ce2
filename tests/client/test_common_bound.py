# SPDX-License-Identifier: Apache-2.0
"""One bound for all blocks of a phase: no home moves all of them together by more than what the phase is charged."""

from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_client.learning import block_sum as sums
from skyglow_client.learning import scores
from skyglow_client.learning.contributions import contributions
from skyglow_shared import command
from skyglow_shared.errors import StudyError
from skyglow_shared.layout import all_round_numbers, share_block
from skyglow_shared.models import presence
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.privacy.noise import SIGMA_STEPS
from skyglow_shared.privacy.release import room
from skyglow_shared.privacy.sampling import combined_multiplier
from skyglow_shared.soundness import check
from skyglow_shared.study import Aggregation, Supplier, digest

K = presence.load("presence_basis_v2").components.shape[1]
NAME = "all_aged_66_plus"
COMMON = 1.25
BLOCKS = {"area_score": (1.118034, 1.6), "area_profile": (0.3, 1.3)}
WEIGHTS = {NAME: np.linspace(-3, 3, 23)}


def held(study, multiplier=COMMON):
    """The study whose release is of scores and profiles under one bound."""
    release = study.phases[-1]
    blocks = tuple(
        msgspec.structs.replace(block, l2_bound=BLOCKS[block.source][0], noise_multiplier=BLOCKS[block.source][1])
        for block in release.blocks
    )
    release = msgspec.structs.replace(release, blocks=blocks, noise_multiplier=multiplier)
    return msgspec.structs.replace(study, phases=(*study.phases[:-1], release))


@pytest.fixture
def study(town):
    return held(town.study())


@pytest.fixture
def long_homes(make_homes):
    """Makes homes whose profiles are so long."""

    def make(lengths, rng):
        profile = rng.normal(0, 1, (len(lengths), 2, K))
        profile *= (np.asarray(lengths) / np.linalg.norm(profile.reshape(len(lengths), -1), axis=1))[:, None, None]
        return make_homes(len(lengths), rng, profile=profile)

    return make


def moved(study, homes, home):
    """How far one home moves all blocks of the release together: its square, in steps, exactly."""
    rest, total = homes.take(np.arange(len(homes)) != home), 0
    for block in study.phases[-1].blocks:
        change = sums.block_sum(study, block, homes, WEIGHTS) - sums.block_sum(study, block, rest, WEIGHTS)
        total += sum(int(step) ** 2 for step in change.ravel())
    return total


def charged(study, multiplier=COMMON):
    """The square that what a share is charged for allows, in steps: over all shares whose noise is counted."""
    return (SIGMA_STEPS / Fraction(multiplier)) ** 2 * study.noise_shares


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.floats(0, 3), st.sampled_from([0.26, 0.3, 1e30, 1e200])), min_size=1, max_size=6),
    number=st.integers(0, 2**31),
)
def test_one_home_moves_all_blocks_by_at_most_what_the_phase_is_charged(study, long_homes, lengths, number):
    homes = long_homes(lengths, np.random.default_rng(number))
    assert all(moved(study, homes, home) <= charged(study) for home in range(len(homes)))


def test_without_room_made_for_each_other_the_bound_is_passed(study, long_homes, monkeypatch):
    """The test above can fail: in scores' giving way, and in what holds whatever scores do."""
    homes = long_homes([0.3] * 12, np.random.default_rng(1))
    before = [moved(study, homes, home) for home in range(12)]
    assert max(before) > 0.8 * charged(study)  # the bound is used
    apart = msgspec.structs.replace(study.phases[-1], noise_multiplier=0.0)
    loose = msgspec.structs.replace(study, phases=(*study.phases[:-1], apart))
    assert max(moved(loose, homes, home) for home in range(12)) > charged(study)
    monkeypatch.setattr(scores, "_most", lambda study, block, homes, weights: np.ones(len(homes)))
    assert max(moved(study, homes, home) for home in range(12)) <= charged(study)
    monkeypatch.setattr(sums, "room", lambda squares, multiplier: np.ones(len(squares)))
    assert max(moved(study, homes, home) for home in range(12)) > charged(study)


def test_a_share_of_the_noise_goes_with_a_share_of_the_bound(study, long_homes):
    roster = tuple(Supplier(name=f"s{n}", public_key=f"{n:064x}") for n in range(6))
    many = msgspec.structs.replace(
        study, suppliers=roster, trust_mode="aggregate", aggregation=Aggregation(dropouts=1, colluders=1)
    )
    homes = long_homes([0.3] * 8, np.random.default_rng(2))
    assert share_block(many, many.phases[-1].blocks[0]).noise_multiplier < BLOCKS["area_score"][1] / 2
    most = max(moved(many, homes, home) for home in range(8))
    assert 0.8 * charged(many) < most <= charged(many)


def test_a_home_with_no_number_counts_for_nothing_and_holds_nobody_back(study, long_homes):
    homes = long_homes([0.1, 0.1, 0.1], np.random.default_rng(3))
    homes.profile[1] = np.nan
    by_score, profiles = study.phases[-1].blocks
    assert not contributions(study, profiles, homes.take(np.array([False, True, False])), WEIGHTS).vectors.sum() > 0
    assert moved(study, homes, 1) > 0  # its score is one
    whole, rest = (sums.block_sum(study, profiles, some, WEIGHTS) for some in (homes, homes.take([True, False, True])))
    np.testing.assert_array_equal(whole, rest)
    assert np.isfinite(contributions(study, by_score, homes, WEIGHTS).vectors).all()


def test_scores_give_way_to_long_profiles_alone_and_alike_where_they_are_calibrated(study, long_homes):
    rng = np.random.default_rng(4)
    homes = long_homes([0.05] * 50 + [0.27] * 50, rng)
    free = held(study, 0.0)
    area, classes = (
        next(block for block in study.blocks if block.source == source) for source in ("area_score", "class_score")
    )
    own, plain = (contributions(one, area, homes, WEIGHTS).vectors for one in (study, free))
    np.testing.assert_array_equal(own[:, 0], 0.5)  # a home counts as one, however long its profile
    np.testing.assert_array_equal(own[:50], plain[:50])
    shortened = np.abs(own[50:, 1]) < np.abs(plain[50:, 1])
    assert 10 < shortened.sum() < 50
    assert (np.sign(own) == np.sign(plain)).all()
    np.testing.assert_array_equal(contributions(study, classes, homes, WEIGHTS).vectors[:, 1], own[:, 1])


def test_the_phase_costs_what_its_bound_costs(study):
    release = study.phases[-1]
    assert combined_multiplier(release) == COMMON
    free = held(study, 0.0)
    assert combined_multiplier(free.phases[-1]) == pytest.approx((1.6**-2 + 1.3**-2) ** -0.5)
    both = [study_cost(plan(one, all_round_numbers(one)), one.delta).epsilon_upper for one in (study, free)]
    assert both[0] < 0.9 * both[1]
    alone = msgspec.structs.replace(release.blocks[0], noise_multiplier=COMMON)
    one_block = msgspec.structs.replace(release, blocks=(alone,), noise_multiplier=0.0)
    assert combined_multiplier(one_block) == COMMON


@pytest.mark.parametrize("multiplier", [0.9, 1.0, 1.3, 1.6, 20.0])
def test_a_bound_that_does_nothing_or_leaves_a_block_too_little_is_refused(study, multiplier):
    check(study)
    with pytest.raises(StudyError, match="noise_multiplier of phase release must be above"):
        check(held(study, multiplier))


def test_a_phase_that_trains_has_no_common_bound(study):
    training = study.phases[0]
    louder = msgspec.structs.replace(training.blocks[0], name="more", noise_multiplier=3.0)
    two = msgspec.structs.replace(
        training,
        blocks=(msgspec.structs.replace(training.blocks[0], noise_multiplier=3.0), louder),
        noise_multiplier=2.5,
    )
    with pytest.raises(StudyError, match="for phases that measure"):
        check(msgspec.structs.replace(study, phases=(two, *study.phases[1:])))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.floats(0.1, 1000))
def test_room_never_lengthens_and_always_fits(squares, multiplier):
    squares = np.array(squares)
    factor = room(squares, multiplier)
    assert ((factor > 0) & (factor <= 1)).all()
    exact = [Fraction(f) ** 2 * Fraction(s) * Fraction(multiplier) ** 2 for f, s in zip(factor, squares, strict=True)]
    assert all(one <= 1 for one in exact)
    np.testing.assert_array_equal(factor[np.sqrt(squares) * multiplier < 0.999], 1.0)


@pytest.fixture
def alone(study):
    """The release by itself, which the town's policy can pay for."""
    return msgspec.structs.replace(study, phases=study.phases[-1:], epsilon=4.0)


def test_whoever_decides_is_told(town, alone, capsys):
    with town.open() as supplier:
        supplier.handle(town.proposal(alone))
    assert command.main(["supplier", "study", "show", digest(alone), "--folder", str(town.folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("all of it together: one home counts for at most 1/1.25 of the noise") == 1


def test_a_share_through_the_gate_is_charged_the_common_bound(town, alone):
    """What leaves is what the bound was made for, and the ledger holds one event of its multiplier."""
    with town.open() as supplier:
        town.approve(supplier, alone)
        share = town.ask(supplier, town.request(alone, "release"))
        assert set(share.blocks) == {block.name for block in alone.phases[0].blocks}
        [event] = supplier.gate.ledger.charges()[digest(alone)]
        assert event.noise_multiplier == COMMON
