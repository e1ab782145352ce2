# SPDX-License-Identifier: Apache-2.0
"""A workload on the stacked simulator; `COPIES` in the environment trains that many seeds at once, on `DEVICE`."""

import math
import os
import time

import torch
from workloads import HIDDEN, LEARNING_RATE, Workload, first_weights, report, test_rows, training_rows

from skyglow_simulations.stacked import Rows, Setting, Weights, accuracy, train

COPIES, DEVICE = int(os.environ.get("COPIES", "1")), os.environ.get("DEVICE", "cpu")


def run(workload: Workload, rounds: int, seed: int) -> tuple[float, list[float]]:
    """Seconds a copy, and accuracy of each at the end; their seeds follow each other."""
    features, labels = (torch.from_numpy(part) for part in training_rows(workload))
    settings = [
        Setting(
            clients=workload.clients,
            rows=workload.rows,
            cohort=workload.cohort,
            rounds=rounds,
            batch=workload.batch,
            learning_rate=LEARNING_RATE,
            hidden=HIDDEN,
            clip=workload.clip or math.inf,
            noise=workload.noise,
            seed=seed * COPIES + copy,
        )
        for copy in range(COPIES)
    ]
    begun = time.perf_counter()
    weights = tuple(part.cpu() for part in train(settings, Rows(features, labels), start=_start(), device=DEVICE))
    seconds = (time.perf_counter() - begun) / len(settings)
    wanted = Rows(*(torch.from_numpy(part)[None] for part in test_rows()))
    return seconds, accuracy(weights, wanted).tolist()


def _start() -> Weights:
    first, bias, second, last = (torch.from_numpy(part) for part in first_weights())
    return torch.cat([first, bias[None]])[None], second[None], last[None, None]


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(run, COPIES)
