# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the real command: a city once, and a hamlet of a few areas for everything that is done often."""

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sysconfig
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from skyglow_simulations import experiment as experiments
from skyglow_simulations import run as runs
from skyglow_simulations.suppliers import NAMES

EXTRACT = Path(str(resources.files("skyglow_simulations") / "extract" / "E06000045"))
STUDIES = Path(str(resources.files("skyglow_simulations") / "studies"))
HAMLET = "E06000099"
AREAS = 16


class Command:
    """The installed `skyglow`, each call a process (and a session) of its own."""

    program = Path(sysconfig.get_path("scripts")) / "skyglow"

    def __init__(self, folder):
        self.folder = folder

    def start(self, *words, program=(program,), **settings):
        arguments = [str(word) for word in (*program, *words)]
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            text=True,
            **settings,
        )

    def run(self, *words, program=(program,)):
        """Run to the end; returns exit code, standard output, standard error."""
        with self.start(*words, program=program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def kill_at(self, line_begins, *words):
        """Kill -9 the process and all its children once a line of progress begins so; returns the lines until then."""
        lines = []
        with self.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            for line in process.stderr:
                lines.append(line)
                if line.partition(" s  ")[2].startswith(line_begins):
                    os.killpg(process.pid, signal.SIGKILL)
                    break
            lines += process.stderr.readlines()
            assert process.wait(timeout=60) == -signal.SIGKILL, "".join(lines)
        return lines


@pytest.fixture(scope="session")
def skyglow(tmp_path_factory):
    return Command(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="session")
def small_census(tmp_path_factory):
    """Tables of another district: the first areas of Southampton's under another code."""
    folder = tmp_path_factory.mktemp("census")
    with (EXTRACT / "lsoa21-msoa21-lad22.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["MSOA21CD"], row["LSOA21CD"]))[:AREAS]
    codes = {row["LSOA21CD"] for row in rows}
    with (folder / "lsoa21-msoa21-lad22.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "LAD22CD": HAMLET, "LAD22NM": "Hamlet"} for row in rows)
    for table in EXTRACT.glob("ts*.csv"):
        header, *lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if codes & set(line.split(","))]
        (folder / table.name).write_text(header + "".join(kept), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def short_study(tmp_path_factory):
    """The built-in study with few rounds of training."""
    path = tmp_path_factory.mktemp("study") / "hamlet.toml"
    text = (STUDIES / "southampton.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("rounds = 40", "rounds = 4").replace('name = "southampton"', 'name = "hamlet"'))
    return path


@pytest.fixture(scope="session")
def hamlet(small_census, short_study):
    """What stands after `skyglow simulate` for a run of seconds; change words by name."""

    def words(out, **changes):
        options = {"area": HAMLET, "census": small_census, "scale": 0.06, "panel": 0.5, "seed": 3, "workers": 1}
        named = [part for name, value in (options | changes).items() for part in (f"--{name}", str(value))]
        return ["simulate", str(short_study), *named, "--out", str(out)]

    return words


@pytest.fixture(scope="session")
def unbroken(skyglow, hamlet, tmp_path_factory):
    """A hamlet's run that nobody disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    done = skyglow.run(*hamlet(out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def approve(short_study, small_census):
    """Does of a hamlet's run what comes before its first round, and no more."""

    class EnoughError(Exception):
        pass

    def stop(phase, done, total):
        if phase == "training":
            raise EnoughError

    def approve(out, trust=""):
        hamlet = {"study": str(short_study), "district": HAMLET, "census": str(small_census), "scale": 0.06}
        parameters = runs.Parameters(**hamlet, panel_fraction=0.5, seed=3, workers=1, trust=trust)
        experiment = experiments.begin(runs.start(out, parameters), parameters, stop)
        experiment.prepare()
        experiment.approve()
        with pytest.raises(EnoughError):
            experiment.run_study()
        return out

    return approve


@pytest.fixture(scope="session")
def approved(approve, tmp_path_factory):
    """A hamlet's run whose study is approved and of which no round has begun; copy it before use."""
    return approve(tmp_path_factory.mktemp("approved") / "run")


@pytest.fixture
def waiting(approved, tmp_path):
    """A copy of a run whose rounds are about to begin."""
    return Path(shutil.copytree(approved, tmp_path / "run"))


@pytest.fixture(scope="session")
def accounts():
    """Reads every supplier's ledger of a run: its charges and seals, in order, and nothing else."""

    def read(run):
        return {name: _charges(run / "suppliers" / name / "ledger.sqlite") for name in NAMES}

    return read


def _charges(path):
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT kind, body FROM entries WHERE kind IN ('charge', 'seal') ORDER BY seq"
        return [(kind, json.loads(body)) for kind, body in connection.execute(query)]


@pytest.fixture(scope="session")
def tables():
    """Digests of all that a run says about areas."""
    return lambda run: hashlib.sha256((run / "estimates.csv").read_bytes()).hexdigest()
