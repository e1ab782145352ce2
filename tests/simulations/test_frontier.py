# SPDX-License-Identifier: Apache-2.0
"""The sweep over epsilon: its sums are a real run's, its levels cost what they say, and it goes on where it stopped."""

import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pytest
import torch

from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_server.federation import InProcess
from skyglow_shared.command import main
from skyglow_shared.errors import RunError, StudyError
from skyglow_shared.files import write_atomically
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan as plan_of
from skyglow_shared.privacy.accounting import study_cost
from skyglow_shared.study import canonical_bytes
from skyglow_simulations import experiment, suppliers
from skyglow_simulations.frontier import levels, sweep
from skyglow_simulations.frontier.plot import render
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.frontier.sweep import Plan
from skyglow_simulations.frontier.table import points, to_csv
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder


def silent(phase, done, total):
    del phase, done, total


def cost(study):
    return study_cost(plan_of(study, all_round_numbers(study)), study.delta).epsilon_upper


@pytest.fixture(scope="module")
def parties(finished):
    with experiment.opened(finished.experiment.folder, finished.experiment.parameters) as held:
        seed = finished.experiment.parameters.seed
        return [
            Party(name, supplier.homes(finished.experiment.study), SeededRandomness(seed, name))
            for name, supplier in held.items()
        ]


def assert_alike(mine, theirs):
    assert mine.sums.keys() == theirs.sums.keys()
    for name, block in theirs.sums.items():
        np.testing.assert_allclose(mine.sums[name].values, block.values, rtol=0, atol=1e-3 * block.deviation.min())
        np.testing.assert_array_equal(mine.sums[name].deviation, block.deviation)
    for name, training in theirs.models.items():
        np.testing.assert_allclose(mine.models[name].final, training.final, rtol=1e-4)


def test_a_rehearsal_has_the_sums_of_the_run_itself(finished, parties):
    [mine] = rehearse([finished.experiment.study], parties)
    assert_alike(mine, finished.outcome)


