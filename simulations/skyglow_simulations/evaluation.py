# SPDX-License-Identifier: Apache-2.0
"""What only a simulation can say: truth by area, and how good models and rules are on homes they have not seen.

Nothing here goes through the gate and nothing here is ever part of a real study.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.features.presence import presence_rule
from skyglow_client.learning.contributions import labels
from skyglow_client.learning.homes import Homes
from skyglow_client.learning.occupied import chances
from skyglow_client.readings import Store
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_client.supplier import Supplier
from skyglow_server.estimation.occupancy import GROUPS
from skyglow_shared.models import logistic, temporal
from skyglow_shared.models.temporal import PresenceModel
from skyglow_shared.study import Model, Study
from skyglow_simulations.population.calibration_models import fitted
from skyglow_simulations.population.generate import unpack
from skyglow_simulations.population.survey import true_answers
from skyglow_simulations.report.summary import auc, mcc
from skyglow_simulations.run import Folder

_PRESENCE_HOMES = 300  # homes a supplier on which the presence rule is judged


@dataclass(frozen=True, slots=True)
class HeldHomes:
    """One supplier's homes as the study sees them, beside what is true of them.

    Attributes
    ----------
    homes : Homes
    composition : ndarray of int8, shape (homes,)
        True composition class, of every home.
    answers : mapping of str to ndarray of int8, shape (homes,)
        What is true of every home, by question beyond composition.
    presence_row : ndarray of int64, shape (homes,)
        Row in truth/presence.npy.
    store_row : ndarray of int64, shape (homes,)
        Row in the supplier's store.
    """

    homes: Homes
    composition: NDArray[np.int8]
    presence_row: NDArray[np.int64]
    store_row: NDArray[np.int64]
    answers: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)


def truth(folder: Folder, study: Study) -> dict[tuple[str, str, str], float]:
    """True value of every estimate of the study by (area_code, topic, group), over all households."""
    table = pl.read_parquet(folder.truth / "households.parquet")
    if "counts" in table.columns:  # a trial's homes that trained or calibrated are never truth
        table = table.filter("counts")
    row = {code: index for index, code in enumerate(study.lsoas)}
    lsoa = np.array([row[code] for code in table["lsoa21cd"]])
    answers = true_answers(table)
    homes = np.bincount(lsoa, minlength=len(study.areas)).astype(float)
    occupied = np.load(folder.truth / "occupied.npy").reshape(len(study.areas), -1)
    true: dict[tuple[str, str, str], float] = {}
    for level in ("lsoa", "msoa", "lad"):
        codes, group = np.unique([getattr(area, level) for area in study.areas], return_inverse=True)
        total = np.bincount(group, homes)
        for model in study.answer_models:
            positive = np.bincount(lsoa, labels(model, answers[model.question]), minlength=len(study.areas))
            share = np.bincount(group, positive) / total
            true.update({(code, model.name, "all"): float(value) for code, value in zip(codes, share, strict=True)})
        for slot, name in enumerate(GROUPS):
            share = np.bincount(group, occupied[:, slot] * homes) / total
            true.update({(code, "occupancy", name): float(value) for code, value in zip(codes, share, strict=True)})
    return true


def held_homes(folder: Folder, study: Study, suppliers: Mapping[str, Supplier]) -> list[HeldHomes]:
    """Join each supplier's homes with the truth about them."""
    table = pl.read_parquet(folder.truth / "households.parquet")
    answers = true_answers(table)
    metered_row = np.cumsum(table["metered"].to_numpy()) - 1
    held = []
    for index, (name, supplier) in enumerate(suppliers.items()):
        own = np.flatnonzero(table["supplier"].to_numpy() == index)
        key = (folder.supplier(name) / "pseudonym.key").read_bytes()
        pseudonyms = pseudonyms_of(table["meter_id"][own].cast(pl.String), key)
        place = {pseudonym.tobytes(): int(row) for pseudonym, row in zip(pseudonyms, own, strict=True)}
        homes = supplier.homes(study)
        found = np.array([place.get(pseudonym.tobytes(), -1) for pseudonym in homes.pseudonyms], dtype=np.int64)
        homes, rows = homes.take(found >= 0), found[found >= 0]  # a meter without a household has no truth
        store = Store.open(folder.supplier(name) / "store")
        store_place = {pseudonym.tobytes(): row for row, pseudonym in enumerate(store.pseudonyms)}
        store_row = np.array([store_place[pseudonym.tobytes()] for pseudonym in homes.pseudonyms], dtype=np.int64)
        own_answers = {question: true[rows] for question, true in answers.items()}
        held.append(HeldHomes(homes, own_answers["composition"], metered_row[rows], store_row, own_answers))
    return held


