# SPDX-License-Identifier: Apache-2.0
"""A run step by step: every step may be done again and changes nothing the second time."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation import Estimate
from skyglow_shared.errors import FormatError, GeographyError, RunError, SkyglowError
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import digest
from skyglow_simulations import experiment, suppliers
from skyglow_simulations.experiment import Clock
from skyglow_simulations.run import Folder


def silent(phase, done, total):
    del phase, done, total


@pytest.fixture
def again(finished, tmp_path):
    """The finished run in another folder, begun anew."""
    folder = Folder(Path(shutil.copytree(finished.experiment.folder.path, tmp_path / "run")))
    return experiment.begin(folder, finished.experiment.parameters, silent)


def heads(one):
    with experiment.opened(one.folder, one.parameters) as held:
        return {name: supplier.gate.ledger.head for name, supplier in held.items()}


def test_a_study_is_a_function_of_the_runs_parameters(finished, tmp_path):
    parameters = finished.experiment.parameters
    for change in ({}, {"workers": 7}, {"panel_fraction": 0.1}, {"engine": "flower"}):
        other = experiment.begin(Folder(tmp_path), msgspec.structs.replace(parameters, **change), silent)
        assert digest(other.study) == digest(finished.experiment.study), change
    for change in ({"seed": 6}, {"scale": 0.09}):
        other = experiment.begin(Folder(tmp_path), msgspec.structs.replace(parameters, **change), silent)
        assert digest(other.study) != digest(finished.experiment.study), change
    assert list(tmp_path.iterdir()) == [], "to begin is to read"


def test_the_studys_areas_are_the_districts(finished):
    study = finished.experiment.study
    assert len(study.areas) == 9
    assert {area.lad for area in study.areas} == {"E06000099"}
    assert study.office_key == experiment.office(finished.experiment.parameters).public_key


def test_the_budget_grows_phase_by_phase_to_the_whole_cost(finished):
    study, budget = finished.experiment.study, finished.experiment.budget()
    assert list(budget) == [phase.name for phase in study.phases]
    spent = list(budget.values())
    assert 0 < spent[0] < spent[1] < spent[2] <= study.epsilon
    assert spent[2] == study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper


def test_what_was_charged_is_what_was_planned(finished):
    study = finished.experiment.study
    with experiment.opened(finished.experiment.folder, finished.experiment.parameters) as held:
        for supplier in held.values():
            charged = supplier.gate.ledger.charges()
            assert list(charged) == [digest(study)]
            assert supplier.gate.ledger.spent(study.delta).epsilon_upper == pytest.approx(
                finished.experiment.budget()["release"]
            )


def test_preparing_again_touches_nothing(again):
    files = {path: path.stat().st_mtime_ns for path in again.folder.path.rglob("*.parquet")}
    assert files
    again.prepare()
    assert {path: path.stat().st_mtime_ns for path in again.folder.path.rglob("*.parquet")} == files


def test_approving_again_is_nothing_new(again):
    before = heads(again)
    again.approve()
    assert heads(again) == before


def test_running_again_charges_nothing_and_gives_the_same(again, finished):
    before = heads(again)
    outcome = again.run_study()
    assert heads(again) == before
    for name, total in finished.outcome.sums.items():
        np.testing.assert_array_equal(outcome.sums[name].values, total.values)
    estimates = again.estimate(outcome)
    assert estimates == finished.findings.estimates
    assert all(isinstance(item, Estimate) for item in estimates)


def test_progress_tells_of_every_phase_from_none_to_all(again, tmp_path):
    seen = []
    shutil.rmtree(again.folder.office)
    one = experiment.begin(again.folder, again.parameters, lambda *step: seen.append(step))
    one.prepare()
    one.approve()
    one.run_study()
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert phases == ["readings", "approval", "training", "calibration", "release"]
    for phase in phases:
        steps = [(done, total) for name, done, total in seen if name == phase]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)


def test_a_supplier_that_refuses_stops_the_approval(again):
    for path in again.folder.supplier("east").glob("ledger.sqlite*"):
        path.unlink()
    policy = again.folder.supplier("east") / "policy.toml"
    policy.write_text(policy.read_text().replace('purposes = ["official-statistics"]', 'purposes = ["teaching"]'))
    with pytest.raises(SkyglowError, match=r"east refused: .*purposes") as caught:
        again.approve()
    assert caught.value.exit_code == 31


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda text: text.replace("lsoa21nm", "name"), FormatError),
        (lambda text: "\n".join(text.splitlines()[:-1]), GeographyError),
        (lambda text: text.replace("E06000099", "E06000098"), GeographyError),
        (lambda text: text[: len(text) // 2], SkyglowError),
    ],
)
def test_a_spoilt_table_of_areas_is_no_ground_for_estimates(spoil, error, again, finished):
    path = again.folder.reference / "areas.csv"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(error):
        again.estimate(finished.outcome)


@pytest.mark.parametrize("name", ["atlantis", "", "Southampton"])
def test_a_study_that_is_not_built_in(name, finished, tmp_path):
    with pytest.raises(RunError, match="no built-in study"):
        experiment.begin(Folder(tmp_path), msgspec.structs.replace(finished.experiment.parameters, study=name), silent)


def test_the_clock_adds_up_over_resumed_runs(tmp_path):
    clock = Clock(tmp_path / "seconds.json")
    assert clock.seconds == {}
    with clock.phase("rounds"):
        pass
    assert 0 <= clock.seconds["rounds"] < 5
    clock.path.write_text('{"rounds": 100.0}')
    with pytest.raises(ZeroDivisionError), Clock(tmp_path / "seconds.json").phase("rounds"):
        sum(range(500_000))
        raise ZeroDivisionError
    with clock.phase("estimation"):
        pass
    assert list(clock.seconds) == ["rounds", "estimation"]
    assert 100 < clock.seconds["rounds"] < 105, "time before a failure was spent too"


def test_the_peak_of_memory_is_in_mebibytes():
    held = np.ones(40 * 2**20, dtype=np.uint8)
    assert 40 < experiment.peak_memory_mib() < 20_000
    del held


def test_all_suppliers_are_closed_whatever_happens(again):
    with pytest.raises(ZeroDivisionError), experiment.opened(again.folder, again.parameters) as held:
        assert tuple(held) == suppliers.NAMES
        raise ZeroDivisionError
    with experiment.opened(again.folder, again.parameters):
        pass