def test_a_study_comes_to_the_same_alone_and_in_company(finished, parties):
    study = finished.experiment.study
    others = [levels.scaled(study, factor, 19.0) for factor in (0.4, 1.7)]
    first, alone, last = rehearse([others[0], study, others[1]], parties)
    assert_alike(alone, finished.outcome)
    assert first.sums["area_scores"].deviation[0] < alone.sums["area_scores"].deviation[0]
    assert alone.sums["area_scores"].deviation[0] < last.sums["area_scores"].deviation[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_rehearsal_has_the_same_sums_on_a_device(finished, parties):
    [mine] = rehearse([finished.experiment.study], parties, "cuda")
    assert_alike(mine, finished.outcome)


def test_a_device_that_is_not_there_is_refused(finished, parties):
    with pytest.raises(RunError, match="no device 'cuda:99'"):
        rehearse([finished.experiment.study], parties, "cuda:99")


def test_a_rehearsal_has_the_sums_of_secure_aggregation(finished, parties, tmp_path):
    parameters = msgspec.structs.replace(finished.experiment.parameters, trust="aggregate")
    study = experiment.trusting(finished.experiment.study, "aggregate")
    folder = Folder(tmp_path / "run")
    (folder.path / "suppliers").mkdir(parents=True)
    for name in suppliers.NAMES:  # stores and panel are the finished run's; ledgers are new
        folder.supplier(name).mkdir()
        for kept in ("store", "raw"):
            (folder.supplier(name) / kept).symlink_to(finished.experiment.folder.supplier(name) / kept)
    write_atomically(folder.study, canonical_bytes(study))
    one = experiment.begin(folder, parameters, silent)
    assert one.study == study
    one.introduce()
    one.approve()
    folder.office.mkdir()
    with experiment.opened(folder, parameters) as held:
        federation = InProcess({name: supplier.handle for name, supplier in held.items()})
        checkpoints = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
        theirs = Coordinator(study, one.office, federation, checkpoints, silent).run()
    [mine] = rehearse([study], parties)
    assert_alike(mine, theirs)


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_a_level_costs_what_it_says_and_hardly_less(finished, epsilon):
    study = finished.experiment.study
    found = levels.scaled(study, levels.factor(study, epsilon), epsilon)
    assert 0.995 * epsilon < cost(found) <= epsilon == found.epsilon
    ratio = found.phases[0].blocks[0].noise_multiplier / study.phases[0].blocks[0].noise_multiplier
    for phase, before in zip(found.phases, study.phases, strict=True):
        for block, old in zip(phase.blocks, before.blocks, strict=True):
            assert block.noise_multiplier == pytest.approx(ratio * old.noise_multiplier)


def test_a_common_bound_goes_with_its_blocks_noise_and_is_gone_without_it(finished):
    study = finished.experiment.study
    assert any(phase.noise_multiplier for phase in study.phases)
    louder = levels.scaled(study, 2.0, 1.0)
    quiet = levels.without_noise(study)
    for before, after, none in zip(study.phases, louder.phases, quiet.phases, strict=True):
        assert after.noise_multiplier == 2 * before.noise_multiplier
        assert [block.noise_multiplier for block in after.blocks] == [2 * one.noise_multiplier for one in before.blocks]
        assert none.noise_multiplier == 0


def test_a_level_that_cannot_be_had_is_refused_with_the_way_out(finished):
    with pytest.raises(StudyError, match="another level"):
        levels.factor(finished.experiment.study, 1e-5)


@pytest.fixture(scope="module")
def swept(parameters, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "hamlet"
    plan = Plan(city=parameters, seeds=2, epsilons=(2.0, 4.0))
    return folder, plan, sweep.sweep(folder, plan, silent)


def test_every_city_has_every_level_and_mode_once(swept):
    _, plan, cells = swept
    found = [(cell.seed, cell.series, cell.epsilon) for cell in cells]
    wanted = [
        (seed, *rest)
        for seed in (plan.city.seed, plan.city.seed + 1)
        for rest in (
            *[(mode, epsilon) for mode in plan.modes for epsilon in plan.epsilons],
            ("without noise", None),
            ("old census", None),
        )
    ]
    assert found == wanted
    assert len({cell.study for cell in cells}) == len(cells), "each level of each city is a study of its own"


def test_cities_differ_and_are_functions_of_their_seed(swept, tmp_path):
    _, plan, cells = swept
    second = [cell for cell in cells if cell.seed == plan.city.seed + 1]
    later = msgspec.structs.replace(plan, city=msgspec.structs.replace(plan.city, seed=plan.city.seed + 1), seeds=1)
    assert sweep.sweep(tmp_path / "later", later, silent) == second
    assert second[0].figures != cells[0].figures


def test_a_stopped_sweep_runs_only_the_cities_it_lacks(swept, monkeypatch):
    folder, plan, cells = swept
    first, second = (folder / "cities" / f"{plan.city.seed + number}.json" for number in (0, 1))
    kept = first.stat().st_mtime_ns
    second.unlink()
    assert sweep.sweep(folder, sweep.resumed(folder), silent) == cells
    assert first.stat().st_mtime_ns == kept
    monkeypatch.setattr(sweep, "_factors", lambda plan, progress: pytest.fail("everything is there: nothing may run"))
    assert sweep.sweep(folder, plan, silent) == cells


def test_a_folder_holds_one_plan(swept, tmp_path):
    folder, plan, _ = swept
    with pytest.raises(RunError, match="another plan"):
        sweep.sweep(folder, msgspec.structs.replace(plan, seeds=3), silent)
    with pytest.raises(RunError, match="holds no sweep"):
        sweep.resumed(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        sweep.resumed(tmp_path)


def test_the_table_has_a_line_for_each_measure_and_level(swept):
    _, plan, cells = swept
    table = points(cells)
    rmse = [p for p in table if (p.measure, p.topic, p.level) == ("rmse", "all_aged_66_plus", "LSOA")]
    assert len(rmse) == len(plan.modes) * len(plan.epsilons) + 2
    own = [cell.figures["all_aged_66_plus"]["LSOA"]["rmse"] for cell in cells if cell.series == "old census"]
    [census] = [point for point in rmse if point.series == "old census"]
    assert census.value == pytest.approx(np.sqrt(np.mean(np.square(own))))
    assert (census.cities, census.low, census.high) == (2, None, None), "two cities make no band"
    begun = [cell.models["all_aged_66_plus"]["auc_start"] for cell in cells if cell.series == "without noise"]
    assert [point.value for point in table if point.measure == "auc_start"] == [pytest.approx(np.mean(begun))]
    assert all(0.55 < value < 0.85 for value in begun), "what simulated homes taught ranks these too"
    lines = to_csv(table).splitlines()
    assert len(lines) == 1 + len(table)
    assert lines[0] == "measure,topic,level,series,epsilon,value,low,high,cities"


def test_the_plot_has_a_panel_for_each_topic_and_level_with_every_series(swept):
    _, _, cells = swept
    many = [msgspec.structs.replace(cell, seed=cell.seed + 2 * n) for n in range(2) for cell in cells]
    svg = ET.fromstring(render(points(many), "A heading <&>", "a note"))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    charts = [node for node in svg.iter(f"{space}g") if node.get("class") == "chart"]
    assert len(charts) == 7, "three levels of shares, three of occupancy, and the model"
    for chart in charts:
        kinds = [node.get("class") for node in chart.iter(f"{space}path")]
        assert kinds == ["band local", "band aggregate", "line local", "line aggregate"], "no line lies under a band"
    [model] = [chart for chart in charts if chart.find(f"{space}text").text == "All aged 66+: model"]
    assert {node.get("class") for node in model.iter(f"{space}line")} == {"grid", "base", "without", "start"}
    assert "A heading <&>" in [node.text for node in svg.iter(f"{space}text")]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--epsilon", "0"], "--epsilon"),
        (["--epsilon", "nan"], "--epsilon"),
        (["--epsilon", "21"], "--epsilon"),
        (["--seeds", "0"], "--seeds"),
        (["--scale", "2"], "--scale"),
        (["--panel", "0"], "--panel"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_is_made(words, name, tmp_path, capsys):
    assert main(["frontier", "--out", str(tmp_path / "out"), *words]) == RunError.exit_code
    assert name in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_resumes_and_writes_table_and_plot(swept, capsys):
    folder, _, cells = swept
    assert main(["frontier", "--resume", str(folder)]) == 0
    assert (folder / "frontier.csv").read_text() == to_csv(points(cells))
    assert (folder / "frontier.svg").read_text().startswith("<svg")
    shown = capsys.readouterr().out
    assert "aggregate, epsilon 4" in shown
    assert "old census" in shown
