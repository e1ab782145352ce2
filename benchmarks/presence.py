# SPDX-License-Identifier: Apache-2.0
"""The installed model of presence, and ones that a study trains, beside the rule that needs no training.

On simulated homes, judged by Matthews correlation, half-hour by half-hour, on homes that trained nothing. The installed
model was made of other simulated towns. The study is the built-in one that trains a model of presence, with as many
homes with a diary as a whole city has; its rounds are the clients' own, sampled, clipped, on the grid and noised, but
neither charged nor masked (`frontier.rehearsal`). From the installed model or from nothing; and plainly, without bound
or noise. The same again where every home has a heat pump that runs by the clock, which no home had that the
installed model was made of: there is something to learn. The decision level is the installed model's; even odds for
models from nothing.
"""

import datetime
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_client.features.presence import presence_rule
from skyglow_client.learning.clipped_sums import Batch, clipped_sum
from skyglow_client.learning.diaried import Diaried
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.learning.homes import Homes
from skyglow_client.readings import Store
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.models import temporal
from skyglow_shared.models.aligned import logits
from skyglow_shared.models.temporal import PresenceModel
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Study
from skyglow_simulations import experiment
from skyglow_simulations.evaluation import held_homes
from skyglow_simulations.frontier import levels
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.population.survey import unpack
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.report.summary import mcc
from skyglow_simulations.run import Folder, Parameters

