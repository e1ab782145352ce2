# SPDX-License-Identifier: Apache-2.0
"""A trial's homes in place of simulated ones: whoever trains or calibrates is never truth, and copies count once."""

import dataclasses
import datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from skyglow_client.features.class22 import class22
from skyglow_client.learning.homes import calibrates
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_server.estimation.calibration import class_means
from skyglow_shared import command
from skyglow_shared.errors import DataError, FormatError, RunError, StudyError
from skyglow_shared.models import features
from skyglow_shared.study import COMPOSITION_CLASSES, Period
from skyglow_simulations import experiment, outputs, run, suppliers
from skyglow_simulations.population import dirty, exports, scoring, trial
from skyglow_simulations.population.timeline import Timeline

MAPPING = """
contract = "made-up-v1"
features = [{name = "level", low = -3.0, high = 3.0}, {name = "evening", low = 0.1, high = 9.0, transform = "log"}]
[classes]
one_person_66_plus = {kind = "0"}
family_66_plus = {kind = "1"}
one_person_under_66 = {kind = "2"}
family_no_dependent_children = {kind = "3"}
family_dependent_children = {kind = "4"}
other = {kind = "5"}
[labels.older]
positive_classes = ["one_person_66_plus", "family_66_plus"]
score_centre = -1.3
score_width = 1.6
[labels.children]
positive_classes = ["family_dependent_children"]
score_centre = -1.0
score_width = 1.6
"""
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "real" / "cer-class-features-labels-half.csv.gz"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table of 300 homes whose first column is the row, told in another, and its mapping."""
    folder, rng = tmp_path_factory.mktemp("trial"), np.random.default_rng(1)
    kind = np.repeat(np.arange(6), 50)
    table = pl.DataFrame(
        {
            "kind": kind.astype(str),
            "level": np.where(kind <= 1, 0.7, -0.5) + rng.normal(0, 0.8, 300),
            "evening": rng.lognormal(0, 0.5, 300),
            "noise": rng.normal(size=300),
        }
    )
    table.write_csv(folder / "homes.csv")
    (folder / "mapping.toml").write_text(MAPPING)
    return folder / "homes.csv", folder / "mapping.toml"


@pytest.fixture(scope="module")
def finished(files: tuple[Path, Path], parameters: run.Parameters, tmp_path_factory: pytest.TempPathFactory):
    """A whole study on the trial's homes, with the classes' label `older`."""
    template = (Path(run.__file__).parent / "studies" / "trial.toml").read_text(encoding="utf-8")
    study = tmp_path_factory.mktemp("study") / "trial.toml"
    study.write_text(template.replace("rounds = 40", "rounds = 3"), encoding="utf-8")
    asked = msgspec.structs.replace(
        parameters, study=str(study), trial=str(files[0]), mapping=str(files[1]), label="older", scale=0.3
    )
    one = experiment.begin(run.start(tmp_path_factory.mktemp("run") / "run", asked), asked, lambda *step: None)
    one.prepare()
    one.approve()
    return one, outputs.find(one, one.run_study())


def test_no_home_is_on_both_sides(finished):
    one, _ = finished
    homes = pl.read_parquet(one.folder.truth / "households.parquet")
    split = one.trial.split(one.parameters.seed)
    part = split[homes["trial_home"].to_numpy()]
    counts = homes["counts"].to_numpy()
    assert (part[counts] == trial.TRUE).all()
    assert (part[~counts] != trial.TRUE).all()
    for index, name in enumerate(suppliers.NAMES):
        own = homes.filter((pl.col("supplier") == index) & pl.col("panel"))
        pseudonyms = pseudonyms_of(
            own["meter_id"].cast(pl.String), (one.folder.supplier(name) / "pseudonym.key").read_bytes()
        )
        want = np.where(calibrates(one.study, pseudonyms), trial.CALIBRATES, trial.TRAINS)
        assert np.array_equal(split[own["trial_home"].to_numpy()], want)
    taken = homes["trial_home"].to_numpy()
    assert np.array_equal(one.trial.composition[taken], homes["composition"].to_numpy())


def test_meters_are_the_trials_and_truth_is_by_composition(finished):
    one, findings = finished
    homes = pl.read_parquet(one.folder.truth / "households.parquet")
    name = suppliers.NAMES[0]
    with suppliers.open_supplier(one.folder, name, one.parameters.seed) as supplier:
        held = supplier.homes(one.study)
    own = homes.filter(pl.col("supplier") == 0)
    x, _ = features.normalise(one.trial.contract, one.trial.x[own["trial_home"].to_numpy()])
    assert np.allclose(np.sort(held.x["label"][:, 0]), np.sort(x[:, 0]))
    assert held.metered.all()
    counted = homes.filter("counts")
    code = one.study.lsoas[2]
    area = counted.filter(pl.col("lsoa21cd") == code)
    assert findings.truth[code, "label", "all"] == pytest.approx((area["composition"] <= 1).mean())
    assert {topic for _, topic, _ in findings.truth} >= {"label"}
    assert set(findings.summary["methods"]) >= {"naive", "panel_alone"}


def test_intervals_count_distinct_homes(finished):
    one, _ = finished
    assert one.planning.class_distinct_homes == pytest.approx((1 / (1 / 15 + 1 / 20),) * 6)
    naive = dataclasses.replace(one, trial=None)
    assert naive.planning.class_distinct_homes == ()
    block = one.run_study().sums["class_scores"]
    positive, mix = np.arange(6) <= 1, np.full(6, 1 / 6)
    honest, wrong = (class_means(block, positive, mix, planning) for planning in (one.planning, naive.planning))
    own = [np.diag(means.sampling[:, -6:]) ** 2 / np.diag(means.sum_noise) ** 2 for means in (honest, wrong)]
    assert (own[0] > 1.2 * own[1]).all()  # what comes of which homes there are, beside the noise


def test_each_seed_splits_anew_and_of_every_class_its_share(files: tuple[Path, Path]):
    homes = trial.load(files[0], str(files[1]))
    first, again, second = (homes.split(seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != second).mean() > 0.3
    for kind in range(6):
        assert np.bincount(first[homes.composition == kind]).tolist() == [15, 15, 20]


def test_a_run_is_resumed_with_its_trial(finished):
    one, findings = finished
    folder, parameters = run.resume(one.folder.path)
    again = experiment.begin(folder, parameters, lambda *step: None)
    assert again.study == one.study
    stamp = (folder.truth / "households.parquet").stat().st_mtime_ns
    again.prepare()
    assert (folder.truth / "households.parquet").stat().st_mtime_ns == stamp
    assert again.estimate(again.run_study()) == findings.estimates


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda text: text.replace('"level"', '"height"'), FormatError, "height"),
        (lambda text: text.replace('kind = "3"', 'kin = "3"'), FormatError, "kin"),
        (lambda text: text.replace('kind = "3"', 'kind = "9"'), DataError, "family_no_dependent_children"),
        (lambda text: text.replace("other =", "others ="), FormatError, "classes"),
        (lambda text: text.replace('["family_dependent_children"]', '["families"]'), FormatError, "positive_classes"),
        (lambda text: text.replace("low = -3.0", "low = 4.0"), StudyError, "bounds"),
        (lambda text: text.replace("score_width = 1.6", "score_width = 0"), FormatError, "mapping"),
        (lambda text: text + "=", FormatError, "cannot be read"),
    ],
)
def test_a_mapping_that_does_not_fit_says_why(change, error, says, files: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "m.toml").write_text(change(MAPPING))
    with pytest.raises(error, match=says):
        trial.load(files[0], str(tmp_path / "m.toml"))


def test_readings_are_cleaned_and_make_our_own_features(tmp_path: Path):
    period = Period(datetime.date(2026, 3, 9), 14)
    timeline = Timeline.of(period)
    kwh = scoring.homes_of(period, 1, 3)[:72]
    meters = 10**12 + np.arange(72)
    soiled = dirty.soil(kwh, meters, timeline, dirty.CLEAN, np.random.default_rng(1), stamps=True)
    (tmp_path / "halves").mkdir()
    exports.write(tmp_path / "halves" / "readings-0", "lcl", meters, soiled, timeline)
    pl.DataFrame({"meter": meters.astype(str), "kind": (np.arange(72) % 6).astype(str)}).write_csv(tmp_path / "t.csv")
    head, _, tail = MAPPING.partition("features")
    given = tail[tail.index("[classes]") :] + (
        '[readings]\nfolder = "halves"\nformat = "lcl"\nmeter = "meter"\nstart = 2026-03-09\ndays = 14\n'
        "week = 2026-03-16\n"
    )
    (tmp_path / "m.toml").write_text(head.replace("made-up-v1", "class22-v1") + given)
    homes = trial.load(tmp_path / "t.csv", str(tmp_path / "m.toml"))
    want = class22(kwh[:, 7:14])
    assert homes.contract == features.contract("class22-v1")
    assert np.allclose(homes.x, want[np.isfinite(want).all(axis=1)])
    (tmp_path / "m.toml").write_text(head + given)
    with pytest.raises(FormatError, match="class22-v1"):
        trial.load(tmp_path / "t.csv", str(tmp_path / "m.toml"))
    pl.concat([pl.read_csv(tmp_path / "t.csv")] * 2).write_csv(tmp_path / "t.csv")
    (tmp_path / "m.toml").write_text(head.replace("made-up-v1", "class22-v1") + given)
    with pytest.raises(RunError, match="twice"):
        trial.load(tmp_path / "t.csv", str(tmp_path / "m.toml"))


def test_files_and_options_that_cannot_be_used_are_named(files, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.parquet").write_bytes(b"no")
    for path in (tmp_path / "t.parquet", tmp_path / "none.csv"):
        with pytest.raises(FormatError, match="--trial"):
            trial.load(path, str(files[1]))
    with pytest.raises(RunError, match="older"):
        trial.load(files[0], str(files[1])).label("rich")
    assert command.main(["simulate", "--label", "retired", "--quiet", "--out", str(tmp_path / "x")]) == 60
    assert "--trial" in capsys.readouterr().err


def test_a_contract_keeps_its_name(files: tuple[Path, Path]):
    given = trial.load(files[0], str(files[1])).contract
    features.install(given)
    features.install(given)
    assert features.contract("made-up-v1") == given
    with pytest.raises(StudyError, match="name"):
        features.install(dataclasses.replace(given, features=given.features[:1]))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="the Irish trial's homes are not beside the repository")
@pytest.mark.parametrize("label", ["retired", "persons"])
def test_the_irish_homes_in_southampton(label: str, tmp_path: Path):
    homes = trial.load(REAL, "cer")
    assert len(COMPOSITION_CLASSES) == 6
    assert len(homes.composition) > 1600
    asked = run.Parameters(study="trial", trial=str(REAL), label=label, workers=1, seed=3)
    one = experiment.begin(run.start(tmp_path / "run", asked), asked, lambda *step: None)
    one.prepare()
    one.approve()
    summary = outputs.find(one, one.run_study()).summary
    assert max(supplier["epsilon_upper"] for supplier in summary["suppliers"].values()) <= 2
    ours, others = summary["topics"]["label"]["MSOA"], summary["methods"]
    assert ours["rmse"] < others["naive"]["label"]["MSOA"]["rmse"]
    assert ours["rmse"] < 1.15 * others["panel_alone"]["label"]["MSOA"]["rmse"]
    assert ours["coverage"] > 0.85