def model_figures(model: Model, weights: NDArray[np.float64], held: Sequence[HeldHomes]) -> dict[str, float]:
    """AUC and Matthews correlation on homes that did not train, beside a non-private fit and the majority."""
    x, y, trained = _stacked(model, held)
    logits = logistic.model_logits(model, weights, x)
    unseen = ~trained
    free = logistic.logits(fitted(x[trained], y[trained]), x)
    cut, free_cut = (float(np.quantile(values[unseen], 1 - y[unseen].mean())) for values in (logits, free))
    return {
        "auc": auc(logits[unseen], y[unseen]),
        "mcc": mcc(logits[unseen] > cut, y[unseen]),
        "auc_non_private": auc(free[unseen], y[unseen]),
        "mcc_non_private": mcc(free[unseen] > free_cut, y[unseen]),
        "auc_majority": 0.5,
        "mcc_majority": 0.0,
    }


def naive_shares(
    study: Study, model: Model, weights: NDArray[np.float64], held: Sequence[HeldHomes]
) -> dict[tuple[str, str, str], float]:
    """Classify and count: the share of held homes that the model calls positive, by area; not private."""
    lsoa = np.concatenate([part.homes.lsoa[part.homes.metered] for part in held])
    x = np.concatenate([part.homes.x[model.name][part.homes.metered] for part in held])
    called = (logistic.model_logits(model, weights, x) > 0).astype(float)
    shares = {}
    for level in ("lsoa", "msoa", "lad"):
        codes, group = np.unique([getattr(area, level) for area in study.areas], return_inverse=True)
        total = np.bincount(group[lsoa], minlength=len(codes))
        counted = np.bincount(group[lsoa], called, minlength=len(codes)) / np.maximum(total, 1)
        shares.update({(code, model.name, "all"): float(value) for code, value in zip(codes, counted, strict=True)})
    return shares


def presence_figures(
    folder: Folder, suppliers: Sequence[str], held: Sequence[HeldHomes], model: PresenceModel | None = None
) -> dict[str, float]:
    """Matthews correlation of a model of presence, or of the rule, by half-hour, and how much absence it finds.

    On homes that trained no such model.
    """
    bits = np.load(folder.truth / "presence.npy", mmap_mode="r")
    called, true = [], []
    for name, part in zip(suppliers, held, strict=True):
        store = Store.open(folder.supplier(name) / "store")
        unseen = True if part.homes.diaried is None else part.homes.calibrates | (part.homes.diaried.kept < 0)
        rows = np.flatnonzero(part.homes.metered & unseen)[:_PRESENCE_HOMES]
        kwh = np.asarray(store.kwh[part.store_row[rows]])
        valid = store.valid[part.store_row[rows]]
        called.append(_called(kwh, store.start, model)[valid].ravel())
        true.append(unpack(bits, part.presence_row[rows], store.days)[valid].ravel() > 0)
    predicted, actual = np.concatenate(called), np.concatenate(true)
    return {
        "mcc": mcc(predicted, actual),
        "absence_recall": float((~predicted & ~actual).sum() / max((~actual).sum(), 1)),
        "occupied_share": float(actual.mean()),
        "mcc_always_home": 0.0,
    }


def presence_models(study: Study, weights: Mapping[str, NDArray[np.float64]]) -> dict[str, PresenceModel]:
    """What says when homes are occupied in a study, in place of the rule; and what that began from, if it was trained.

    The level of one that was trained is that of the model it began from, or even odds.
    """
    own = study.presence_model
    if own is None:
        return {"presence_model": temporal.load(study.occupancy.model)} if study.occupancy.model else {}
    if not own.start_model:
        return {"presence_model": PresenceModel(weights[own.name], channels=own.hidden)}
    before = temporal.load(own.start_model)
    return {"presence_model": replace(before, weights=weights[own.name], digest=""), "presence_start": before}


def _called(kwh: NDArray[np.float32], start: datetime.date, model: PresenceModel | None) -> NDArray[np.bool_]:
    """When a model of presence, or the rule, calls homes occupied, [homes, days, 48]."""
    if model is None:
        return np.asarray(presence_rule(kwh) > 0)
    return np.asarray(chances(kwh, start, model) > 1 / (1 + np.exp(-model.level)))


def _stacked(
    model: Model, held: Sequence[HeldHomes]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    usable = [part.homes.metered for part in held]
    x = np.concatenate([part.homes.x[model.name][keep] for part, keep in zip(held, usable, strict=True)])
    true = [part.composition if model.question == "composition" else part.answers[model.question] for part in held]
    y = np.concatenate([labels(model, own[keep]) for own, keep in zip(true, usable, strict=True)])
    panel = [(part.homes.composition >= 0) & ~part.homes.calibrates for part in held]
    return x, y, np.concatenate([trained[keep] for trained, keep in zip(panel, usable, strict=True)])
