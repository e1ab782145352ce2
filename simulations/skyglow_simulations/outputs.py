# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: estimates, release folder, summary, report, ledgers."""

import datetime
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from skyglow_client.supplier import Supplier
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Outcome
from skyglow_server.disclosure import Check
from skyglow_server.estimation import AreaTable, Estimate, checks, compare, electricity
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.public_tables import digests
from skyglow_server.publication import Release, publish, software, write_estimates_csv
from skyglow_server.publication.release import SELECTION
from skyglow_shared.files import write_atomically
from skyglow_shared.layout import round_numbers, sum_deviation
from skyglow_shared.models import presence
from skyglow_shared.privacy.accounting import study_cost
from skyglow_shared.study import Model, Study, digest
from skyglow_simulations import evaluation
from skyglow_simulations.experiment import Experiment, opened, peak_memory_mib
from skyglow_simulations.report import ReportData, Sent, render
from skyglow_simulations.report.summary import Truth, topic_figures
from skyglow_simulations.suppliers import NAMES

#: Methods beside ours, by the names of `estimation.compare`, and how reports call them.
METHODS = {
    "skyglow": "skyglow: meters and panel",
    "naive": "naive: classify and count",
    "panel_alone": "panel alone, same model",
    "meters_alone": "meters alone, same model",
    "histogram_em": "EM on histograms of scores",
    "census_alone": "old census as it is",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything known at the end of a simulated run."""

    estimates: tuple[Estimate, ...]
    truth: Truth
    methods: Mapping[str, tuple[Estimate, ...]]
    summary: dict[str, Any]
    checks: tuple[Check, ...]
    use: tuple[Estimate, ...] = ()


def find(experiment: Experiment, outcome: Outcome) -> Findings:
    """Estimate, compare with the truth and with other methods, and judge models and rules."""
    study, folder = experiment.study, experiment.folder
    areas = experiment.areas()
    record = checks(study, areas, outcome.sums, planning=experiment.planning)
    estimates = experiment.estimate(outcome, record)
    true = evaluation.truth(folder, study)
    with experiment.clock.phase("evaluation"), opened(folder, experiment.parameters) as suppliers:
        held = evaluation.held_homes(folder, study, suppliers)
        models: dict[str, dict[str, float]] = {}
        methods = {"skyglow": estimates, "naive": ()}
        for model in study.answer_models:
            weights = outcome.models[model.name].final
            models[model.name] = evaluation.model_figures(model, weights, held)
            methods["naive"] += _naive(areas, model, evaluation.naive_shares(study, model, weights, held))
        if has_occupancy(study):
            models["presence_rule"] = evaluation.presence_figures(folder, NAMES, held)
            final = {name: training.final for name, training in outcome.models.items()}
            for name, way in evaluation.presence_models(study, final).items():
                models[name] = evaluation.presence_figures(folder, NAMES, held, way)
        costs = {name: supplier_figures(study, supplier) for name, supplier in suppliers.items()}
    methods |= compare(study, areas, outcome.sums, planning=experiment.planning, record=record)
    shown = {_place(item) for item in estimates if item.status == "published"}
    beside = {  # where ours is published: areas that are withheld are the hard ones
        name: topic_figures((item for item in items if _place(item) in shown), true) for name, items in methods.items()
    }
    summary = {
        "study": study.name,
        "digest": digest(study),
        "simulated": True,
        "seed": experiment.parameters.seed,
        "scale": experiment.parameters.scale,
        "topics": topic_figures(estimates, true),
        "methods": {name: beside[name] for name in METHODS if name in set(methods) - {"skyglow"}},
        "models": models,
        "suppliers": costs,
        "rounds": sum(phase.rounds for phase in study.phases),
        "seconds": experiment.clock.seconds,
        "peak_memory_mib": peak_memory_mib(),
    }
    return Findings(estimates, true, methods, summary, record, electricity(study, areas, outcome.sums, record))


def _place(item: Estimate) -> tuple[str, str, str]:
    return item.area_code, item.topic, item.group


def has_occupancy(study: Study) -> bool:
    """Whether a study asks when homes are occupied."""
    return any(block.source == "area_profile" for block in study.blocks)


def write(experiment: Experiment, findings: Findings) -> None:
    """Write estimates.csv, the release folder, summary.json and the ledgers; each replaces its forerunner whole."""
    folder = experiment.folder.path
    write_estimates_csv(folder / "estimates.csv", findings.estimates, findings.truth)
    publish(folder / "release", release_of(experiment, findings, datetime.datetime.now(datetime.UTC).date()))
    write_atomically(folder / "summary.json", json.dumps(findings.summary, indent=2).encode() + b"\n")
    for name in NAMES:
        (folder / "ledger").mkdir(exist_ok=True)
        _copy_ledger(experiment, name)


def release_of(experiment: Experiment, findings: Findings, made: datetime.date) -> Release:
    """What would be published of a run, were its homes real: nothing of the truth is in it."""
    costs: Mapping[str, Mapping[str, Any]] = findings.summary["suppliers"]
    return Release(
        study=experiment.study,
        estimates=findings.estimates,
        checks=findings.checks,
        made=made,
        producer="skyglow simulate",
        simulated=True,
        boundaries=experiment.census.boundaries,
        use=findings.use,
        inputs=digests(experiment.folder.reference, ("areas.csv", SELECTION)),
        ledger_heads={name: str(figures["ledger_head"]) for name, figures in costs.items()},
        charged={name: float(figures["epsilon_upper"]) for name, figures in costs.items()},
        versions=software(),
    )


def supplier_figures(study: Study, supplier: Supplier) -> dict[str, float | str]:
    """What a supplier has been charged for a study, by its own ledger, and the ledger's head."""
    charged = supplier.gate.ledger.charges().get(digest(study), [])
    cost = study_cost(charged, study.delta)
    return {
        "epsilon_lower": round(cost.epsilon_lower, 4),
        "epsilon_upper": round(cost.epsilon_upper, 4),
        "delta": cost.delta,
        "policy_epsilon": supplier.gate.policy.epsilon,
        "ledger_head": supplier.gate.ledger.head,
    }


def write_report(experiment: Experiment, findings: Findings) -> None:
    """Write report.html, one self-contained file."""
    study, areas = experiment.study, experiment.areas()
    data = ReportData(
        study=study,
        summary=findings.summary,
        estimates=findings.estimates,
        truth=findings.truth,
        methods={name: text for name, text in METHODS.items() if name in findings.methods},
        boundaries=experiment.census.boundaries,
        public_curve=presence.load(study.occupancy.basis).mean.ravel().tolist(),
        sent=what_left(experiment),
        versions=software(),
        use=findings.use,
        households={
            code: float(homes)
            for level in LEVELS
            for (code, _), homes in zip(areas.areas(level), areas.totals(level, areas.households), strict=True)
        },
    )
    write_atomically(experiment.folder.path / "report.html", render(data).encode())


def what_left(experiment: Experiment) -> list[Sent]:
    """What each supplier sent, by phase: the office's own stored replies, counted."""
    study = experiment.study
    checkpoints = Checkpoints.in_file(experiment.folder.office / "checkpoints.sqlite")
    places, rows = checkpoints.places(digest(study)), []
    for phase in study.phases:
        replies = [checkpoints.load(place) or {} for place in places if place.phase == phase.name]
        rows.append(
            Sent(
                phase=phase.name,
                shares=phase.rounds,
                numbers=round_numbers(study, phase),
                noise={block.name: sum_deviation(study, block, 1, 1) for block in phase.blocks},
                sent_bytes={name: sum(len(reply.get(name, b"")) for reply in replies) for name in NAMES},
            )
        )
    return rows


def _naive(areas: AreaTable, model: Model, shares: Mapping[tuple[str, str, str], float]) -> tuple[Estimate, ...]:
    return tuple(
        Estimate(code, name, level, model.name, "all", estimate=shares[code, model.name, "all"])
        for level in ("LSOA", "MSOA", "LAD")
        for code, name in areas.areas(level)
    )


def _copy_ledger(experiment: Experiment, name: str) -> None:
    """Copy a supplier's ledger as one consistent file, write-ahead log included."""
    source = experiment.folder.supplier(name) / "ledger.sqlite"
    target = experiment.folder.path / "ledger" / f"{name}.sqlite"
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as connection, closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
