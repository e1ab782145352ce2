# SPDX-License-Identifier: Apache-2.0
"""The installed model of presence beside the rule that needs no training, on homes of a simulated city.

Some homes keep a diary on one weekday and one day of a weekend: these train. Others, whole, are judged by Matthews
correlation, half-hour by half-hour. The installed model was made of other simulated towns. Private models are trained
on the integer path by noised sums of a Poisson sample in each round, from the installed one, all layers or the last
alone, or from nothing. The same again where every home has a heat pump that runs by the clock, which no home had that
the installed model was made of: there is something to learn. The decision level is the installed model's.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_client.features.presence import presence_rule
from skyglow_client.learning.clipped_sums import Batch, clipped_sum, exact_sum
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.readings import Store
from skyglow_shared.models import temporal
from skyglow_shared.models.aligned import logits
from skyglow_shared.models.network import Network, initial
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import add_noise, grouped_sum, step_size
from skyglow_shared.study import Block
from skyglow_simulations import experiment
from skyglow_simulations.evaluation import held_homes
from skyglow_simulations.population.survey import unpack
from skyglow_simulations.report.summary import mcc
from skyglow_simulations.run import Folder, Parameters

Array = NDArray[np.float64]
DELTA = 1e-6
RATE = 0.25  # chance of a home to be in a round
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


def privately(batch: Batch, steps: int, rate: float, block: Block) -> Iterator[Callable[[Array], Array]]:
    """Noised sums of Poisson samples on the integer path, over the expected number of homes."""
    network, some = temporal.network(batch.x.shape[1]), np.random.default_rng(2)
    stream = ByteStream(bytes(32))  # a simulation's: nothing here is anybody's
    for _ in range(steps):
        chosen = some.random(len(batch)) < rate
        part = Batch(batch.keys[chosen], batch.x[chosen], batch.y[chosen], batch.days[chosen])

        def slope(weights: Array, own: Batch = part) -> Array:
            noised = add_noise(exact_sum(network, weights, own, block), stream)
            return np.asarray(noised[0] * step_size(block) / (rate * len(batch)))

        yield slope


def hidden(weights: Array, homes: Town) -> Array:
    """What the last layer sees, and a one for its bias: ``[homes, days, 48, channels + 1]``."""
    network = temporal.network(homes.x.shape[1])
    below = Network(network.layers[:-1], network.places)
    parts = [
        logits(below, weights[: below.parameters], homes.x[begin : begin + 8]) for begin in range(0, len(homes.x), 8)
    ]
    seen = np.maximum(np.concatenate(parts), 0.0)
    return np.concatenate([seen, np.ones((*seen.shape[:3], 1))], axis=3)


def last_layer(start: Array, homes: Town, diary: NDArray[np.bool_], steps: int, block: Block) -> Array:
    """Train the last layer alone, privately, on the integer path: 33 numbers a home in place of thousands."""
    seen, some, stream = hidden(start, homes), np.random.default_rng(2), ByteStream(bytes(31) + b"\1")
    size = seen.shape[3]
    seen = [own[days & valid].reshape(-1, size) for own, days, valid in zip(seen, diary, homes.valid, strict=True)]
    truth = [own[days & valid].ravel() for own, days, valid in zip(homes.at_home, diary, homes.valid, strict=True)]

    def one(home: int, weights: Array) -> Array:
        error = 1 / (1 + np.exp(-seen[home] @ weights)) - truth[home]
        return error @ seen[home] / max(len(error), 1)

    def gradients() -> Iterator[Callable[[Array], Array]]:
        for _ in range(steps):
            chosen = np.flatnonzero(some.random(len(seen)) < RATE)

            def slope(weights: Array, own: NDArray[np.intp] = chosen) -> Array:
                vectors = np.array([one(home, weights) for home in own]).reshape(len(own), size)
                sums = grouped_sum(vectors, np.zeros(len(own), dtype=np.int64), 1, block)
                return np.asarray(add_noise(sums, stream)[0] * step_size(block) / (RATE * len(seen)))

            yield slope

    trained = adam(start[-size:], gradients(), 0.02)
    return np.concatenate([start[:-size], trained])


def epsilon(noise: float, rate: float, steps: int) -> float:
    """What the private training costs a home at `DELTA`."""
    event = dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps)
    return float(PLDAccountant().compose(event).get_epsilon(DELTA))


def diaries(homes: Town, seed: int) -> NDArray[np.bool_]:
    """One weekday and one day of a weekend of each home, ``[homes, days]``."""
    some, days = np.random.default_rng(seed), homes.x.shape[1]
    weekend = np.arange(days) % 7 >= 5
    keys = some.random((len(homes.x), days))
    found = np.zeros(keys.shape, dtype=np.bool_)
    for kind in (weekend, ~weekend):
        found[np.arange(len(keys)), np.where(kind, keys, -1.0).argmax(axis=1)] = True
    return found


def measure(quick: bool) -> Sequence[Result]:
    """The rule beside the installed model, and models trained on the panel's diaries with and without privacy."""
    torch.set_num_threads(1)
    homes, steps, rounds = (700, 250, 40) if quick else (1800, 900, 80)
    installed = temporal.load("presence_model_v1")
    found, rules = {}, {}
    for heated in (False, True):
        where = " where every home has a heat pump too" if heated else ""
        city = town(1, 0.06 if quick else 0.12, homes + homes // 2, heated=heated)
        panel, others = city.part(slice(0, homes)), city.part(slice(homes, None))
        rules[where] = correlation(others.rule, others)
        for name, weights in candidates(panel, installed.weights, steps, rounds):
            found[f"{name}{where}"] = correlation(scores(weights, others) > installed.level, others), where
    return [
        Result(f"presence, {name}", value, "MCC", *_beside(value, rules[where], wanted=name == "installed model"))
        for name, (value, where) in found.items()
    ]


def candidates(panel: Town, start: Array, steps: int, rounds: int) -> Iterator[tuple[str, Array]]:
    """Names and weights of the models that are compared on a city whose panel keeps diaries."""
    diary, network = diaries(panel, 3), temporal.network(panel.x.shape[1])
    batch, zero = panel.batch(diary), initial(network, bytes(32))
    noise = 4.0
    spent = f"epsilon {epsilon(noise, RATE, rounds):.2f}"
    block = Block(name="gradient", source="gradient", model="presence", l2_bound=0.2, noise_multiplier=noise)
    wide = Block(name="gradient", source="gradient", model="presence", l2_bound=1.5, noise_multiplier=noise)
    yield "installed model", start
    yield "without privacy, from nothing", adam(zero, plainly(batch, steps, 16), 3e-3)
    yield f"{spent}, all layers, from the installed", adam(start, privately(batch, rounds, RATE, block), 1e-3)
    yield f"{spent}, last layer, from the installed", last_layer(start, panel, diary, rounds, wide)
    yield f"{spent}, from nothing", adam(zero, privately(batch, rounds, RATE, block), 3e-3)


def _beside(value: float, rule: float, *, wanted: bool) -> tuple[str, float, float]:
    """What a figure is set beside, the ratio, and the goal if there is one."""
    if wanted:
        return f"of the margin wanted over the rule's {rule:.3f}", (value - rule) / MARGIN, 1.0
    return f"the rule's {rule:.3f}", value / rule, 0.0


if __name__ == "__main__":
    run("The trained model of presence beside the rule that needs no training.", measure)
