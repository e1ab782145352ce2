# SPDX-License-Identifier: Apache-2.0
"""A whole study that lets the installed model say when homes are occupied, beside the same study by the rule."""

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation.occupancy import GROUPS
from skyglow_shared.models import presence
from skyglow_simulations import evaluation, experiment, outputs
from skyglow_simulations.run import Folder, Parameters

SCALE, SEED = 0.03, 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A city, and on it a study that names the model; run through every supplier's gate."""
    folder = tmp_path_factory.mktemp("presence")
    parameters = Parameters(scale=SCALE, seed=SEED, workers=1)
    one = experiment.begin(Folder(folder / "run"), parameters, lambda *_: None)
    one.prepare()
    one.approve()
    return one


@pytest.mark.slow
def test_the_model_says_when_homes_are_occupied_far_better_than_the_rule(made):
    models = outputs.find(made, made.run_study()).summary["models"]
    assert models["presence_model"]["mcc"] > models["presence_rule"]["mcc"] + 0.08
    assert models["presence_model"]["absence_recall"] > models["presence_rule"]["absence_recall"]


def curve_error(made, study):
    """Root mean square error of the city's two curves as the suppliers' profiles have them, before any calibration."""
    with experiment.opened(made.folder, made.parameters) as held:
        homes = [supplier.homes(study) for supplier in held.values()]
    profile = np.concatenate([own.profile[own.metered] for own in homes]).mean(axis=0)
    curve = presence.load(study.occupancy.basis).curve(profile).ravel()
    true = evaluation.truth(made.folder, study)
    truth = [true[study.areas[0].lad, "occupancy", slot] for slot in GROUPS]
    return float(np.sqrt(np.mean((curve - truth) ** 2)))


@pytest.mark.slow
def test_profiles_are_closer_to_the_truth(made):
    plain = msgspec.structs.replace(made.study.occupancy, model="", model_digest="")
    by_rule = msgspec.structs.replace(made.study, occupancy=plain)
    assert curve_error(made, made.study) < 0.6 * curve_error(made, by_rule)
