# SPDX-License-Identifier: Apache-2.0
"""The built-in study for small panels trains nothing: the whole panel calibrates, from files to estimates."""

from dataclasses import replace
from importlib import resources

import msgspec
import numpy as np
import pytest

from skyglow_server.draft import draft
from skyglow_server.estimation.evidence import panel_halves, panel_share
from skyglow_server.estimation.shares import evidence_of
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.models.logistic import first_weights
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_simulations import experiment, outputs, run

NAME = "southampton-small-panel"


@pytest.fixture(scope="module")
def small(parameters, tmp_path_factory):
    """A run of the study as it is, in the hamlet, to its written estimates."""
    asked = msgspec.structs.replace(parameters, study=NAME)
    one = experiment.begin(run.start(tmp_path_factory.mktemp("small") / "run", asked), asked, lambda *_: None)
    one.prepare()
    one.approve()
    outcome = one.run_study()
    findings = outputs.find(one, outcome)
    outputs.write(one, findings)
    return one, outcome, findings


def test_it_keeps_to_its_budget(small):
    one, _, _ = small
    with resources.as_file(resources.files("skyglow_simulations") / "studies" / f"{NAME}.toml") as path:
        study = draft(path, areas=one.study.areas, office_key="0" * 64, suppliers=one.study.suppliers, scale=1.0)
    assert study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper <= study.epsilon


def test_the_model_stays_where_it_begins_and_the_whole_panel_calibrates(small):
    one, outcome, _ = small
    model = one.study.models[0]
    np.testing.assert_array_equal(outcome.models[model.name].final, first_weights(model))
    with experiment.opened(one.folder, one.parameters) as held:
        homes = [supplier.homes(one.study) for supplier in held.values()]
    assert all(own.calibrates.all() for own in homes)
    panel = sum(int((own.metered & own.surveyed).sum()) for own in homes)
    counts = outcome.sums["class_scores"]
    noise = float(counts.deviation[0]) * np.sqrt(len(counts.values))
    assert noise < panel / 10
    assert counts.values[:, 0].sum() == pytest.approx(panel, abs=4 * noise)


def test_no_half_is_taken_to_have_trained(small):
    one, outcome, findings = small
    evidence = evidence_of(one.study, one.study.models[0], one.areas(), outcome.sums)
    calibrating, trained = panel_halves(evidence)
    assert trained == 0.0
    assert panel_halves(replace(evidence, halved=True)) == (calibrating, calibrating)
    others = outcome.sums["area_scores"].values[:, 0].sum()
    assert panel_share(evidence) == pytest.approx(calibrating / (calibrating + others))
    told = [item for item in findings.estimates if item.topic == one.study.models[0].name]
    assert {item.status for item in told if item.level != "LSOA"} == {"published"}
