# SPDX-License-Identifier: Apache-2.0
"""The sweep: every seed is a city of its own, in which the study runs at every level and in every trust mode.

A seed's results are kept in one file as soon as they are known; a sweep that was stopped goes on with the seeds that
lack one. The cities themselves are thrown away.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from skyglow_client.learning.homes import calibrates
from skyglow_server.coordinator import Outcome
from skyglow_server.estimation import census, estimate, load_areas
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.models.logistic import first_weights
from skyglow_shared.study import Study, digest
from skyglow_shared.vocabulary import TrustMode
from skyglow_simulations import evaluation
from skyglow_simulations.evaluation import HeldHomes
from skyglow_simulations.experiment import Experiment, Progress, begin, drafted, opened, trusting
from skyglow_simulations.frontier.levels import factor, scaled, without_noise
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.processes import each
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.report.summary import topic_figures
from skyglow_simulations.run import Folder, Parameters

Series = Literal["local", "aggregate", "without noise", "old census"]
Epsilon = Annotated[float, msgspec.Meta(gt=0, le=20)]


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a sweep depends on.

    Attributes
    ----------
    city : Parameters
        Of every city but its seed; seeds count up from the city's own.
    seeds : int
        Cities.
    epsilons : tuple of float
        Levels of the whole study's epsilon, rising.
    modes : tuple of str
        Trust modes.
    """

    city: Parameters
    seeds: Annotated[int, msgspec.Meta(ge=1)] = 10
    epsilons: tuple[Epsilon, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    modes: tuple[TrustMode, ...] = ("local", "aggregate")


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one study of one city came to.

    Attributes
    ----------
    seed : int
    series : str
        Trust mode, ``without noise`` or ``old census``.
    epsilon : float or None
        None where there is no level.
    study : str
        The study's digest.
    models : dict
        By model, see `evaluation.model_figures`, and ``auc_start``: of what training begins from, where the study has
        such a start; empty for the old census.
    figures : dict
        ``[topic][level]``, see `report.summary.topic_figures`.
    """

    seed: int
    series: Series
    epsilon: float | None
    study: str
    models: dict[str, dict[str, float]]
    figures: dict[str, dict[str, dict[str, float]]]


def sweep(folder: Path, plan: Plan, progress: Progress, device: str = "cpu") -> list[Cell]:
    """Carry out what is missing of a sweep, and give all its cells.

    Parameters
    ----------
    folder : Path
        Where results are kept; the plan's own, or new.
    plan : Plan
    progress : callable
        Told (phase, seeds done, seeds in all).
    device : str
        Where `rehearse` takes its products; no part of the plan, for results do not depend on it.

    Raises
    ------
    RunError
        The folder holds a sweep of another plan.
    StudyError
        The study cannot be had at one of the levels.
    """
    _keep(folder, plan)
    missing = [seed for seed in _seeds(plan) if not _place(folder, seed).exists()]
    done = plan.seeds - len(missing)
    progress("cities", done, plan.seeds)
    factors = _factors(plan, progress) if missing else {}
    for _ in each(partial(_city, folder, plan, factors, device), missing, plan.city.workers):
        done += 1
        progress("cities", done, plan.seeds)
    return [cell for seed in _seeds(plan) for cell in read(_place(folder, seed))]


def read(path: Path) -> list[Cell]:
    """The cells of one seed's file; RunError if it is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Cell])
    except msgspec.MsgspecError as error:
        raise RunError(f"{path} cannot be read ({error}); delete it, and that seed is run again") from None


def resumed(folder: Path) -> Plan:
    """The plan of a sweep that was begun before; RunError if there is none."""
    try:
        return msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    except OSError:
        raise RunError(f"{folder} holds no sweep; start one with `skyglow frontier --out {folder}`") from None
    except msgspec.MsgspecError as error:
        raise RunError(f"{folder}/plan.json cannot be read ({error}); start a new sweep") from None


def run_city(
    experiment: Experiment, factors: Mapping[float, float], modes: Sequence[TrustMode], device: str = "cpu"
) -> list[Cell]:
    """Run the study at every level and in every trust mode on the prepared city of an experiment.

    Parameters
    ----------
    experiment : Experiment
    factors : mapping of epsilon to float
        By what its noise is multiplied, see `levels.factor`.
    modes : sequence of str
    device : str
        See `rehearse`.
    """
    plain = experiment.study
    named: list[tuple[Series, float | None, Study]] = [
        (mode, epsilon, trusting(scaled(plain, value, epsilon), mode))
        for mode in modes
        for epsilon, value in factors.items()
    ]
    named.append(("without noise", None, trusting(without_noise(plain), "local")))
    with opened(experiment.folder, experiment.parameters) as suppliers:
        held = evaluation.held_homes(experiment.folder, plain, suppliers)
    parties = [
        Party(entry.name, part.homes, SeededRandomness(experiment.parameters.seed, entry.name))
        for entry, part in zip(plain.suppliers, held, strict=True)
    ]
    outcomes = rehearse([study for _, _, study in named], parties, device)
    areas = load_areas(experiment.folder.reference / "areas.csv", plain)
    truth = evaluation.truth(experiment.folder, plain)
    cells = [
        Cell(
            seed=experiment.parameters.seed,
            series=series,
            epsilon=epsilon,
            study=digest(study),
            models=_model_figures(study, outcome, held),
            figures=topic_figures(estimate(study, areas, outcome.sums), truth),
        )
        for (series, epsilon, study), outcome in zip(named, outcomes, strict=True)
    ]
    figures = topic_figures(census(plain, areas, outcomes[-1].sums), truth)
    cell = Cell(seed=cells[-1].seed, series="old census", epsilon=None, study=digest(plain), models={}, figures=figures)
    return [*cells, cell]


def _model_figures(study: Study, outcome: Outcome, held: Sequence[HeldHomes]) -> dict[str, dict[str, float]]:
    """How well a study's models separate homes that did not train them: each study has halves of its own."""
    own = [
        replace(part, homes=replace(part.homes, calibrates=calibrates(study, part.homes.pseudonyms))) for part in held
    ]
    found = {
        model.name: evaluation.model_figures(model, outcome.models[model.name].final, own)
        for model in study.answer_models
    }
    for model in study.answer_models:
        if model.start:
            found[model.name]["auc_start"] = evaluation.model_figures(model, first_weights(model), own)["auc"]
    return found


def _seeds(plan: Plan) -> range:
    return range(plan.city.seed, plan.city.seed + plan.seeds)


def _place(folder: Path, seed: int) -> Path:
    return folder / "cities" / f"{seed}.json"


def _keep(folder: Path, plan: Plan) -> None:
    """Write the plan down, or see that it is the one that was."""
    path = folder / "plan.json"
    if path.exists() and resumed(folder) != plan:
        raise RunError(f"{folder} holds a sweep of another plan; continue it with --resume, or choose another --out")
    write_atomically(path, msgspec.json.format(msgspec.json.encode(plan)) + b"\n")


def _city(folder: Path, plan: Plan, factors: Mapping[float, float], device: str, seed: int) -> None:
    """Make one seed's city, run everything on it, keep the figures, throw the city away."""
    logging.getLogger("skyglow_client").setLevel(logging.ERROR)
    parameters = msgspec.structs.replace(plan.city, seed=seed, workers=1)
    with tempfile.TemporaryDirectory(prefix="skyglow-city-") as scratch:
        experiment = begin(Folder(Path(scratch)), parameters, _silent)
        experiment.prepare()
        cells = run_city(experiment, factors, plan.modes, device)
    write_atomically(_place(folder, seed), msgspec.json.format(msgspec.json.encode(cells)) + b"\n")


def _factors(plan: Plan, progress: Progress) -> dict[float, float]:
    """The noise of every level: a function of the study's plan and areas, which all cities share."""
    _, study = drafted(plan.city)
    found = {}
    for epsilon, value in each(partial(_level, study), plan.epsilons, plan.city.workers):
        found[epsilon] = value
        progress("levels", len(found), len(plan.epsilons))
    return {epsilon: found[epsilon] for epsilon in plan.epsilons}


def _level(study: Study, epsilon: float) -> tuple[float, float]:
    return epsilon, factor(study, epsilon)


def _silent(phase: str, done: int, total: int) -> None:
    del phase, done, total
