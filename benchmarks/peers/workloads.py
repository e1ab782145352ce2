# SPDX-License-Identifier: Apache-2.0
"""The four workloads, their data and their first weights: NumPy only, for every program here to read alike.

The label is the sign of a smooth function of 48 values; every client's rows come from the same population, so that
which clients a simulator happens to draw hardly matters to what it learns.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

FEATURES, HIDDEN = 48, 32
LEARNING_RATE = 0.5
_TEST_ROWS = 20_000

Array = NDArray[np.float32]


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


def report(train: Callable[[Workload, int], tuple[float, float]], copies: int = 1) -> None:
    """Run `train` for the two lengths of the command line, after each other, and print what was measured as JSON.

    `train` takes the workload and a number of rounds, and returns its seconds, over the number of copies it trains, and
    the accuracy it came to. A round takes the difference of the two over the difference in length; one more of the
    short length warms up.
    """
    workload, short, long = WORKLOADS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    train(workload, short)
    marks = [time.process_time()]
    (before, _), (after, accuracy) = (_marked(train, workload, rounds, marks) for rounds in (short, long))
    cpu = (marks[2] - marks[1]) - (marks[1] - marks[0])
    more = long - short
    publish((after - before) / more, copies * (2 * short + long), accuracy, cpu / more / copies)


def _marked(
    train: Callable[[Workload, int], tuple[float, float]], workload: Workload, rounds: int, marks: list[float]
) -> tuple[float, float]:
    figures = train(workload, rounds)
    marks.append(time.process_time())
    return figures


def publish(seconds_a_round: float, rounds: int, accuracy: float, cpu_a_round: float = 0.0) -> None:
    """Print the seconds of a round, the rounds run altogether, and the accuracy, as the last line of output.

    `cpu_a_round` is the processor time of a round where one process does all, else 0.
    """
    figures = {"round": seconds_a_round, "rounds": rounds, "accuracy": accuracy, "cpu": cpu_a_round}
    print("\n" + json.dumps({**figures, "ended": time.time()}), flush=True)
