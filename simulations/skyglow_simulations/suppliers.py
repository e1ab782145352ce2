# SPDX-License-Identifier: Apache-2.0
"""Simulated suppliers on one machine: each with its own folder, keys, policy, store and ledger.

What a person does at a real supplier (write a policy, load readings, approve a study) is done here in code; everything
else is the client that real suppliers install. Keys and noise are seeded, which only this package can do.
"""

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from skyglow_client.features.table import build_features
from skyglow_client.learning.occupied import build_profiles
from skyglow_client.readings import ingest
from skyglow_client.supplier import Supplier
from skyglow_server.federation import Federation
from skyglow_shared.files import write_atomically
from skyglow_shared.models import temporal
from skyglow_shared.study import Study
from skyglow_simulations.population import parameters as p
from skyglow_simulations.processes import each
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder, Parameters

NAMES = tuple(p.SUPPLIERS)
Result = TypeVar("Result")

_POLICY = """\
# What this simulated supplier allows; see docs/reference/supplier-policy.md
office_key = "{office_key}"
epsilon = {epsilon}
delta = {delta}
window_days = 365
purposes = ["official-statistics"]
legal_gateways = ["Simulated data: no gateway needed"]
features = {features}
topics = {topics}
questions = {questions}
trust_modes = ["local", "aggregate"]
rivals = {rivals}
sources = [
    "gradient", "area_score", "class_score", "area_label", "area_profile", "diary_profile", "area_capped_count",
    "area_histogram", "class_histogram", "area_use", "area_use_histogram",
]
least_homes = 30
least_suppliers = 3
most_rounds = 200
"""


def open_supplier(folder: Folder, name: str, seed: int) -> Supplier:
    """Open a simulated supplier, its noise seeded."""
    return Supplier.open(folder.supplier(name), name, randomness=SeededRandomness(seed, name))


@contextmanager
def handler(name: str, *, folder: str, seed: int) -> Iterator[Callable[[bytes], bytes]]:
    """Open a supplier for one message: what an engine in other processes calls."""
    with open_supplier(Folder(Path(folder)), name, seed) as supplier:
        yield supplier.handle


def on_flower(folder: Folder, parameters: Parameters, drive: Callable[[Federation], Result]) -> Result:
    """Run `drive` with the suppliers on Flower's simulation engine.

    Raises
    ------
    RunError
        Flower is not installed.
    """
    from skyglow_client.links.flower import client_app  # noqa: PLC0415 - an extra that most runs do without
    from skyglow_server.links.flower_engine import run  # noqa: PLC0415

    open_handler = partial(handler, folder=str(folder.path.resolve()), seed=parameters.seed)
    return run(drive, client_app(open_handler, NAMES), NAMES, processes=parameters.workers)


def set_up(folder: Folder, parameters: Parameters, study: Study, pseudonym_seed: int | None = None) -> None:
    """Write every supplier's keys and policy.

    Parameters
    ----------
    folder : Folder
    parameters : Parameters
        Gives the seed of keys.
    study : Study
        The policy allows what it costs, and knows its office.
    pseudonym_seed : int, optional
        Seed of the pseudonym keys, if it is another: a store can be read only with the key it was made with.
    """
    for name in NAMES:
        path = folder.supplier(name)
        secrets = SeededRandomness(parameters.seed, name)
        write_atomically(path / "supplier.toml", f'name = "{name}"\n'.encode())
        secrets.identity().save(path / "identity.key")
        pseudonyms = secrets if pseudonym_seed is None else SeededRandomness(pseudonym_seed, name)
        write_atomically(path / "pseudonym.key", pseudonyms.stream("pseudonyms").read(32), mode=0o600)
        rivals = [entry.public_key for entry in study.suppliers if entry.name != name]
        policy = _POLICY.format(
            office_key=study.office_key,
            epsilon=study.epsilon,
            delta=study.delta,
            rivals=json.dumps(rivals),
            features=json.dumps(sorted({model.features for model in study.models})),
            topics=json.dumps(sorted({model.name for model in study.models})),
            questions=json.dumps(sorted({model.question for model in study.answer_models})),
        )
        write_atomically(path / "policy.toml", policy.encode())


def load_readings(folder: Folder, parameters: Parameters, study: Study, progress: Callable[[int, int], None]) -> None:
    """Have every supplier ingest its raw files and compute its features and profiles, unless it has."""
    job = partial(_load_one, str(folder.path), study.period.start.isoformat(), study.period.days)
    job = partial(job, week=study.feature_week.isoformat(), weeks=study.feature_weeks)
    job = partial(job, presence=temporal.installed(study))
    progress(0, len(NAMES))
    for done, _ in enumerate(each(job, NAMES, parameters.workers), start=1):
        progress(done, len(NAMES))


def _load_one(path: str, start: str, days: int, name: str, *, week: str, weeks: int, presence: str) -> None:
    folder = Folder(Path(path))
    supplier = folder.supplier(name)
    if not (supplier / "store" / "meta.json").exists():
        report = ingest(
            supplier / "raw",
            supplier / "store",
            start=datetime.date.fromisoformat(start),
            days=days,
            postcodes=folder.reference / "postcodes.csv",
            pseudonym_key=(supplier / "pseudonym.key").read_bytes(),
        )
        write_atomically(supplier / "ingest.txt", ("\n".join(report.lines()) + "\n").encode())
    build_features(supplier / "store", week_start=datetime.date.fromisoformat(week), weeks=weeks)
    if presence:
        build_profiles(supplier / "store", presence)
