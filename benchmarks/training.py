# SPDX-License-Identifier: Apache-2.0
"""Whether a study should bound its homes' gradients, weigh their answers or take its steps in another way.

Five questions in one block of gradients, on simulated cities, all runs of a setting trained as one batched
computation. All ways have the same epsilon, homes, samples and noise. One bound on a home's five gradients together
and plain steps, as studies have it; a bound for each gradient, whose squares add up to that of the whole; one bound
together that follows a quantile of the homes' norms (Andrew et al. 2021), a noised count of the homes within it bought
from the same budget; momentum of a half; Adam on the noised mean; and answers weighed so that by public shares both
count alike. Bounds, rates, quantiles and speeds are chosen on one city and judged on others. The noise is
floating-point: for simulation only. Then, without privacy, what features averaged over several weeks are worth.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run
from benchmarks.utility import STEPS, Basis, multiplier, simulated

from skyglow_client.features.class22 import class22
from skyglow_client.features.table import CLASS22
from skyglow_shared.models.features import averaged, contract
from skyglow_shared.study import Period
from skyglow_simulations.population import calibration
from skyglow_simulations.population.calibration_models import fitted
from skyglow_simulations.report.summary import auc

Array = NDArray[np.float64]
TRAINING, SCALE = 1850, 0.08
PUBLIC, CHOSEN_ON, JUDGED_ON = 77, 178, (179, 180, 181, 182, 183, 184)
LOAD_SINCE = 1.5  # what private homes use over public ones: without a change, a start from those needs no training
EPSILONS = (1.0, 0.5)
BOUNDS, RATES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0), (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
QUANTILES, SPEEDS = (0.05, 0.1, 0.3, 0.5, 0.7), (0.2, 1.0)
COUNT_NOISE = 1 / 20  # on the homes within the bound, in shares of all of them
WEEKS = (1, 2, 4)
FEW_BOUNDS, ADAM_RATES, ADAM = (0.5, 1.0, 2.0), (0.003, 0.01, 0.03, 0.1, 0.3), (0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Way:
    """How homes are bounded and steps taken: `quantile` 0 for a bound that stays."""

    bound: float
    rate: float
    for_each: bool = False
    quantile: float = 0.0
    speed: float = 0.0
    momentum: float = 0.0
    adam: bool = False
    weighed: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """What is public: first weights ``[inputs, heads]``, and the share of homes that say yes, by head."""

    weights: Tensor
    shares: Tensor


@dataclass(slots=True)
class Steps:
    """An optimiser at the office: what it makes of the noised mean gradient."""

    way: Way
    first: Tensor
    second: Tensor
    taken: int = 0

    def step(self, gradient: Tensor) -> Tensor:
        """By how much to change the weights."""
        self.taken += 1
        if not self.way.adam:
            self.first = self.way.momentum * self.first + gradient
            return -self.way.rate * self.first
        slow, slower = ADAM
        self.first = slow * self.first + (1 - slow) * gradient
        self.second = slower * self.second + (1 - slower) * gradient**2
        mean, square = self.first / (1 - slow**self.taken), self.second / (1 - slower**self.taken)
        return -self.way.rate * mean / (square.sqrt() + 1e-8)


@dataclass(frozen=True, slots=True)
class Split:
    """Homes that train and homes that judge: inputs ``[homes, inputs]``, answers ``[homes, heads]``."""

    x: Tensor
    y: Tensor
    unseen: Array
    answers: Array


def splits(seeds: Sequence[int], basis: Basis, level: float, count: int) -> list[Split]:
    """Some divisions of each city's homes."""
    found = []
    for seed in seeds:
        city = simulated(SCALE, seed, level)
        x, y = basis.design(city.x), np.stack([*city.answers.values()], axis=1).astype(float)
        for number in range(count):
            order = np.random.default_rng(number).permutation(len(x))
            mine, rest = order[:TRAINING], order[TRAINING:]
            found.append(Split(torch.from_numpy(x[mine]), torch.from_numpy(y[mine]), x[rest], y[rest]))
    return found