Array = NDArray[np.float64]
PANEL = 0.05  # share of homes surveyed in a whole city
WHOLE = 640  # homes with a diary that train in a whole city
JUDGED = 70  # homes a supplier
FROM_NOTHING = 0.3  # learning rate: the way is longer
MARGIN = 0.08  # of Matthews correlation over the rule
LEVELS = np.linspace(-0.5, 1.0, 16)
HEATING = np.where(np.isin(np.arange(48) // 2, (4, 5, 6, 12, 13, 14)), 0.6, 0.0).astype(np.float32)  # kWh a half-hour


@dataclass(frozen=True, slots=True)
class Town:
    """Homes of a simulated town.

    Attributes
    ----------
    x : ndarray of float32, shape (homes, days, 48, inputs)
    at_home, rule : ndarray of bool, shape (homes, days, 48)
    valid : ndarray of bool, shape (homes, days)
    """

    x: NDArray[np.float32]
    at_home: NDArray[np.bool_]
    rule: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    def part(self, rows: slice) -> "Town":
        """Some of the homes."""
        return Town(self.x[rows], self.at_home[rows], self.rule[rows], self.valid[rows])

    def batch(self, diary: NDArray[np.bool_]) -> Batch:
        """Homes to train on; labels are known on the days of the diary, ``[homes, days]``."""
        known = (diary & self.valid)[:, :, None, None]
        y = np.where(known, self.at_home[..., None], np.nan).astype(np.float32)
        keys = np.sort(np.random.default_rng(0).integers(0, 2**64, len(self.x), dtype=np.uint64))
        return Batch(keys, self.x, y, self.valid)


def town(seed: int, scale: float, most: int, *, heated: bool = False) -> Town:
    """Simulate a town, as `skyglow simulate` does, and take its suppliers' homes in a random order.

    `heated`: every home has a heat pump too, which runs by the clock, whoever is home.
    """
    with tempfile.TemporaryDirectory() as path:
        folder, parameters = Folder(Path(path)), Parameters(scale=scale, seed=seed, workers=1)
        made = experiment.begin(folder, parameters, lambda *_: None)
        made.prepare()
        bits = np.load(folder.truth / "presence.npy")
        kwh, true = [], []
        with experiment.opened(folder, parameters) as suppliers:
            held = held_homes(folder, made.study, suppliers)
        for name, part in zip(suppliers, held, strict=True):
            store = Store.open(folder.supplier(name) / "store")
            kwh.append(np.array(store.kwh[part.store_row]))
            true.append(unpack(bits, part.presence_row, store.days))
        order = np.random.default_rng(seed).permutation(sum(map(len, kwh)))[:most]
        readings, at_home = np.concatenate(kwh)[order], np.concatenate(true)[order] > 0
        if heated:
            readings = readings + HEATING * np.random.default_rng(seed).uniform(0.5, 1.5, (len(readings), 1, 1))
        x, valid = half_hours(readings, made.study.period.start)
        return Town(x, at_home, presence_rule(readings) > 0, valid)


def scores(weights: Array, homes: Town) -> Array:
    """Log-odds of presence, ``[homes, days, 48]``."""
    network = temporal.network(homes.x.shape[1])
    parts = [logits(network, weights, homes.x[begin : begin + 8]) for begin in range(0, len(homes.x), 8)]
    return np.concatenate(parts)[..., 0]


def correlation(called: NDArray[np.bool_], homes: Town) -> float:
    """Matthews correlation over the half-hours of valid days."""
    return mcc(called[homes.valid].ravel(), homes.at_home[homes.valid].ravel().astype(np.float64))


def adam(weights: Array, gradients: Iterator[Callable[[Array], Array]], rate: float) -> Array:
    """Adam from the given weights; the mean of the weights of the last half of the steps."""
    first, second, kept = np.zeros_like(weights), np.zeros_like(weights), []
    for step, gradient in enumerate(gradients, start=1):
        slope = gradient(weights)
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        mean, size = first / (1 - 0.9**step), second / (1 - 0.99**step)
        weights = weights - rate * mean / (np.sqrt(size) + 1e-8)
        kept.append(weights)
    return np.asarray(np.mean(kept[len(kept) // 2 :], axis=0))


def plainly(batch: Batch, steps: int, homes: int) -> Iterator[Callable[[Array], Array]]:
    """Mean gradients of random batches, without privacy."""
    network, some = temporal.network(batch.x.shape[1]), np.random.default_rng(1)
    for _ in range(steps):
        chosen = np.sort(some.permutation(len(batch))[:homes])
        part = Batch(batch.keys[chosen], batch.x[chosen], batch.y[chosen], batch.days[chosen])
        yield lambda weights, own=part: clipped_sum(network, weights, own, np.inf) / len(own)


@dataclass(frozen=True, slots=True)
class City:
    """The suppliers of a simulated city in which the study is asked.

    Attributes
    ----------
    study : Study
        That trains a model of presence, and does nothing else.
    parties : tuple of Party
    judged : Town
        Homes that keep no diary.
    """

    study: Study
    parties: tuple[Party, ...]
    judged: Town


def city(scale: float, *, heated: bool, rounds: int | None = None) -> City:
    """A city of a few homes of which as many keep a diary as in a whole one; the study's rounds, or so many."""
    panel = min(PANEL / scale, 1.0)
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        parameters = Parameters(scale=scale, seed=2, workers=1, panel_fraction=panel, study="southampton-presence")
        made = experiment.begin(folder, parameters, lambda *_: None)
        made.prepare()
        bits = np.load(folder.truth / "presence.npy")
        with experiment.opened(folder, parameters) as suppliers:
            held = held_homes(folder, made.study, suppliers)
    [phase] = (phase for phase in made.study.phases if phase.name == "presence")
    expected = max(1, round(phase.expected_homes * panel / PANEL))
    phase = msgspec.structs.replace(phase, expected_homes=expected, rounds=rounds or phase.rounds)
    study = msgspec.structs.replace(made.study, phases=(phase,))
    parties, towns = [], []
    for entry, part in zip(study.suppliers, held, strict=True):
        homes = part.homes if not heated else replace(part.homes, diaried=_heated(part.homes.diaried))
        parties.append(Party(entry.name, homes, SeededRandomness(parameters.seed, entry.name)))
        towns.append(_judged(homes, part.presence_row, bits, study.period.start))
    return City(study, tuple(parties), joined(towns))


def joined(towns: Sequence[Town]) -> Town:
    """The homes of several towns as one."""
    return Town(*(np.concatenate([getattr(one, name) for one in towns]) for name in Town.__slots__))


def _heated(own: Diaried | None) -> Diaried:
    """The same homes with a heat pump each."""
    assert own is not None  # noqa: S101 - the study trains a model of presence
    extra = HEATING * np.random.default_rng(3).uniform(0.5, 1.5, (len(own.store.kwh), 1, 1)).astype(np.float32)
    store = replace(own.store, kwh=np.asarray(own.store.kwh) + extra)
    keepers = own.row[own.kept >= 0][np.argsort(own.kept[own.kept >= 0])]
    return replace(own, store=store, x=half_hours(store.kwh[keepers], store.start)[0])


def _judged(homes: Homes, truth: NDArray[np.int64], bits: NDArray[np.uint8], start: datetime.date) -> Town:
    """Some of a supplier's homes without a diary, and what is true of them."""
    own = homes.diaried
    assert own is not None  # noqa: S101 - the study trains a model of presence
    rows = np.flatnonzero(homes.metered & (own.kept < 0))[:JUDGED]
    kwh = np.asarray(own.store.kwh[own.row[rows]])
    x, valid = half_hours(kwh, start)
    return Town(x, unpack(bits, truth[rows], own.store.days) > 0, presence_rule(kwh) > 0, valid)


def trained(asked: City, *, start: bool, noise: float) -> tuple[Array, float]:
    """Parameters that the study comes to, from the installed model or nothing, with its noise times `noise`."""
    own = asked.study.presence_model
    assert own is not None  # noqa: S101 - the study trains a model of presence
    if not start:
        own = msgspec.structs.replace(own, start_model="", start_digest="", learning_rate=FROM_NOTHING)
    study = msgspec.structs.replace(
        levels.scaled(asked.study, noise, asked.study.epsilon), models=(own, *asked.study.answer_models)
    )
    [outcome] = rehearse([study], asked.parties)
    spent = study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper
    return outcome.models[own.name].final, spent


def plain(asked: City, begin: Array, steps: int) -> Array:
    """What training on the same homes comes to that neither samples, clips nor adds noise as a study does."""
    batches = []
    for party in asked.parties:
        homes = party.homes
        trains = homes.metered & (homes.composition >= 0) & ~homes.calibrates
        own = homes.take(trains)
        assert own.diaried is not None  # noqa: S101 - the study trains a model of presence
        batches.append(own.diaried.batch(own.pseudonyms))
    order = np.argsort(np.concatenate([one.keys for one in batches]))
    columns = [np.concatenate([getattr(one, name) for one in batches])[order] for name in ("keys", "x", "y", "days")]
    return adam(begin, plainly(Batch(*columns), steps, 16), 1e-3)


def measure(quick: bool) -> Sequence[Result]:
    """The rule beside the installed model and models that a study trains."""
    torch.set_num_threads(1)
    installed = temporal.load("presence_model_v1")
    found = []
    for heated in (False, True):
        asked = city(0.02, heated=heated, rounds=30) if quick else city(0.1, heated=heated)
        rule = correlation(asked.judged.rule, asked.judged)
        where = ", where every home has a heat pump too" if heated else ""
        for name, weights, level, goal in candidates(asked, installed, quick):
            value = correlation(scores(weights, asked.judged) > level, asked.judged)
            found.append(Result(f"presence, {name}{where}", value, "MCC", *_beside(value, rule, goal), goal))
    return found


def candidates(asked: City, installed: PresenceModel, quick: bool) -> Iterator[tuple[str, Array, float, float]]:
    """Names, weights, levels and goals of what is compared in a city.

    With the few homes of a quick run the noise is less in proportion, so that its effect is a whole city's; what that
    costs is not told. Its rounds are few too.
    """
    yield "installed model", installed.weights, installed.level, 1.0
    few = min(1.0, asked.study.phases[0].expected_homes / WHOLE)
    for words, start in (("it", True), ("nothing", False)):
        weights, spent = trained(asked, start=start, noise=few)
        told = "" if quick else f", epsilon {spent:.2f}"
        yield f"trained from {words}{told}", weights, installed.level * start, float(start)
    yield "trained from it without privacy", plain(asked, installed.weights, 30 if quick else 150), installed.level, 0.0


def _beside(value: float, rule: float, goal: float) -> tuple[str, float]:
    """What a figure is set beside, and the ratio."""
    if goal:
        return f"of the margin wanted over the rule's {rule:.3f}", (value - rule) / MARGIN
    return f"the rule's {rule:.3f}", max(value / rule, 0.0)


if __name__ == "__main__":
    run("The model of presence, installed and trained by a study, beside the rule that needs no training.", measure)
