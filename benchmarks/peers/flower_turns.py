# SPDX-License-Identifier: Apache-2.0
"""What both measurements of Flower's SecAgg+ have in common: its grid, the same vectors, a turn for each line."""

import json
import sys
from collections.abc import Callable

import numpy as np

CLIP, LEVELS = 8.0, 1 << 22
#: One round: vectors and threshold to CPU seconds of all sides, and the mean's largest error in quantisation steps.
Turn = Callable[[list[np.ndarray], int], dict[str, float]]


def error(mean: np.ndarray, vectors: list[np.ndarray]) -> float:
    """How far a mean is off at worst, in quantisation steps."""
    return float(np.abs(mean - np.mean(vectors, axis=0)).max() / (2 * CLIP / LEVELS))


def take(turn: Turn) -> None:
    """Take a turn for each line read: ``PROGRAM SUPPLIERS WORDS THRESHOLD``."""
    count, words, threshold = (int(argument) for argument in sys.argv[1:4])
    drawn = np.random.default_rng(7)
    vectors = [drawn.uniform(-CLIP / 2, CLIP / 2, words) for _ in range(count)]
    for _ in sys.stdin:
        print(json.dumps(turn(vectors, threshold)), flush=True)
