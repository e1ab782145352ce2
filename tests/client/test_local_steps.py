# SPDX-License-Identifier: Apache-2.0
"""Steps that each home takes by itself: against a plain loop, within one bound, and what a study may ask of them."""

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.gradients import household_gradients
from skyglow_shared import soundness
from skyglow_shared.errors import StudyError
from skyglow_shared.messages import Share
from skyglow_shared.models import logistic
from skyglow_shared.privacy.noise import sensitivity_steps

RNG = np.random.default_rng(4)
X, Y, WEIGHTS = RNG.uniform(-1, 1, (30, 22)), RNG.integers(0, 2, 30).astype(float), RNG.normal(size=23)


def walked(study, steps, rate):
    """The study with homes that walk."""
    training = study.phases[0]
    block = msgspec.structs.replace(training.blocks[0], local_steps=steps, local_rate=rate)
    return msgspec.structs.replace(
        study, phases=(msgspec.structs.replace(training, blocks=(block,)), *study.phases[1:])
    )


@pytest.mark.parametrize(("steps", "rate"), [(1, 0.0), (2, 0.5), (7, 2.0)])
def test_a_home_goes_where_a_plain_loop_on_its_own_data_goes(town, steps, rate):
    found = household_gradients(town.study().models[0], WEIGHTS, X, Y, steps=steps, rate=rate)
    for home in range(len(X)):
        here, total = WEIGHTS.copy(), np.zeros(23)
        for _ in range(steps):
            chance = 1 / (1 + np.exp(-float(logistic.logits(here, X[home : home + 1])[0])))
            slope = (chance - Y[home]) * np.append(X[home], 1.0)
            here, total = here - rate * slope, total + slope
        np.testing.assert_allclose(found[home], total, rtol=0, atol=1e-12)
        if rate:
            np.testing.assert_allclose(WEIGHTS - rate * found[home], here, rtol=0, atol=1e-12)


def test_one_home_moves_the_sum_by_no_more_than_its_bound_however_far_it_walks(town):
    study = walked(town.study(), 100, 1000.0)
    block = study.phases[0].blocks[0]
    with town.open() as supplier:
        homes = supplier.homes(study)
    weights = {study.models[0].name: 50 * WEIGHTS}
    whole = block_sum(study, block, homes, weights)
    moved = 0.0
    for home in range(len(homes)):
        without = block_sum(study, block, homes.take(np.arange(len(homes)) != home), weights)
        moved = max(moved, float(np.linalg.norm((whole - without).ravel())))
    assert 0.9 * sensitivity_steps(block.noise_multiplier) < moved <= sensitivity_steps(block.noise_multiplier)


def test_a_study_whose_homes_walk_is_answered(town):
    study = walked(town.study(), 3, 0.5)
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("gradient", {"local_steps": 2}),
        ("gradient", {"local_rate": 0.5}),
        ("area_score", {"local_steps": 2, "local_rate": 0.5}),
    ],
)
def test_steps_need_a_rate_and_a_gradient(town, source, changes):
    study = town.study()
    phases = [
        msgspec.structs.replace(
            phase,
            blocks=tuple(
                msgspec.structs.replace(block, **changes) if block.source == source else block for block in phase.blocks
            ),
        )
        for phase in study.phases
    ]
    soundness.check(walked(study, 2, 0.5))
    with pytest.raises(StudyError, match="may have local_steps, each of a local_rate"):
        soundness.check(msgspec.structs.replace(study, phases=tuple(phases)))


def test_models_with_hidden_layers_do_not_walk(town):
    study = walked(town.study(), 2, 0.5)
    model = msgspec.structs.replace(study.models[0], kind="perceptron", hidden=(4,))
    with pytest.raises(StudyError, match="no hidden layers"):
        soundness.check(msgspec.structs.replace(study, models=(model,)))
