# SPDX-License-Identifier: Apache-2.0
"""The four workloads, their data and their first weights: NumPy only, for every program here to read alike.

The label is the sign of a smooth function of 48 values; every client's rows come from the same population, so that
which clients a simulator happens to draw hardly matters to what it learns.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

FEATURES, HIDDEN = 48, 32
LEARNING_RATE = 0.5
_TEST_ROWS = 20_000

Array = NDArray[np.float32]
Train = Callable[["Workload", int, int], tuple[float, Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Workload:
    """Federated averaging, one epoch a round; `clip` and `noise` as in the central Gaussian mechanism, 0 for none."""

    clients: int
    rows: int
    cohort: int
    batch: int
    clip: float = 0.0
    noise: float = 0.0


WORKLOADS = {
    "W1": Workload(clients=1000, rows=50, cohort=50, batch=10),
    "W2": Workload(clients=10, rows=2000, cohort=10, batch=100),
    "W3": Workload(clients=5000, rows=20, cohort=50, batch=10),
    "W4": Workload(clients=1000, rows=50, cohort=50, batch=10, clip=1.0, noise=1.0),
}


@cache
def training_rows(workload: Workload) -> tuple[Array, Array]:
    """Features `[clients, rows, 48]` and labels `[clients, rows, 1]`; made once in a process."""
    features, labels = _draw(1, workload.clients * workload.rows)
    shape = workload.clients, workload.rows, -1
    return features.reshape(shape), labels.reshape(shape)


def test_rows() -> tuple[Array, Array]:
    """Features `[20000, 48]` and labels `[20000, 1]` that nobody trains on."""
    return _draw(2, _TEST_ROWS)


def first_weights() -> tuple[Array, Array, Array, Array]:
    """Weights `[48, 32]`, bias `[32]`, weights `[32, 1]`, bias `[1]` that every simulator begins from."""
    random, sizes = np.random.default_rng(3), (FEATURES, FEATURES, HIDDEN, HIDDEN)
    shapes = ((FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,))
    drawn = [random.uniform(-1, 1, shape) / size**0.5 for shape, size in zip(shapes, sizes, strict=True)]
    first, bias, second, last = (part.astype(np.float32) for part in drawn)
    return first, bias, second, last


def _draw(seed: int, count: int) -> tuple[Array, Array]:
    direction = np.random.default_rng(0).standard_normal((FEATURES, 1)) / FEATURES**0.5
    features = np.random.default_rng(seed).standard_normal((count, FEATURES), dtype=np.float32)
    return features, (features @ direction > 0).astype(np.float32)


def report(train: Train, copies: int = 1) -> None:
    """Run `train` for the two lengths of the command line, after each other, and print what was measured as JSON.

    `train` takes the workload, a number of rounds and a seed, and returns its seconds, over the number of copies it
    trains, and the accuracy that each came to. A round takes the difference of the two over the difference in length;
    one more of the short length warms up. `SEED` in the environment is the seed, and `SEEDS` how many runs of the long
    length there are in all, each with the next one: those after the first are for their accuracy, and not timed.
    """
    workload, short, long = WORKLOADS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    seed, seeds = (int(os.environ.get(name, "1")) for name in ("SEED", "SEEDS"))
    train(workload, short, seed)
    marks = [time.process_time()]
    (before, _), (after, accuracies) = (_marked(train, workload, rounds, seed, marks) for rounds in (short, long))
    cpu = (marks[2] - marks[1]) - (marks[1] - marks[0])
    more, ended = long - short, time.time()
    further = [one for number in range(1, seeds) for one in train(workload, long, seed + number)[1]]
    figures = Figures(
        round=(after - before) / more,
        rounds=copies * (2 * short + long),
        accuracies=[*accuracies, *further],
        cpu=cpu / more / copies,
        apart=time.process_time() - marks[2],
        ended=ended,
    )
    publish(figures)


def _marked(
    train: Train, workload: Workload, rounds: int, seed: int, marks: list[float]
) -> tuple[float, Sequence[float]]:
    figures = train(workload, rounds, seed)
    marks.append(time.process_time())
    return figures


@dataclass(frozen=True)
class Figures:
    """What a program measured of itself.

    Attributes
    ----------
    round : float
        Seconds of a round.
    rounds : int
        Those run altogether, but for runs that were not timed.
    accuracies : sequence of float
        Seed by seed.
    ended : float
        When the last timed round had ended.
    cpu : float
        Seconds of processor time of a round where one process does all, else 0.
    apart : float
        Likewise of all the runs that were not timed.
    """

    round: float
    rounds: int
    accuracies: Sequence[float]
    ended: float
    cpu: float = 0.0
    apart: float = 0.0


def publish(figures: Figures) -> None:
    """Print them as the last line of output."""
    print("\n" + json.dumps(asdict(figures)), flush=True)
