# SPDX-License-Identifier: Apache-2.0
"""What it saves that topics share blocks: errors of shared and of separate blocks at the same epsilon.

One simulated city; the built-in study of five topics as it is, and with a block for each topic in place of every shared
one. Of n blocks for one, each has √n times the noise, so that both studies cost the same, and a gradient's bound of its
own. Also the shared study with more noise on those blocks, to see at which epsilon it comes to the errors of the other.
Every study is run several times, with noise and halves of the panel of its own.
"""

import logging
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_server.estimation import estimate, load_areas
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Block, Study
from skyglow_simulations import evaluation
from skyglow_simulations.evaluation import HeldHomes
from skyglow_simulations.experiment import Experiment, begin, opened
from skyglow_simulations.frontier.levels import mapped
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.report.summary import topic_figures
from skyglow_simulations.run import Folder, Parameters

STUDY = "southampton-households"
#: Bounds of a block that is about one model.
ALONE = {"gradient": 1.0, "area_label": math.sqrt(1.25)}
LEVEL = "MSOA"


def separate(study: Study) -> Study:
    """The study with a block for each topic, at the same cost."""

    def split(block: Block) -> tuple[Block, ...]:
        count = len(block.models)
        return tuple(
            msgspec.structs.replace(
                block,
                name=f"{block.name}_{name}",
                model=name,
                beside=(),
                l2_bound=ALONE.get(block.source, block.l2_bound),
                noise_multiplier=block.noise_multiplier * math.sqrt(count),
            )
            for name in block.models
        )

    phases = (
        msgspec.structs.replace(
            phase, blocks=tuple(one for block in phase.blocks for one in (split(block) if block.beside else (block,)))
        )
        for phase in study.phases
    )
    return msgspec.structs.replace(study, phases=tuple(phases))


def noisier(study: Study, factor: float) -> Study:
    """The study with more noise on what topics share; presence stays as it is."""

    def one(block: Block) -> Block:
        multiplier = block.noise_multiplier * (factor if block.beside else 1.0)
        return msgspec.structs.replace(block, noise_multiplier=multiplier)

    return mapped(study, one)


def epsilon(study: Study) -> float:
    """What a study costs."""
    return study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper


def judged(city: Experiment, held: list[HeldHomes], study: Study, runs: int) -> tuple[float, float]:
    """Error and width of intervals of MSOAs, percentage points, mean over topics and runs."""
    areas = load_areas(city.folder.reference / "areas.csv", study)
    errors, widths = [], []
    for seed in range(runs):
        one = msgspec.structs.replace(study, title=f"{study.title}, run {seed}")
        parties = [
            Party(entry.name, part.homes, SeededRandomness(seed, entry.name))
            for entry, part in zip(one.suppliers, held, strict=True)
        ]
        (outcome,) = rehearse([one], parties)
        figures = topic_figures(estimate(one, areas, outcome.sums), evaluation.truth(city.folder, one))
        for model in one.models:
            errors.append(100 * figures[model.name][LEVEL]["rmse"])
            widths.append(100 * figures[model.name][LEVEL]["interval_width"])
    return float(np.mean(errors)), float(np.mean(widths))


def measure(quick: bool) -> Iterator[Result]:
    """Make the city, run the studies on it, compare."""
    logging.getLogger("skyglow_client").setLevel(logging.ERROR)
    runs, scale, panel = (2, 0.1, 0.3) if quick else (6, 1.0, 0.05)
    with tempfile.TemporaryDirectory(prefix="skyglow-topics-") as scratch:
        parameters = Parameters(study=STUDY, scale=scale, panel_fraction=panel, seed=11, workers=1)
        city = begin(Folder(Path(scratch)), parameters, _silent)
        city.prepare()
        with opened(city.folder, parameters) as suppliers:
            held = evaluation.held_homes(city.folder, city.study, suppliers)
        apart = separate(city.study)
        error, width = judged(city, held, apart, runs)
        for factor in (1.0, 1.2, 1.5):
            study = noisier(city.study, factor)
            ours, narrow = judged(city, held, study, runs)
            at = f"ε {epsilon(study):.2f} shared, {epsilon(apart):.2f} apart"
            yield Result(f"error of MSOAs, {at}", ours, "points", "less than apart", error / ours)
            yield Result(f"width of their intervals, {at}", narrow, "points", "less than apart", width / narrow)


def _silent(phase: str, done: int, total: int) -> None:
    del phase, done, total


if __name__ == "__main__":
    run(__doc__ or "", measure)
