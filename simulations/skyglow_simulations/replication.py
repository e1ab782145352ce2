# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % intervals hold, and how far methods err, over many drawn studies of a district.

``python -m skyglow_simulations.replication``.

Each replicate draws areas, homes, meters, panel and noise anew, trains anew (`replicates`), and is kept in a file of
its own: a run that was stopped goes on where it was. Given several `--start`, replicates take turns: what readers of
presence are off by on a district as a whole is its weather's and season's doing, so that of one period the same error
is drawn again and again. Coverage is judged pooled by level, topic and epsilon, and in thirds of the areas by size,
employment and old share, replicates as clusters, with Holm's correction over all of it.
"""

import argparse
import datetime
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation import PLANNING, Estimate
from skyglow_server.estimation.diagnostics import diagnose
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.estimation.shares import evidence_of
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.study import Block, Study, digest
from skyglow_simulations import coverage_table
from skyglow_simulations.experiment import drafted, trusting
from skyglow_simulations.frontier.levels import factor, mapped, scaled, without_noise
from skyglow_simulations.methods import COMPARED, DAYTIME, OURS, estimated, held, noise_and_clip, truth_of
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.frame import FRAMES
from skyglow_simulations.population.survey import known_of
from skyglow_simulations.processes import each
from skyglow_simulations.replicates import World, carried_out, draw, untrained
from skyglow_simulations.run import Parameters
from skyglow_simulations.stock import Stock, load_or_make

Array = NDArray[np.float64]
_UNBOUNDED = 5.0  # longer than any home's profile or diary


@dataclass(frozen=True, slots=True)
class Setting:
    """What all replicates of a district and period have in common.

    Attributes
    ----------
    studies : tuple of Study
        One an epsilon, then the one without noise, and without bounds on presence, if methods are compared.
    world : World
        Without its stock, which every process reads for itself.
    stock : Path
    compared : bool
    """

    studies: tuple[Study, ...]
    world: World
    stock: Path
    compared: bool


@lru_cache(maxsize=8)
def _stock(path: Path) -> Stock:
    return Stock.read(path)


def replicate(setting: Setting, seed: int) -> dict[str, Array]:
    """Draw one district, carry out every study on it, and hold all estimates against the truth.

    Returns
    -------
    dict of "epsilon|method|topic|level" to ndarray of shape (4, areas)
        By area, sorted by code: share of estimates whose interval holds the truth, mean error, mean squared error, mean
        width; the mean is over the topic's groups. Of the method ``withheld`` the first is whether diagnostics
        withhold the topic; of ``noise and clip`` errors are against the study without noise and bounds, not the truth.
    """
    drawn = draw(setting.world, _stock(setting.stock), setting.studies[0], seed)
    outcomes = carried_out(drawn, setting.studies)
    tried = partial(estimated, drawn, known=known_of(setting.world.gaps), compared=setting.compared)
    found: dict[str, Array] = {}
    curves: dict[str, dict[float, Sequence[Estimate]]] = {OCCUPANCY: {}, DAYTIME: {}}
    for study, outcome in zip(setting.studies, outcomes, strict=True):
        quiet = setting.compared and study is setting.studies[-1]
        level = COMPARED if quiet else study.epsilon
        models = study.answer_models
        evidence = {model.name: evidence_of(study, model, drawn.areas, outcome.sums) for model in models}
        for topic, own in evidence.items():
            withheld = any(not check.passed for check in diagnose(own, topic))
            found[f"{level:g}|withheld{' without noise' * quiet}|{topic}|LAD"] = np.full((4, 1), float(withheld))
        for method, topic, items in tried(study, outcome, evidence, quiet=quiet):
            if topic in curves and method in (OURS, "without noise"):
                curves[topic][0.0 if quiet else level] = items
            for one in LEVELS:
                rows = [item for item in items if item.level == one]
                if rows:
                    found[f"{level:g}|{method}|{topic}|{one}"] = held(rows, truth_of(drawn, topic, one))
    return found | noise_and_clip(curves)


def setting_of(options: argparse.Namespace, folder: Path) -> Setting:
    """The study for a district and period at every epsilon, all phases included."""
    city = Parameters(study=options.study, district=options.area, census=options.census, panel_fraction=options.panel)
    census, study = drafted(city)
    if options.start:
        weeks = msgspec.structs.replace(study.period, start=options.start)
        study = msgspec.structs.replace(study, period=weeks, feature_week=options.start)
    plain = trusting(study, options.trust)
    plain = untrained(plain) if options.lie == "panel" else plain
    studies = [scaled(plain, factor(plain, epsilon), epsilon) for epsilon in options.epsilon]
    if options.methods:
        studies.append(mapped(without_noise(plain), _unbounded))
    place = folder / f"stock{f'-{options.start}' if options.start else ''}-{options.area}.npz"
    people = options.start.toordinal() if options.start else 1  # other homes in every period
    load_or_make(place, census, study, seed=people, workers=options.workers)
    world = World(census, FRAMES[options.frame], options.panel, options.scale, options.lie)
    return Setting(tuple(studies), world, place, options.methods)


def _unbounded(block: Block) -> Block:
    if block.source not in ("area_profile", "diary_profile"):
        return block
    return msgspec.structs.replace(block, l2_bound=_UNBOUNDED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of the replicates and print the tables; 0 if coverage is within the goal everywhere.

    Of several districts the tables of each are printed, and judged is that of all of them together.
    """
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * options.minutes
    own, whole = [_of(options, area=area) for area in options.area], _of(options, area="-".join(options.area))
    places, drawn = zip(*(_drawn(one, until) for one in own), strict=True)
    holds = False
    for name, found, of in zip(map(_name, own), drawn, places, strict=True):
        holds = _told(options, name, found, [of])
    if len(own) > 1:
        holds = _told(options, _name(whole), coverage_table.together(drawn), places)
    return 0 if holds else 1


