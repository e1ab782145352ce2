# SPDX-License-Identifier: Apache-2.0
"""``skyglow simulate``: a whole study on simulated homes, on this machine."""

import argparse
import logging
from pathlib import Path

from rich.console import Console

from skyglow_shared.errors import RunError
from skyglow_simulations import outputs, progress, run
from skyglow_simulations.experiment import begin
from skyglow_simulations.population import command as population
from skyglow_simulations.report.terminal import print_summary
from skyglow_simulations.run import Folder, Parameters


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the ``simulate`` command."""
    simulate = commands.add_parser(
        "simulate",
        help="run a whole study on simulated homes, on this machine",
        description="Run a whole study on simulated homes: suppliers, training, release, estimates, report.",
    )
    new = Parameters()
    simulate.add_argument(
        "study",
        nargs="?",
        default=new.study,
        help="TOML file or built-in study: southampton (the default), southampton-households, "
        "southampton-electricity, southampton-presence, southampton-small-panel (for --panel 0.01)",
    )
    simulate.add_argument("--area", default=new.district, metavar="CODE", help="district, e.g. E06000045 (Southampton)")
    simulate.add_argument("--census", type=Path, metavar="DIR", help="folder with the full census tables")
    simulate.add_argument("--scale", type=float, default=new.scale, help="share of the homes, e.g. 0.1 (default: all)")
    simulate.add_argument("--seed", type=int, default=new.seed)
    simulate.add_argument(
        "--panel", type=float, default=new.panel_fraction, help="share of homes surveyed (default: 0.05)"
    )
    simulate.add_argument(
        "--trust", choices=("local", "aggregate"), default=new.trust, help="trust mode in place of the study's own"
    )
    simulate.add_argument("--engine", choices=("in-process", "flower"), default=new.engine)
    simulate.add_argument("--workers", type=int, default=new.workers, help="processes that prepare data")
    simulate.add_argument("--out", type=Path, metavar="DIR", help="where everything goes (default: out/<study>-<time>)")
    simulate.add_argument("--resume", type=Path, metavar="DIR", help="continue a run that was stopped")
    simulate.add_argument("--quiet", action="store_true", help="say nothing but errors")
    simulate.add_argument(
        "--trial",
        type=Path,
        metavar="FILE",
        help="a trial's real homes (features and answers) in place of simulated ones",
    )
    simulate.add_argument("--mapping", metavar="NAME|FILE", help="what the trial's columns mean (default: cer)")
    simulate.add_argument("--label", help="which label of the mapping to ask for (default: retired)")
    population.add_options(simulate)
    simulate.set_defaults(func=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    if options.study == "population":
        return population.write(options)
    population.refuse_own(options)
    logging.getLogger("skyglow_client").setLevel(logging.ERROR)
    folder, parameters = _folder(options)
    with run.held(folder):
        with progress.shown(quiet=options.quiet) as show:
            experiment = begin(folder, parameters, show)
            show.budget = experiment.budget()
            experiment.prepare()
            experiment.approve()
            outcome = experiment.run_study()
            show("evaluation", 0, 1)
            findings = outputs.find(experiment, outcome)
            outputs.write(experiment, findings)
            show("evaluation", 1, 1)
            show("report", 0, 1)
            outputs.write_report(experiment, findings)
            show("report", 1, 1)
        if not options.quiet:
            print_summary(findings.summary, folder.path, Console())
    return 0


def _folder(options: argparse.Namespace) -> tuple[Folder, Parameters]:
    if options.resume is not None:
        return run.resume(options.resume)
    run.check_shares(scale=options.scale, panel=options.panel)
    if options.seed < 0 or options.workers < 1:
        raise RunError("--seed must be 0 or more and --workers 1 or more")
    study = "trial" if options.trial and options.study == Parameters().study else options.study
    parameters = Parameters(
        study=run.study_name(study),
        district=options.area,
        census=str(options.census.resolve()) if options.census else "",
        scale=options.scale,
        seed=options.seed,
        panel_fraction=options.panel,
        trust=options.trust,
        engine=options.engine,
        workers=options.workers,
        frame=options.frame or "even",
        **_trial(options),
    )
    return run.start(options.out or run.new_path(study), parameters), parameters


def _trial(options: argparse.Namespace) -> dict[str, str]:
    """What of a run's parameters is about a trial."""
    given = {name: getattr(options, name) for name in ("mapping", "label") if getattr(options, name)}
    if options.trial is None:
        if given:
            raise RunError("--mapping and --label are for a trial's homes; add --trial FILE, or leave them out")
        return {}
    if options.engine != "in-process":
        raise RunError("a trial runs in one process; leave --engine out")
    if given.get("mapping", "").endswith(".toml"):
        given["mapping"] = str(Path(given["mapping"]).resolve())
    return {"trial": str(options.trial.resolve()), **given}
