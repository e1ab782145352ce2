# SPDX-License-Identifier: Apache-2.0
"""One small run, carried out in this process step by step, for every test that looks at a step."""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest

from skyglow_server.coordinator import Outcome
from skyglow_simulations import experiment, outputs, run
from skyglow_simulations.experiment import Experiment
from skyglow_simulations.outputs import Findings

PACKAGE = Path(str(resources.files("skyglow_simulations")))


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end, but for the report."""

    experiment: Experiment
    outcome: Outcome
    findings: Findings


@pytest.fixture(scope="session")
def few_areas(tmp_path_factory):
    """Census tables of nine areas under the code of another district."""
    folder, source = tmp_path_factory.mktemp("census"), PACKAGE / "extract" / "E06000045"
    with (source / "lsoa21-msoa21-lad22.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["MSOA21CD"], row["LSOA21CD"]))[:9]
    with (folder / "lsoa21-msoa21-lad22.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "LAD22CD": "E06000099", "LAD22NM": "Hamlet"} for row in rows)
    codes = {row["LSOA21CD"] for row in rows}
    for table in source.glob("ts*.csv"):
        header, *lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if codes & set(line.split(","))]
        (folder / table.name).write_text(header + "".join(kept), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def parameters(few_areas, tmp_path_factory):
    """Parameters of a run of seconds."""
    study = tmp_path_factory.mktemp("study") / "hamlet.toml"
    text = (PACKAGE / "studies" / "southampton.toml").read_text(encoding="utf-8")
    study.write_text(text.replace("rounds = 40", "rounds = 2"), encoding="utf-8")
    return run.Parameters(
        study=str(study),
        district="E06000099",
        census=str(few_areas),
        scale=0.12,
        seed=5,
        panel_fraction=0.35,
        workers=1,
    )


@pytest.fixture(scope="session")
def finished(parameters, tmp_path_factory):
    folder = run.start(tmp_path_factory.mktemp("finished") / "run", parameters)
    one = experiment.begin(folder, parameters, lambda phase, done, total: None)
    one.prepare()
    one.approve()
    outcome = one.run_study()
    findings = outputs.find(one, outcome)
    outputs.write(one, findings)
    return Finished(one, outcome, findings)
