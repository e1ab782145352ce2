# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % intervals hold, and how far methods err, over many drawn studies.

``python -m skyglow_simulations.replication``.

Each replicate redraws homes, scores, drift, panel and noise (`replicates`). Coverage is judged pooled by level, and in
thirds of the areas by size and by employment, with replicates as clusters and Holm's correction over all strata.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from skyglow_server.estimation import PLANNING, AreaTable, Estimate
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.results import Level
from skyglow_server.estimation.shares import census_estimates, evidence_of, share_estimates
from skyglow_shared.files import write_atomically
from skyglow_shared.study import Study
from skyglow_simulations.experiment import begin, trusting
from skyglow_simulations.frontier.levels import factor, scaled
from skyglow_simulations.population.census import Census
from skyglow_simulations.replicates import World, area_table, draw, noised, positives, shares_alone
from skyglow_simulations.run import Folder, Parameters

Array = NDArray[np.float64]

#: Methods of the table of errors, ours first.
OURS = "meters and panel"
GOAL = (0.935, 0.965)
_FALSE_ALARM = 0.05


@dataclass(frozen=True, slots=True)
class Setting:
    """What all replicates of a run have in common: one district at one epsilon."""

    study: Study
    areas: AreaTable
    employed: Array
    world: World
    compared: bool


@dataclass(frozen=True, slots=True)
class Replicate:
    """Errors of every method by level, and which of our intervals hold the truth, areas sorted by code."""

    errors: Mapping[tuple[str, Level], Array]
    held: Mapping[Level, NDArray[np.bool_]]
    width: Mapping[Level, float]


def replicate(setting: Setting, seed: int) -> Replicate:
    """Draw one study and estimate it by every method."""
    rng = np.random.default_rng(seed)
    areas, study, model = setting.areas, setting.study, setting.study.models[0]
    drawn = draw(setting.world, areas, positives(study), rng)
    evidence = evidence_of(study, model, areas, noised(drawn, study, rng))
    ours = share_estimates(evidence, model.name, PLANNING)
    found: dict[str, Sequence[Estimate]] = {OURS: ours}
    if setting.compared:
        quiet = evidence_of(study, model, areas, noised(drawn, study, rng, noise=0.0))
        found |= {
            "meters alone": share_estimates(evidence, model.name, PLANNING, panel=False),
            "panel alone": share_estimates(evidence, model.name, PLANNING, meters=False),
            "old census": census_estimates(evidence, model.name),
            "without noise": share_estimates(quiet, model.name, PLANNING),
        }
    true = {level: _means(areas, level, drawn.truth) for level in LEVELS}
    errors = {
        (name, level): np.array([item.unclipped or 0.0 for item in items if item.level == level]) - true[level]
        for name, items in found.items()
        for level in LEVELS
    }
    if setting.compared:
        counted = {"classify and count": drawn.called, "adjusted count": drawn.adjusted}
        errors |= {(n, level): _means(areas, level, v) - true[level] for n, v in counted.items() for level in LEVELS}
    ends = {level: np.array([(i.lower, i.upper) for i in ours if i.level == level], dtype=float) for level in LEVELS}
    held = {level: (ends[level][:, 0] <= true[level]) & (true[level] <= ends[level][:, 1]) for level in LEVELS}
    return Replicate(errors, held, {level: float(np.ptp(ends[level], axis=1).mean()) for level in LEVELS})


def _means(areas: AreaTable, level: Level, values: Array) -> Array:
    return areas.totals(level, values * areas.households) / areas.totals(level, areas.households)


def pooled(replicates: Sequence[Replicate], level: Level) -> dict[str, float]:
    """Coverage, its standard error over replicates, bias, mean width and root mean square error of ours."""
    held = np.array([one.held[level].mean() for one in replicates])
    errors = np.array([one.errors[OURS, level] for one in replicates])
    runs = np.sqrt(len(replicates))
    return {
        "coverage": float(held.mean()),
        "coverage_error": float(held.std(ddof=1) / runs) if len(held) > 1 else float("nan"),
        "bias": float(errors.mean()),
        "bias_error": float(errors.mean(axis=1).std(ddof=1) / runs) if len(held) > 1 else float("nan"),
        "width": float(np.mean([one.width[level] for one in replicates])),
        "rmse": float(np.sqrt((errors**2).mean())),
    }


