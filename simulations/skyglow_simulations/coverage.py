# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % intervals contain the truth, over many studies of one simulated city.

Each replicate draws a new panel, with new diaries and new halves, trains anew, scores every home anew and adds new
noise; readings stay as they are. With ``--drawn`` there follow so many studies whose homes are drawn anew too, at every
epsilon (`replication`). ``python -m skyglow_simulations.coverage``.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from skyglow_server.estimation import Estimate
from skyglow_shared.files import write_atomically
from skyglow_simulations import evaluation, progress, replication
from skyglow_simulations.experiment import begin
from skyglow_simulations.population.generate import redraw_panel
from skyglow_simulations.report.summary import Truth, topic_figures
from skyglow_simulations.run import Folder, Parameters
from skyglow_simulations.suppliers import NAMES

_GOAL = (0.90, 0.99)
_JUDGED = (("all_aged_66_plus", "LSOA"), ("all_aged_66_plus", "MSOA"), ("occupancy", "MSOA"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the replicates, print coverage by topic and level; 0 if every judged one is within the goal."""
    options = _parser().parse_args(arguments)
    logging.getLogger("skyglow_client").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(options.out or scratch)
        replicates = list(_replicates(options, Folder(path)))
    rows = _pooled([topic_figures(estimates, truth) for estimates, truth in replicates])
    sys.stdout.write(
        f"{'topic':<20}{'level':<7}{'coverage':>9}{'rmse':>8}{'width':>8}   {len(replicates)} replicates\n"
    )
    for row in rows:
        numbers = f"{row['coverage']:>9.3f}{100 * row['rmse']:>8.2f}{100 * row['interval_width']:>8.2f}"
        sys.stdout.write(f"{row['topic']:<20}{row['level']:<7}{numbers}\n")
    judged = [row for row in rows if (row["topic"], row["level"]) in _JUDGED]
    holds = bool(judged) and all(_GOAL[0] <= row["coverage"] <= _GOAL[1] for row in judged)
    sys.stdout.write(f"coverage within {_GOAL[0]:.2f}–{_GOAL[1]:.2f} where it is judged: {'yes' if holds else 'NO'}\n")
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1).encode())
    drawn = replication.main(_drawn(options)) if options.drawn else 0
    return 0 if holds and drawn == 0 else 1


def _drawn(options: argparse.Namespace) -> list[str]:
    """What `replication` is asked for the same district."""
    census = ["--census", options.census] if options.census else []
    trust = ["--trust", options.trust] if options.trust else []
    place = ["--out", str((options.out or Path("out")) / "replicates")]
    asked = ["--replicates", str(options.drawn), "--area", options.area, "--seed", str(options.seed)]
    return [*asked, *census, *trust, *place]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skyglow_simulations.coverage", description=__doc__)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--area", default="E06000045")
    parser.add_argument("--census", default="")
    parser.add_argument("--study", default="southampton")
    parser.add_argument("--trust", choices=("local", "aggregate"), default="", help="in place of the study's own")
    parser.add_argument("--drawn", type=int, default=0, metavar="N", help="also so many studies of homes drawn anew")
    parser.add_argument("--out", type=Path, help="keep the city here, to use it again")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def _replicates(options: argparse.Namespace, folder: Folder) -> Iterator[tuple[tuple[Estimate, ...], Truth]]:
    """One (estimates, truth) a replicate."""
    city = Parameters(
        study=options.study,
        district=options.area,
        census=options.census,
        scale=options.scale,
        seed=options.seed,
        trust=options.trust,
    )
    folder.path.mkdir(parents=True, exist_ok=True)
    with progress.shown() as show:
        begin(folder, city, show).prepare()
        for number in range(options.replicates):
            show("replicates", number, options.replicates)
            parameters = msgspec.structs.replace(city, seed=options.seed + 1000 * (number + 1))
            yield _one(folder, city, parameters)
        show("replicates", options.replicates, options.replicates)


def _one(folder: Folder, city: Parameters, parameters: Parameters) -> tuple[tuple[Estimate, ...], Truth]:
    """One study of the city with another panel, other keys and other noise."""
    experiment = begin(folder, parameters, lambda phase, done, total: None)
    redraw_panel(
        folder.path, seed=parameters.seed, period=experiment.study.period, panel_fraction=parameters.panel_fraction
    )
    for name in NAMES:
        for file in folder.supplier(name).glob("ledger.sqlite*"):
            file.unlink()
    shutil.rmtree(folder.office, ignore_errors=True)
    experiment.introduce(pseudonym_seed=city.seed)
    experiment.approve()
    return experiment.estimate(experiment.run_study()), evaluation.truth(folder, experiment.study)


def _pooled(figures: Sequence[dict[str, dict[str, dict[str, float]]]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for topic, levels in figures[0].items():
        for level in levels:
            each = [replicate[topic][level] for replicate in figures]
            mean = {
                name: float(np.mean([one[name] for one in each])) for name in ("coverage", "interval_width", "bias")
            }
            rmse = float(np.sqrt(np.mean([one["rmse"] ** 2 for one in each])))
            rows.append({"topic": topic, "level": level, **mean, "rmse": rmse})
    return rows


if __name__ == "__main__":
    sys.exit(main())
