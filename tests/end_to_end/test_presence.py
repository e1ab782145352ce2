# SPDX-License-Identifier: Apache-2.0
"""A whole study that lets the installed model say when homes are occupied, beside the same study by the rule."""

from importlib import resources

import pytest

from skyglow_simulations import experiment, outputs
from skyglow_simulations.run import Folder, Parameters

STUDY = resources.files("skyglow_simulations") / "studies" / "southampton.toml"
BASIS = 'basis = "presence_basis_v1"'
SEED = 5


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Summaries of both studies on the same city, with a tenth of the noise: their own is too much for a small one."""

    def run(name, model):
        folder = tmp_path_factory.mktemp(name)
        text = STUDY.read_text(encoding="utf-8").replace(BASIS, BASIS + model)
        (folder / "study.toml").write_text(text, encoding="utf-8")
        parameters = Parameters(scale=0.1, seed=SEED, workers=1, study=str(folder / "study.toml"))
        made = experiment.begin(Folder(folder / "run"), parameters, lambda *_: None)
        made.prepare()
        made.approve()
        return outputs.find(made, made.run_study()).summary

    return {"rule": run("rule", ""), "model": run("model", '\nmodel = "presence_model_v1"')}


@pytest.mark.slow
def test_the_model_says_when_homes_are_occupied_far_better_than_the_rule(found):
    models = found["model"]["models"]
    assert models["presence_model"]["mcc"] > models["presence_rule"]["mcc"] + 0.08
    assert models["presence_model"]["absence_recall"] > models["presence_rule"]["absence_recall"]
    assert "presence_model" not in found["rule"]["models"]


@pytest.mark.slow
def test_occupancy_curves_are_closer_to_the_truth(found):
    rule, model = (found[name]["topics"]["occupancy"]["MSOA"] for name in ("rule", "model"))
    assert model["rmse"] < rule["rmse"]
    assert model["coverage"] > 0.9