def trained(split: Split, way: Way, noise: float, begin: Begin, runs: int) -> Array:
    """Average of the last half of steps of each run with its own noise, ``[inputs, runs, heads]``."""
    generator = torch.Generator().manual_seed(5)
    weights = begin.weights[:, None].repeat(1, runs, 1)
    steps = Steps(way, torch.zeros_like(weights), torch.zeros_like(weights))
    likely = torch.where(split.y > 0, begin.shares, 1 - begin.shares)
    weighing = 0.5 / likely if way.weighed else torch.ones_like(likely)
    average, bound = torch.zeros_like(weights), torch.full((runs, 1), way.bound, dtype=torch.float64)
    homes, lengths = len(split.x), split.x.norm(dim=1)[:, None, None]
    count_noise = COUNT_NOISE * homes
    if way.quantile:  # both releases together cost what one of `noise` does; a home moves the centred count by a half
        noise = (noise**-2 - (2 * count_noise) ** -2) ** -0.5
    for step in range(STEPS):
        error = torch.einsum("nf,frh->nrh", split.x, weights).sigmoid_().sub_(split.y[:, None])
        error *= weighing[:, None]
        norms = lengths * (error.abs() if way.for_each else error.norm(dim=2, keepdim=True))
        own = bound / math.sqrt(error.shape[2]) if way.for_each else bound
        clipped = error * (own / norms.clamp_min(1e-12)).clamp_max(1.0)
        drawn = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        total = torch.einsum("nf,nrh->frh", split.x, clipped) + noise * bound * drawn
        weights = weights + steps.step(total / homes)
        average += weights * (step >= STEPS // 2) / (STEPS - STEPS // 2)
        if way.quantile:
            told = torch.randn(runs, 1, generator=generator, dtype=torch.float64) * count_noise
            share = ((norms <= own).sum(0) + told) / homes
            bound = bound * torch.exp(-way.speed * (share - way.quantile))
    return average.numpy()


def aucs(split: Split, weights: Array) -> float:
    """Mean over runs and heads, on homes that did not train."""
    scores = np.einsum("nf,frh->nrh", split.unseen, weights)
    heads, runs = range(scores.shape[2]), range(scores.shape[1])
    return float(np.mean([auc(scores[:, run, head], split.answers[:, head]) for head in heads for run in runs]))


def judged(where: Sequence[Split], way: Way, noise: float, begin: Begin, runs: int) -> Array:
    """AUC in each split."""
    return np.array([aucs(split, trained(split, way, noise, begin, runs)) for split in where])


def ways() -> dict[str, list[Way]]:
    """All that is tried of each kind."""
    return {
        "one bound": [Way(*pair) for pair in product(BOUNDS, RATES)],
        "a bound for each head": [Way(*pair, for_each=True) for pair in product(BOUNDS, RATES)],
        "a bound that adapts": [
            Way(1.0, rate, quantile=quantile, speed=speed)
            for rate, quantile, speed in product(RATES, QUANTILES, SPEEDS)
        ],
        "momentum": [Way(*pair, momentum=0.5) for pair in product(FEW_BOUNDS, RATES)],
        "Adam": [Way(*pair, adam=True) for pair in product(FEW_BOUNDS, ADAM_RATES)],
        "answers weighed by public shares": [Way(*pair, weighed=True) for pair in product(FEW_BOUNDS, RATES)],
    }


def compared(
    name: str, chosen_on: Sequence[Split], judged_on: Sequence[Split], begin: Begin, runs: int
) -> Iterator[Result]:
    """Each kind's best way beside the best with one bound."""
    for epsilon in EPSILONS:
        noise = multiplier(epsilon)
        score = partial(judged, noise=noise, begin=begin, runs=runs)
        best = {kind: max(tried, key=lambda way: score(chosen_on, way).mean()) for kind, tried in ways().items()}
        found = {kind: score(judged_on, way) for kind, way in best.items()}
        plain = found.pop("one bound")
        print(f"epsilon {epsilon:g}, {name}, one bound: AUC {plain.mean():.4f}, {best['one bound']}")
        for kind, values in found.items():
            gain, error = (values - plain).mean(), (values - plain).std(ddof=1) / math.sqrt(len(plain))
            print(f"epsilon {epsilon:g}, {name}, {kind}: {gain:+.4f} ± {2 * error:.4f}, {best[kind]}")
            what = f"AUC with {kind}, epsilon {epsilon:g}, {name}"
            yield Result(what, values.mean(), "of AUC", "one bound's", values.mean() / plain.mean())


def over_weeks(splits: int) -> Iterator[Result]:
    """AUC of a fit without privacy to features that are averaged over weeks, as a study's `feature_weeks` does it."""
    homes = calibration.simulate(Period(calibration.WEEK.start, 7 * max(WEEKS)), scale=SCALE / 2, seed=CHOSEN_ON)
    weeks = [class22(homes.kwh[:, day : day + 7].astype(float)) for day in range(0, 7 * max(WEEKS), 7)]
    base = 0.0
    for count in WEEKS:
        x, _ = averaged(contract(CLASS22), weeks[:count])
        found = []
        for number, answer in product(range(splits), homes.answers.values()):
            order = np.random.default_rng(number).permutation(len(x))
            mine, rest = order[:TRAINING], order[TRAINING:]
            weights = fitted(x[mine], answer[mine])
            found.append(auc(x[rest] @ weights[:-1], answer[rest].astype(float)))
        value = float(np.mean(found))
        base = base or value
        yield Result(f"AUC, mean features of {count} week(s), no privacy", value, "of AUC", "one week's", value / base)


def measure(quick: bool) -> Iterator[Result]:
    """Homes as simulated from zero; and homes that use more than the public ones, from what those lead to; weeks."""
    runs, count = (2, 1) if quick else (4, 2)
    public = simulated(SCALE, PUBLIC)
    basis = Basis.of(public.x)
    ends = np.stack([basis.into(fitted(public.x, answer)) for answer in public.answers.values()], axis=1)
    shares = torch.tensor([float(answer.mean()) for answer in public.answers.values()], dtype=torch.float64)
    starts = {"from zero": (1.0, np.zeros_like(ends)), "from simulated homes": (LOAD_SINCE, ends)}
    for name, (level, start) in starts.items():
        chosen_on, judged_on = (splits(seeds, basis, level, count) for seeds in ((CHOSEN_ON,), JUDGED_ON))
        yield from compared(name, chosen_on, judged_on, Begin(torch.from_numpy(start), shares), runs)
    yield from over_weeks(count + 1)


if __name__ == "__main__":
    run(__doc__ or "", measure)