def _of(options: argparse.Namespace, **one: object) -> argparse.Namespace:
    """The same for one area, or one period."""
    return argparse.Namespace(**vars(options) | one)


def _drawn(options: argparse.Namespace, until: float) -> tuple[Census, list[dict[str, Array]]]:
    """All replicates of a district that there is time for."""
    settings = [setting_of(_of(options, start=start), options.out) for start in options.start]
    folder = options.out / _name(options)
    folder.mkdir(exist_ok=True)
    _keep(folder / "plan.json", _plan(options, settings))
    seeds = range(options.seed, options.seed + options.replicates)
    missing = [seed for seed in seeds if not (folder / f"{seed}.npz").exists()]
    for _ in each(partial(_kept, settings, folder), missing, options.workers):
        if time.monotonic() > until:
            break  # what has not begun is cancelled
    done = (folder / f"{seed}.npz" for seed in seeds)
    return settings[0].world.census, [_read(path) for path in done if path.exists()]


def _told(options: argparse.Namespace, name: str, found: Sequence[dict[str, Array]], places: Sequence[Census]) -> bool:
    """Print and keep the tables; whether all that was asked for is there and within the goal."""
    lines, holds = coverage_table.tables(found, places, ours=OURS)
    text = f"{name}: {len(found)} of {options.replicates} replicates\n\n" + "\n".join(lines) + "\n"
    sys.stdout.write(text)
    write_atomically(options.out / f"{name}.txt", text.encode())
    return holds and len(found) == options.replicates


_DECIDE = ("study", "area", "trust", "panel", "frame", "lie", "scale", "start", "epsilon", "methods")


def _name(options: argparse.Namespace) -> str:
    lie, scale = options.lie and f"lie-{options.lie}", "" if options.scale == 1 else f"scale{options.scale:g}"
    study = "" if options.study == Parameters().study else Path(options.study).stem
    weeks = options.start[0] if len(options.start) == 1 else f"{len(options.start)}periods"
    words = (options.area, study, weeks, options.trust, f"panel{options.panel:g}", options.frame, lie, scale)
    return "-".join(str(word) for word in words if word)


def _plan(options: argparse.Namespace, settings: Sequence[Setting]) -> dict[str, str]:
    """All that replicates in one folder must have in common: a later version's studies may be others."""
    chosen = {name: str(value) for name, value in vars(options).items() if name in _DECIDE}
    planning = hashlib.sha256(msgspec.json.encode(PLANNING)).hexdigest()
    studies = " ".join(digest(study) for setting in settings for study in setting.studies)
    return chosen | {"studies": studies, "planning": planning}


def _keep(path: Path, plan: dict[str, str]) -> None:
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != plan:
        raise RunError(f"{path.parent} holds replicates of another plan; choose another --out")
    write_atomically(path, json.dumps(plan, indent=1).encode())


def _kept(settings: Sequence[Setting], folder: Path, seed: int) -> None:
    temporary = folder / f".{seed}.npz"
    np.savez(temporary, **replicate(settings[seed % len(settings)], seed))  # type: ignore[arg-type]
    temporary.replace(folder / f"{seed}.npz")


def _read(path: Path) -> dict[str, Array]:
    with np.load(path) as kept:
        return dict(kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skyglow_simulations.replication", description=__doc__)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--study", default=Parameters().study, help="TOML file or built-in study of shares and curves")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--trust", choices=("local", "aggregate"), default="aggregate")
    parser.add_argument("--panel", type=float, default=0.05, help="share of homes surveyed")
    parser.add_argument("--scale", type=float, default=1.0, help="share of every area's households")
    parser.add_argument("--area", nargs="+", default=["E06000045"], help="districts; of several all together too")
    parser.add_argument("--census", default="", help="folder with the full census tables, for other districts")
    weeks = "first Mondays of the study's weeks, in place of the built-in ones; replicates take turns"
    parser.add_argument("--start", nargs="+", type=datetime.date.fromisoformat, default=[None], help=weeks)
    parser.add_argument("--frame", choices=tuple(FRAMES), default="even")
    lies = "scores that say nothing, or a panel whose answers are other homes'"
    parser.add_argument("--lie", choices=("", "scores", "panel"), default="", help=lies)
    parser.add_argument("--methods", action="store_true", help="also estimate by every other method, at epsilon 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long; the next run goes on")
    parser.add_argument("--out", type=Path, default=Path("out/coverage"), help="where stock, replicates, tables lie")
    return parser


if __name__ == "__main__":
    sys.exit(main())
