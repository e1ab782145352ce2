# SPDX-License-Identifier: Apache-2.0
"""Samplers: what they draw, what they say it costs, and that the two belong together."""

import math

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import binom, chisquare

from skyglow_shared import soundness
from skyglow_shared.errors import StudyError
from skyglow_shared.privacy.accounting import adaptive_cost, plan, study_cost, taken_off_delta
from skyglow_shared.privacy.sampling import (
    Poisson,
    RandomAllocation,
    TruncatedPoisson,
    allocated,
    excess,
    poisson_sample,
    sampler_of,
)
from skyglow_shared.study import Study, digest

HOMES = np.random.default_rng(5).integers(0, 256, (20_000, 16), dtype=np.uint8)


def secret(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def phase(study):
    """The study's training phase with some fields changed."""
    return lambda **changes: msgspec.structs.replace(study.phases[0], **changes)


@pytest.fixture
def sound(plain):
    """Check the study with the training phase changed."""

    def check(households=5000, supplier_households=0, **changes):
        plain["phases"][0].update(changes)
        plain.update({"households": households, "supplier_households": supplier_households})
        soundness.check(msgspec.convert(plain, type=Study))

    return check


def test_the_default_is_plain_poisson(study, phase):
    sampler = sampler_of(study, phase(), 23)
    assert isinstance(sampler, Poisson)
    np.testing.assert_array_equal(sampler.members(secret(3), HOMES, 7), poisson_sample(secret(3), len(HOMES), 0.5))
    assert sampler.event() == sampler.event(begins=False) == msgspec.structs.replace(sampler.events(40), count=1)


def test_every_home_is_in_exactly_one_round_of_an_epoch_and_which_is_uniform(study, phase):
    sampler = sampler_of(study, phase(sampling="random_allocation", sampling_rate=0.125), 23)
    assert isinstance(sampler, RandomAllocation)
    rounds = np.stack([sampler.members(secret(1), HOMES, 8 + round_) for round_ in range(8)])
    np.testing.assert_array_equal(rounds.sum(axis=0), 1)
    assert chisquare(rounds.sum(axis=1)).pvalue > 1e-6
    other = np.stack([sampler.members(secret(2), HOMES, round_) for round_ in range(8)])
    together = rounds.astype(int) @ other.T  # two epochs are independent
    assert chisquare(together.ravel()).pvalue > 1e-6


def test_a_homes_round_does_not_depend_on_other_homes_or_on_their_order():
    order = np.random.default_rng(1).permutation(len(HOMES))[:5000]
    np.testing.assert_array_equal(allocated(secret(4), HOMES, 7)[order], allocated(secret(4), HOMES[order], 7))
    assert allocated(secret(4), HOMES[:0], 7).shape == (0,)
    assert not np.array_equal(allocated(secret(4), HOMES, 7), allocated(secret(5), HOMES, 7))


def test_the_round_is_the_cipher_blocks_place_among_equal_parts():
    """Against integer arithmetic of all 128 bits."""
    encryptor = Cipher(algorithms.AES(secret(9)), modes.ECB()).encryptor()  # noqa: S305 - the oracle
    numbers = [int.from_bytes(encryptor.update(home.tobytes()), "little") for home in HOMES[:200]]
    for rounds in (2, 3, 1000, 9999):
        np.testing.assert_array_equal(
            allocated(secret(9), HOMES[:200], rounds), [number * rounds >> 128 for number in numbers]
        )


def test_an_epoch_is_charged_once_and_its_plan_is_what_its_rounds_were_charged(study, phase):
    sampler = sampler_of(study, phase(sampling="random_allocation", sampling_rate=0.25), 23)
    charges = [sampler.event(begins=round_ % 4 == 0) for round_ in range(40)]
    assert sampler.events(40).count == 10
    assert study_cost(charges, 1e-6) == study_cost([sampler.events(40)], 1e-6)
    assert adaptive_cost([charges], 1e-6) == adaptive_cost([[sampler.events(40)]], 1e-6)
    begun = charges[:5]  # a study that stopped in its second epoch has paid for two
    assert study_cost(begun, 1e-6) == study_cost([sampler.events(8)], 1e-6)
    assert sampler.events(40).numbers == 4 * 23


def test_a_study_of_allocated_homes_costs_less_than_one_of_poisson_samples(study, phase):
    def cost(sampling):
        changed = msgspec.structs.replace(study, phases=(phase(sampling=sampling, sampling_rate=0.25),))
        return study_cost(plan(changed, {"training": 23}), study.delta)

    assert cost("random_allocation").epsilon_upper < 0.99 * cost("poisson").epsilon_lower


def test_a_sample_larger_than_the_cap_is_cut_to_it_at_random(study, phase):
    study = msgspec.structs.replace(study, supplier_households=200)
    sampler = sampler_of(study, phase(sampling_rate=0.5, largest_batch=90), 23)
    assert isinstance(sampler, TruncatedPoisson)
    homes, counts, plain = HOMES[:200], np.zeros(200), 0
    for number in range(3000):
        chosen = sampler.members(secret(number), homes, 0)
        counts += chosen
        whole = poisson_sample(secret(number), 200, 0.5)
        assert chosen.sum() == min(whole.sum(), 90)
        assert not (chosen & ~whole).any()
        plain += whole.sum() <= 90
    assert plain > 0
    expected = counts.sum() / 200
    assert abs(counts - expected).max() < 5 * math.sqrt(3000 * 0.25)  # no home is favoured


def test_a_supplier_beyond_the_public_bound_is_not_held_to_the_cap_and_stays_private(study, phase):
    """One home more than the bound: plain Poisson, which is what the charge is for; nothing is refused or told."""
    study = msgspec.structs.replace(study, supplier_households=200)
    sampler = sampler_of(study, phase(sampling_rate=0.9, largest_batch=90), 23)
    assert sampler.members(secret(1), HOMES[:200], 0).sum() == 90
    np.testing.assert_array_equal(sampler.members(secret(1), HOMES[:201], 0), poisson_sample(secret(1), 201, 0.9))


@pytest.mark.parametrize(("homes", "rate", "largest"), [(25, 0.05, 4), (2000, 0.05, 150), (30_000, 0.25, 7900)])
def test_the_chance_of_a_larger_sample_is_bounded_and_not_by_much(homes, rate, largest):
    exact = binom.sf(largest, homes, rate)
    assert exact <= excess(homes, rate, largest) <= 100 * exact
    assert excess(homes, rate, homes) == 0.0
    assert excess(homes, rate, int(homes * rate) - 1) == 1.0


def test_what_a_cap_costs_is_taken_off_delta(study, phase):
    study = msgspec.structs.replace(study, supplier_households=2000)
    free = sampler_of(study, phase(), 23).events(40)
    capped = sampler_of(study, phase(largest_batch=1200), 23).events(40)
    assert 0 < capped.distance < 1e-16
    remaining = 1e-6 - taken_off_delta(40 * capped.distance)
    assert study_cost([capped], 1e-6).epsilon_upper == pytest.approx(study_cost([free], remaining).epsilon_upper)
    assert study_cost([msgspec.structs.replace(free, distance=1.0)], 1e-6).epsilon_upper == math.inf
    assert adaptive_cost([[msgspec.structs.replace(free, distance=1.0)]], 1e-6) == math.inf


def test_a_cap_is_refused_where_it_would_cost_anything(sound):
    sound(supplier_households=2000, largest_batch=1500)
    with pytest.raises(StudyError, match=r"largest_batch of phase training .* by a supplier of 2,000 homes"):
        sound(supplier_households=2000, largest_batch=1100)


def test_the_least_cap_that_is_named_is_accepted_and_one_less_is_not(sound):
    with pytest.raises(StudyError, match="let it be at least") as refused:
        sound(supplier_households=2000, largest_batch=1)
    named = int("".join(filter(str.isdigit, str(refused.value).partition("at least ")[2].partition(" or ")[0])))
    sound(supplier_households=2000, largest_batch=named)
    with pytest.raises(StudyError, match="largest_batch"):
        sound(supplier_households=2000, largest_batch=named - 1)


def test_few_homes_cannot_be_capped_but_at_all_of_them(sound):
    sound(supplier_households=25, sampling_rate=0.05, largest_batch=25)
    with pytest.raises(StudyError, match="largest_batch"):
        sound(supplier_households=25, sampling_rate=0.05, largest_batch=4)


@pytest.mark.parametrize("changes", [{"sampling_rate": 0.3}, {"sampling_rate": 1.0}, {"rounds": 41}])
def test_an_allocation_needs_whole_epochs(sound, changes):
    sound(sampling="random_allocation", sampling_rate=0.5)
    with pytest.raises(StudyError, match="whole epochs"):
        sound(**changes)


def test_thirds_may_be_written_as_decimals(sound):
    sound(sampling="random_allocation", sampling_rate=0.3333333, rounds=39)


def test_an_allocation_has_no_cap(sound):
    with pytest.raises(StudyError, match="for Poisson samples alone"):
        sound(sampling="random_allocation", largest_batch=5000)


def test_a_supplier_has_no_more_homes_than_the_study(sound):
    with pytest.raises(StudyError, match="supplier_households must be at most households"):
        sound(supplier_households=5001)


def test_sampling_is_part_of_the_studys_identity(study, phase):
    fields = ({}, {"sampling": "random_allocation"}, {"largest_batch": 4999}, {"largest_batch": 5000})
    studies = [msgspec.structs.replace(study, phases=(phase(**changes),)) for changes in fields]
    assert len({digest(one) for one in studies}) == len(fields)


def test_events_of_before_are_stored_as_they_were(study):
    event = sampler_of(study, study.phases[0], 23).event()
    assert set(msgspec.to_builtins(event)) == {"noise_multiplier", "sampling_rate", "count", "numbers"}