def strata(setting: Setting) -> Iterator[tuple[str, Level, NDArray[np.bool_]]]:
    """(name, level, areas): thirds by households and by the share in employment, of LSOAs and MSOAs."""
    for level in LEVELS[:2]:
        size = setting.areas.totals(level, setting.areas.households)
        for name, value in (("size", size), ("employment", _means(setting.areas, level, setting.employed))):
            third = np.argsort(np.argsort(value)) * 3 // value.size
            for number, word in enumerate(("lowest", "middle", "highest")):
                if (third == number).any():
                    yield f"{word} {name}", level, third == number


def rejected(replicates: Sequence[Replicate], setting: Setting) -> list[tuple[str, Level, float, float]]:
    """Strata (name, level, coverage, p) whose coverage is not 95 %: t-test over replicates, Holm-corrected."""
    tested = []
    for name, level, chosen in strata(setting):
        held = np.array([one.held[level][chosen].mean() for one in replicates])
        spread = max(float(held.std(ddof=1)) / np.sqrt(held.size), 1e-12)
        p = 2 * float(student.sf(abs(held.mean() - 0.95) / spread, held.size - 1))
        tested.append((name, level, float(held.mean()), p))
    tested.sort(key=lambda row: row[3])
    found = []
    for place, row in enumerate(tested):
        if row[3] > _FALSE_ALARM / (len(tested) - place):
            break
        found.append(row)
    return found


def setting_of(census: Census, study: Study, options: argparse.Namespace, epsilon: float) -> Setting:
    """The built-in study for a district at one epsilon, all phases included."""
    trusted = trusting(study, options.trust)
    priced = shares_alone(scaled(trusted, factor(trusted, epsilon), epsilon))
    world = World(panel=options.panel, permuted=options.permuted)
    return Setting(priced, area_table(census), census.employed, world, options.methods)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run replicates at every epsilon; 0 if pooled coverage is within the goal and no stratum is rejected."""
    options = _parser().parse_args(arguments)
    city = Parameters(district=options.area, census=options.census, panel_fraction=options.panel)
    experiment = begin(Folder(Path(options.area)), city, lambda phase, done, total: None)
    holds, rows = True, []
    for epsilon in options.epsilon:
        setting = setting_of(experiment.census, experiment.study, options, epsilon)
        with ProcessPoolExecutor(options.workers) as pool:
            found = list(pool.map(partial(replicate, setting), range(options.seed, options.seed + options.replicates)))
        sys.stdout.write(f"epsilon {epsilon:g}, {options.trust}, panel {options.panel:.0%}, {len(found)} replicates\n")
        for level in LEVELS:
            figures = pooled(found, level)
            rows.append({"epsilon": epsilon, "level": level, **figures})
            holds &= GOAL[0] <= figures["coverage"] <= GOAL[1]
            sys.stdout.write(_line(level, figures))
        for name, level, coverage, p in rejected(found, setting) if len(found) > 2 else ():
            holds = False
            sys.stdout.write(f"  rejected: {level} {name}, coverage {coverage:.3f}, p {p:.1e}\n")
        for name in dict.fromkeys(name for name, _ in found[0].errors):
            errors = [100 * float(np.sqrt(np.mean([one.errors[name, lv] ** 2 for one in found]))) for lv in LEVELS]
            rows.append({"epsilon": epsilon, "method": name, **dict(zip(LEVELS, errors, strict=True))})
            sys.stdout.write(f"  {name:<20}" + "".join(f"{error:>8.2f}" for error in errors) + "\n")
        sys.stdout.flush()
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1).encode())
    return 0 if holds else 1


def _line(level: str, figures: Mapping[str, float]) -> str:
    coverage = f"{figures['coverage']:.3f} ± {figures['coverage_error']:.3f}"
    bias = f"{100 * figures['bias']:+.2f} ± {100 * figures['bias_error']:.2f}"
    return f"  {level:<5} coverage {coverage}, bias {bias}, width {100 * figures['width']:.1f} points\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skyglow_simulations.replication", description=__doc__)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--trust", choices=("local", "aggregate"), default="aggregate")
    parser.add_argument("--panel", type=float, default=0.05, help="share of homes surveyed")
    parser.add_argument("--area", default="E06000045")
    parser.add_argument("--census", default="", help="folder with the full census tables, for other districts")
    parser.add_argument(
        "--permuted", action="store_true", help="scores that say nothing: trained on other homes' labels"
    )
    parser.add_argument("--methods", action="store_true", help="also estimate by every other method")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
