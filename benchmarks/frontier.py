# SPDX-License-Identifier: Apache-2.0
"""A sweep over epsilon beside the same studies run one by one, each a `skyglow simulate` of its own.

Both are processes of their own, turn by turn; time is processor time of the process and its children, so that a busy
machine slows both alike. One study of each trust mode stands for all levels of epsilon, which cost a run the same.
Beside the time: the estimates of a run and of its rehearsal, which must be the same.
"""

import csv
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_server.estimation import estimate, load_areas
from skyglow_simulations import experiment
from skyglow_simulations.experiment import opened
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import resume

EPSILONS = ("0.25", "0.5", "1", "2", "4", "8")
MODES = ("local", "aggregate")
SCALE = ("--scale", "0.1")
CELLS = len(EPSILONS) * len(MODES)
GOAL = 10.0
SAME = 1e-5  # of a share: how finely a run writes its estimates


def skyglow(*words: str) -> float:
    """Run the command and return the processor seconds that it and its processes took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(Path(sys.executable).with_name("skyglow")), *words, "--quiet", "--workers", "1"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def turn(seed: int, seeds: int, scratch: Path) -> Iterator[float]:
    """Processor seconds that every study of `seeds` cities takes: one by one, and in the sweep."""
    alone = [
        skyglow("simulate", *SCALE, "--seed", str(seed), "--trust", mode, "--out", str(scratch / f"{seed}-{mode}"))
        for mode in MODES
    ]
    yield sum(alone) / len(MODES)
    words = (
        "--seed",
        str(seed),
        "--seeds",
        str(seeds),
        "--epsilon",
        *EPSILONS,
        "--out",
        str(scratch / f"sweep-{seed}"),
    )
    yield skyglow("frontier", *SCALE, *words) / (CELLS * seeds)


def largest_difference(path: Path) -> float:
    """By how much a run's estimates and its rehearsal's differ at most."""
    folder, parameters = resume(path)
    one = experiment.begin(folder, parameters, lambda phase, done, total: None)
    with opened(folder, parameters) as held:
        parties = [
            Party(name, supplier.homes(one.study), SeededRandomness(parameters.seed, name))
            for name, supplier in held.items()
        ]
    [outcome] = rehearse([one.study], parties)
    areas = load_areas(folder.reference / "areas.csv", one.study)
    mine = {
        (item.area_code, item.topic, item.group): item.estimate
        for item in estimate(one.study, areas, outcome.sums)
        if item.estimate is not None
    }
    with (path / "estimates.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["estimate"]]
    return max(abs(mine[row["area_code"], row["topic"], row["group"]] - float(row["estimate"])) for row in rows)


def measure(quick: bool) -> Sequence[Result]:
    """Processor seconds a study, one by one over in the sweep."""
    repeats, seeds = (1, 4) if quick else (3, 10)
    with tempfile.TemporaryDirectory() as scratch:
        turns = [tuple(turn(100 + number, seeds, Path(scratch))) for number in range(repeats)]
        difference = max(largest_difference(Path(scratch) / f"100-{mode}") for mode in MODES)
    ratio = median(alone / together for alone, together in turns)
    together = median(together for _, together in turns)
    return [
        Result("a study in a sweep", together, "CPU-seconds", "one by one", ratio, GOAL),
        Result(
            "largest difference of an estimate",
            difference,
            "of a share",
            "what is allowed",
            SAME / max(difference, 1e-12),
            1.0,
        ),
    ]


if __name__ == "__main__":
    run(__doc__ or "", measure)
