# SPDX-License-Identifier: Apache-2.0
"""``skyglow frontier``: how good a study's estimates are at which epsilon, before anybody is asked anything."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skyglow_server.estimation.inputs import LEVELS
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_simulations import progress, run
from skyglow_simulations.frontier.plot import render
from skyglow_simulations.frontier.sweep import Plan, resumed, sweep
from skyglow_simulations.frontier.table import Point, points, to_csv
from skyglow_simulations.run import Folder, Parameters
from skyglow_simulations.stacked.device import device_named

_LARGEST_EPSILON = 20.0


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the ``frontier`` command."""
    frontier = commands.add_parser(
        "frontier",
        help="show a study's error against its epsilon, over many simulated cities",
        description=(
            "Run a study on many simulated cities, at several levels of epsilon and in both trust modes, and write a "
            "table and a plot of its error against epsilon. No real data and no budget are touched."
        ),
    )
    new, city = Plan(city=Parameters()), Parameters()
    frontier.add_argument("study", nargs="?", default=city.study, help="built-in study or TOML file")
    frontier.add_argument(
        "--epsilon", type=float, nargs="+", default=list(new.epsilons), metavar="E", help="levels of the whole study"
    )
    frontier.add_argument("--trust", nargs="+", choices=("local", "aggregate"), default=list(new.modes))
    frontier.add_argument("--seeds", type=int, default=new.seeds, help="how many cities (default: 10)")
    frontier.add_argument("--seed", type=int, default=city.seed, help="the first city's seed")
    frontier.add_argument(
        "--area", default=city.district, metavar="CODE", help="district, e.g. E06000045 (Southampton)"
    )
    frontier.add_argument("--census", type=Path, metavar="DIR", help="folder with the full census tables")
    frontier.add_argument("--scale", type=float, default=city.scale, help="share of the homes (default: all)")
    frontier.add_argument(
        "--panel", type=float, default=city.panel_fraction, help="share of homes surveyed (default: 0.05)"
    )
    frontier.add_argument("--quick", action="store_true", help="a tenth of the homes: minutes; same as --scale 0.1")
    frontier.add_argument("--workers", type=int, default=city.workers, help="processes; results do not depend on it")
    frontier.add_argument("--device", default="cpu", metavar="NAME", help="where gradients are computed, e.g. cuda")
    frontier.add_argument("--out", type=Path, metavar="DIR", help="where everything goes")
    frontier.add_argument("--resume", type=Path, metavar="DIR", help="continue a sweep that was stopped")
    frontier.add_argument("--quiet", action="store_true", help="say nothing but errors")
    frontier.set_defaults(func=_frontier)


def _frontier(options: argparse.Namespace) -> int:
    folder, plan = _planned(options)
    device_named(options.device)
    folder.mkdir(parents=True, exist_ok=True)
    with run.held(Folder(folder)), progress.shown(quiet=options.quiet) as show:
        table = points(sweep(folder, plan, show, options.device))
        heading, note = _words(plan)
        write_atomically(folder / "frontier.csv", to_csv(table).encode())
        write_atomically(folder / "frontier.svg", render(table, heading, note).encode())
    if not options.quiet:
        _print(table, plan, folder, Console())
    return 0


def _planned(options: argparse.Namespace) -> tuple[Path, Plan]:
    if options.resume is not None:
        return options.resume, resumed(options.resume)
    _check(options)
    city = Parameters(
        study=run.study_name(options.study),
        district=options.area,
        census=str(options.census.resolve()) if options.census else "",
        scale=0.1 if options.quick else options.scale,
        seed=options.seed,
        panel_fraction=options.panel,
        workers=options.workers,
    )
    epsilons = tuple(sorted(set(options.epsilon)))
    modes = tuple(dict.fromkeys(options.trust))
    folder = options.out or run.new_path(options.study, "frontier-")
    return folder, Plan(city=city, seeds=options.seeds, epsilons=epsilons, modes=modes)


def _check(options: argparse.Namespace) -> None:
    run.check_shares(scale=options.scale, panel=options.panel)
    if not all(0 < epsilon <= _LARGEST_EPSILON for epsilon in options.epsilon):
        raise RunError(f"--epsilon must be above 0 and at most {_LARGEST_EPSILON:g}; 0.5 1 2 4 is a good start")
    if options.seed < 0 or options.workers < 1 or options.seeds < 1:
        raise RunError("--seed must be 0 or more, --seeds and --workers 1 or more")


def _words(plan: Plan) -> tuple[str, str]:
    """Heading and note of the plot."""
    heading = (
        f"Error of the estimates against epsilon: study {Path(plan.city.study).stem}, district {plan.city.district}"
    )
    homes = "all homes" if plan.city.scale == 1 else f"{100 * plan.city.scale:g} % of the homes"
    note = (
        f"{plan.seeds} simulated cities with {homes}; epsilon of the whole study per supplier, at its delta. "
        "Lines: over all cities (errors: root mean square, AUC: mean); bands: 10th to 90th percentile of cities."
    )
    return heading, note


def _print(table: Sequence[Point], plan: Plan, folder: Path, console: Console) -> None:
    topics = dict.fromkeys(point.topic for point in table if point.measure == "rmse")
    for topic in topics:
        shown = Table(title=f"{topic}: RMSE, percentage points", title_justify="left", title_style="bold")
        shown.add_column("")
        for level in LEVELS:
            shown.add_column(level, justify="right")
        found = {(p.series, p.epsilon, p.level): p.value for p in table if (p.measure, p.topic) == ("rmse", topic)}
        for series, epsilon in dict.fromkeys((series, epsilon) for series, epsilon, _ in found):
            name = f"{series}, epsilon {epsilon:g}" if epsilon is not None else series
            values = (found.get((series, epsilon, level)) for level in LEVELS)
            shown.add_row(name, *("" if value is None else f"{100 * value:.2f}" for value in values))
        console.print(shown)
    console.print(f"{plan.seeds} cities. Table: {folder / 'frontier.csv'}  plot: {folder / 'frontier.svg'}")
