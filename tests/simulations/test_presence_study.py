# SPDX-License-Identifier: Apache-2.0
"""The study that trains a model of presence, through real gates and under masks, beside its rehearsal."""

from importlib import resources

import msgspec
import numpy as np
import pytest

from skyglow_simulations import experiment, outputs, suppliers
from skyglow_simulations.frontier import levels
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder

BUILT_IN = resources.files("skyglow_simulations") / "studies" / "southampton-presence.toml"


def silent(phase, done, total):
    del phase, done, total


@pytest.fixture(scope="module")
def trained(finished, tmp_path_factory):
    """An experiment on the finished run's stores and panel, and what it came to."""
    path = tmp_path_factory.mktemp("presence")
    text = (
        BUILT_IN.read_text(encoding="utf-8").replace("rounds = 120", "rounds = 3").replace("rounds = 40", "rounds = 1")
    )
    (path / "study.toml").write_text(text, encoding="utf-8")
    parameters = msgspec.structs.replace(finished.experiment.parameters, study=str(path / "study.toml"))
    folder = Folder(path / "run")
    (folder.path / "suppliers").mkdir(parents=True)
    for name in suppliers.NAMES:
        folder.supplier(name).mkdir()
        for kept in ("store", "raw"):
            (folder.supplier(name) / kept).symlink_to(finished.experiment.folder.supplier(name) / kept)
    for kept in ("truth", "reference"):
        (folder.path / kept).symlink_to(finished.experiment.folder.path / kept)
    one = experiment.begin(folder, parameters, silent)
    one.introduce()
    one.approve()
    folder.office.mkdir()
    return one, one.run_study()


def test_the_trained_model_says_when_homes_are_occupied(trained):
    one, outcome = trained
    summary = outputs.find(one, outcome).summary
    assert {"presence_rule", "presence_start", "presence_model"} < summary["models"].keys()
    assert summary["models"]["presence_start"]["mcc"] > summary["models"]["presence_rule"]["mcc"] + 0.08
    assert summary["models"]["presence_model"] != summary["models"]["presence_start"]
    assert "occupancy" in summary["topics"] and "presence" not in summary["topics"]
    planned = list(one.budget().values())[-1]
    for cost in summary["suppliers"].values():
        assert planned - 0.001 < cost["epsilon_upper"] <= min(planned + 0.001, one.study.epsilon)


@pytest.mark.parametrize("company", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_rehearsal_has_the_sums_of_the_run_itself_alone_and_in_company(trained, company):
    one, theirs = trained
    studies = [*[levels.scaled(one.study, 0.5, 19.0)] * company, one.study]  # another digest: other halves of the panel
    with experiment.opened(one.folder, one.parameters) as held:
        seed = one.parameters.seed
        parties = [Party(name, own.homes(studies[0]), SeededRandomness(seed, name)) for name, own in held.items()]
    mine = rehearse(studies, parties)[-1]
    np.testing.assert_array_equal(mine.models["presence"].final, theirs.models["presence"].final)
    assert mine.sums.keys() == theirs.sums.keys()
    for name, block in theirs.sums.items():
        np.testing.assert_allclose(mine.sums[name].values, block.values, rtol=0, atol=1e-3 * block.deviation.min())
