# SPDX-License-Identifier: Apache-2.0
"""What privacy costs a model: ranking of unseen homes (AUC) with household-level privacy beside none.

Real homes, where they are at hand (1,744 Irish ones, one week's 22 features and a survey): 4-fold cross-validation,
five questions, epsilon 1 and 0.5 at delta 1e-5, everything that is released counted, by the exact integer path of every
study. Bounds of features are round public numbers. Models begin at zero, or where training on simulated homes ended,
which costs nothing. So does the basis in which all are trained: simulated homes' mean is taken away and directions in
which they differ little are stretched, so that a home's clipped vector is spent on what tells homes apart. The
optimiser's settings are the same for all questions and levels; they, too, were chosen on simulated homes.

Simulated homes: all in one place, and divided among ever more suppliers in both trust modes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_client.features.class22 import class22
from skyglow_shared.privacy.accounting import Event, study_cost
from skyglow_shared.privacy.randomness import Randomness
from skyglow_shared.privacy.release import add_noise, grouped_sum, step_size
from skyglow_shared.study import Block
from skyglow_simulations.population import calibration
from skyglow_simulations.population.calibration_models import fitted, logistic_scores
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.report.summary import auc

Array = NDArray[np.float64]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real" / calibration.IRISH
DELTA, FOLDS, STEPS, RATE, CLIP = 1e-5, 4, 20, 6.0, 1.0
#: How far directions are stretched, from 0 to 1, and what is added to their variance before, in shares of the mean one.
STRETCH, LEAST = 0.5, 0.1
#: The largest loss of AUC allowed at each epsilon: mean of all questions, and of any.
GOALS = {1.0: (0.015, 0.025), 0.5: (0.03, 0.045)}
#: Irish homes of 2009 used about half as much again as British ones do.
IRISH_LEVEL = 1.5

#: How the file gives each feature, and round bounds of what it then is: kW, half-hours, counts, ratios.
ROOTS = (1, 2, 3, 12, 16, 19, 20)
LOGARITHMS = (17, 18)
NEVER_IS_ZERO = (8, 9)
KILOWATTS = (0, 1, 2, 3, 4, 5, 6, 11, 12)
LOW = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 0, -2, -2, 0, 0, 0], dtype=float)
HIGH = np.array([2, 2, 1.5, 1.2, 2, 2, 2, 40, 48, 48, 48, 8, 1, 10, 30, 30, 1.5, 2, 3, 1.5, 1, 2], dtype=float)


@dataclass(frozen=True, slots=True)
class Homes:
    """Features within [-1, 1] by public bounds, shape (homes, 22), and answers by question, each (homes,)."""

    x: Array
    answers: dict[str, NDArray[np.bool_]]


def bounded(features: Array) -> Array:
    """Features as the file gives them, scaled by their public bounds; the middle where unknown."""
    known = np.where(np.isfinite(features), features, (LOW + HIGH) / 2)
    return np.asarray(np.clip(2 * (known - LOW) / (HIGH - LOW) - 1, -1, 1))


def irish(path: Path) -> Homes:
    """The real homes."""
    features, answers = calibration.irish(path)
    return Homes(bounded(features), answers)


def simulated(scale: float, seed: int, level: float = 1.0) -> Homes:
    """Simulated homes with the same features and questions, their load multiplied by `level`."""
    homes = calibration.simulate(calibration.WEEK, scale=scale, seed=seed)
    features = class22(homes.kwh.astype(float))
    features[:, KILOWATTS] *= level
    features[:, 16] *= level**2
    features[:, ROOTS] = np.sqrt(np.maximum(features[:, ROOTS], 0))
    features[:, LOGARITHMS] = np.log(np.maximum(features[:, LOGARITHMS], 1e-6))
    features[:, NEVER_IS_ZERO] = np.where(features[:, NEVER_IS_ZERO] >= 48, 0, features[:, NEVER_IS_ZERO])
    return Homes(bounded(features), homes.answers)


def multiplier(epsilon: float) -> float:
    """Least noise multiplier at which all steps together cost at most `epsilon`."""
    low, high = 1.0, 1000.0
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        cost = study_cost([Event(middle, 1.0, STEPS, 23)], DELTA).epsilon_upper
        low, high = (middle, high) if cost > epsilon else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class Basis:
    """Another basis of the features, from public homes: ``(x - centre) @ turn``.

    Attributes
    ----------
    centre : ndarray, shape (22,)
    turn : ndarray, shape (22, 22)
        Invertible.
    """

    centre: Array
    turn: Array

    @classmethod
    def of(cls, x: Array) -> "Basis":
        """The basis that homes `x` suggest."""
        variance, directions = np.linalg.eigh(np.cov(x.T))
        return cls(x.mean(axis=0), directions * (variance + LEAST * variance.mean()) ** (-STRETCH / 2))

    def design(self, x: Array) -> Array:
        """Features in this basis, and ones."""
        return np.column_stack([(x - self.centre) @ self.turn, np.ones(len(x))])

    def into(self, weights: Array) -> Array:
        """The weights that give in this basis what `weights` give for bounded features; the bias last."""
        return np.append(np.linalg.solve(self.turn, weights[:-1]), weights[-1] + self.centre @ weights[:-1])

    def back(self, weights: Array) -> Array:
        """The other way round."""
        own = self.turn @ weights[:-1]
        return np.append(own, weights[-1] - self.centre @ own)


@dataclass(frozen=True, slots=True)
class Begin:
    """What is public when training begins: weights for bounded features, and a basis."""

    weights: Array
    basis: Basis


def private(
    parts: Sequence[tuple[Array, NDArray[np.bool_]]], noise: float, share: float, begin: Begin, randomness: Randomness
) -> Array:
    """Train on homes of one or more holders; each adds `share` of the noise whose multiplier is `noise`."""
    block = Block(name="gradient", source="gradient", model="m", l2_bound=CLIP, noise_multiplier=noise * share)
    designs = [begin.basis.design(x) for x, _ in parts]
    homes = sum(len(x) for x, _ in parts)  # public, as a study's expected_homes is
    weights = begin.basis.into(begin.weights)
    average = np.zeros_like(weights)
    for step in range(STEPS):
        total = np.zeros(len(weights))
        for holder, (design, (_, y)) in enumerate(zip(designs, parts, strict=True)):
            error = 1 / (1 + np.exp(-design @ weights)) - y
            exact = grouped_sum(error[:, None] * design, np.zeros(len(y), dtype=np.int64), 1, block)
            total += add_noise(exact, randomness.stream("noise", holder, step))[0] * step_size(block)
        weights = weights - RATE * total / homes
        average += weights * (step >= STEPS // 2) / (STEPS - STEPS // 2)
    return begin.basis.back(average)


def cross_validated(
    homes: Homes, question: str, seed: int, train: Callable[[Array, NDArray[np.bool_]], Array]
) -> float:
    """Mean AUC over folds of a model trained on the others."""
    y = homes.answers[question]
    fold = np.random.default_rng(seed).permutation(np.arange(len(y)) % FOLDS)
    found = []
    for out in range(FOLDS):
        weights = train(homes.x[fold != out], y[fold != out])
        found.append(auc(homes.x[fold == out] @ weights[:-1] + weights[-1], y[fold == out].astype(float)))
    return float(np.mean(found))


def on_real_homes(path: Path, public: Homes, basis: Basis, repeats: int) -> Iterator[Result]:
    """Loss of AUC by level, with and without a start from simulated homes."""
    homes = irish(path)
    starts = {question: fitted(public.x, answer) for question, answer in public.answers.items()}
    free = {
        question: float(np.mean([cross_validated(homes, question, seed, fitted) for seed in range(repeats)]))
        for question in homes.answers
    }
    print("AUC without privacy: " + ", ".join(f"{name} {value:.3f}" for name, value in free.items()))
    raw = {name: auc(logistic_scores(homes.x, answer), answer.astype(float)) for name, answer in homes.answers.items()}
    print("the same, pooled over folds: " + ", ".join(f"{name} {value:.3f}" for name, value in raw.items()))
    for name, begin in (("from simulated homes", starts), ("from zero", dict.fromkeys(starts, np.zeros(23)))):
        for epsilon, (mean_goal, worst_goal) in GOALS.items():
            noise = multiplier(epsilon)
            losses = {
                question: free[question] - mean_auc(homes, question, noise, Begin(begin[question], basis), repeats)
                for question in homes.answers
            }
            print(f"epsilon {epsilon:g}, {name}: " + ", ".join(f"{key} {loss:.3f}" for key, loss in losses.items()))
            mean, worst = float(np.mean(list(losses.values()))), max(losses.values())
            yield Result(
                f"mean loss, epsilon {epsilon:g}, {name}",
                mean,
                "of AUC",
                "what is allowed",
                mean_goal / max(mean, 1e-9),
                1.0,
            )
            yield Result(
                f"largest loss, epsilon {epsilon:g}, {name}",
                worst,
                "of AUC",
                "what is allowed",
                worst_goal / max(worst, 1e-9),
                1.0,
            )


def mean_auc(homes: Homes, question: str, noise: float, begin: Begin, repeats: int) -> float:
    """AUC of the private model, mean over repeats with their own folds and noise."""

    def once(seed: int) -> float:
        fold = iter(range(FOLDS))

        def train(x: Array, y: NDArray[np.bool_]) -> Array:
            randomness = SeededRandomness(seed, f"{question}-{noise}-{next(fold)}")
            return private([(x, y)], noise, 1.0, begin, randomness)

        return cross_validated(homes, question, seed, train)

    return float(np.mean([once(seed) for seed in range(repeats)]))


def on_suppliers(basis: Basis, repeats: int) -> Iterator[Result]:
    """AUC on simulated homes at epsilon 1: in one place, and among suppliers that trust nobody or add securely."""
    city, noise = simulated(0.04, 78), multiplier(1.0)
    y, training, begin = city.answers["Retired"], 1850, Begin(np.zeros(23), basis)

    def mean(suppliers: int, honest: int) -> tuple[float, float]:
        values = []
        for seed in range(repeats):
            order = np.random.default_rng(seed).permutation(len(y))
            parts = [(city.x[rows], y[rows]) for rows in np.array_split(order[:training], suppliers)]
            randomness = SeededRandomness(seed, f"{suppliers}-{honest}")
            weights = private(parts, noise, honest**-0.5, begin, randomness)
            rest = order[training:]
            values.append(auc(city.x[rest] @ weights[:-1] + weights[-1], y[rest].astype(float)))
        return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(repeats))

    central, error = mean(1, 1)
    print(f"all homes in one place: AUC {central:.3f} ± {2 * error:.3f}")
    for suppliers in (2, 5, 10, 20):
        local, _ = mean(suppliers, 1)
        together, own_error = mean(suppliers, suppliers)
        print(f"{suppliers} suppliers: local {local:.3f}, aggregate {together:.3f} ± {2 * own_error:.3f}")
        gap, allowed = abs(central - together), 3 * float(np.hypot(error, own_error))
        yield Result(
            f"AUC, aggregate among {suppliers}, from one place",
            gap,
            "apart",
            "three standard errors",
            allowed / max(gap, 1e-9),
            1.0,
        )
        yield Result(f"AUC lost by local among {suppliers}", central - local, "of AUC", "none", 0.0)


def measure(quick: bool) -> Sequence[Result]:
    """Real homes where they are at hand, then simulated ones."""
    repeats = 4 if quick else 20
    public = simulated(0.06, 77, IRISH_LEVEL)
    basis = Basis.of(public.x)
    if REAL.is_file():
        real = list(on_real_homes(REAL, public, basis, repeats))
    else:
        print(f"skipped: {calibration.IRISH} is not at hand; it is given on request by its archive")
        real = []
    return [*real, *on_suppliers(basis, max(6, repeats))]


if __name__ == "__main__":
    run(__doc__ or "", measure)
