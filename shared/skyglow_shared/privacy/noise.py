# SPDX-License-Identifier: Apache-2.0
"""Discrete Gaussian noise on integers by inverse CDF over 128-bit thresholds.

Every block of every study is put on a grid on which its noise has the same standard deviation, `SIGMA_STEPS`, so one
table serves all. Probabilities are exp(-k²/2σ²)/Σ (Canonne, Kamath & Steinke, "The discrete Gaussian for differential
privacy", 2020), computed in 256-bit integer arithmetic and rounded to multiples of 2⁻¹²⁸; nothing is floating point.

The distance to the ideal distribution is at most `DISTANCE_PER_SAMPLE` for each number drawn; the accountant adds it to
delta.
"""

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.privacy.randomness import ByteStream

#: Standard deviation of every block's noise, in steps of the block's grid.
SIGMA_STEPS = 1 << 16

#: Total-variation distance to the ideal, per number drawn: table length × 2⁻¹²⁸, the arithmetic's error and the tails.
DISTANCE_PER_SAMPLE = 2.0**-100

_PRECISION = 256
_TAIL_SIGMAS = 14  # P(|X| > 14σ) < 2⁻¹⁴⁰
_CHUNK = 1 << 18


def discrete_gaussian(stream: ByteStream, size: int, *, sigma: int = SIGMA_STEPS) -> NDArray[np.int64]:
    """Draw `size` independent discrete Gaussians of standard deviation `sigma` (in steps).

    Parameters
    ----------
    stream : ByteStream
        Source of uniform 64-bit words: two a number.
    size : int
        How many.
    sigma : int
        Parameter of the distribution; at least 3, so that variance and parameter agree to 1e-30.

    Returns
    -------
    ndarray of int64, shape (size,)

    Privacy
    -------
    Adding these to integers of Euclidean sensitivity Δ steps is a Gaussian mechanism of noise multiplier sigma/Δ, up to
    `DISTANCE_PER_SAMPLE` a number.
    """
    high, low, tail = _thresholds(sigma)
    result = np.empty(size, dtype=np.int64)
    for start in range(0, size, _CHUNK):
        words = stream.words(2 * min(_CHUNK, size - start)).reshape(2, -1)
        index = np.searchsorted(high, words[0], side="right")
        index -= _overshoot(high, low, words, index)
        result[start : start + _CHUNK] = index - tail
    return result


def _overshoot(
    high: NDArray[np.uint64], low: NDArray[np.uint64], words: NDArray[np.uint64], index: NDArray[np.intp]
) -> NDArray[np.intp]:
    """How far the first words alone went too far: thresholds with the same high word but a greater low word."""
    steps = np.zeros_like(index)
    for place in np.flatnonzero((index > 0) & (high[np.maximum(index, 1) - 1] == words[0])):
        last = index[place] - 1
        while last >= 0 and high[last] == words[0, place] and low[last] > words[1, place]:
            steps[place] += 1
            last -= 1
    return steps


@lru_cache(maxsize=4)
def _thresholds(sigma: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64], int]:
    """Cumulative probabilities of -tail … tail - 1 as 128-bit numbers, split in two words.

    A uniform 128-bit u gives the first k with u < cumulative(k); what is left above the last threshold is k = tail.
    """
    if sigma < 3:
        raise ValueError("sigma must be at least 3 grid steps")
    tail = _TAIL_SIGMAS * sigma
    weights = _weights(sigma, tail)
    total = 2 * sum(weights) - weights[0]
    cumulative, high, low = 0, np.empty(2 * tail, np.uint64), np.empty(2 * tail, np.uint64)
    for place, k in enumerate(range(-tail, tail)):
        cumulative += weights[abs(k)]
        threshold = min((cumulative << 128) // total, (1 << 128) - 1)
        high[place], low[place] = threshold >> 64, threshold & ((1 << 64) - 1)
    return high, low, tail


def _weights(sigma: int, tail: int) -> list[int]:
    """exp(-k²/2σ²) for k = 0 … tail in fixed point, by the recurrence w(k+1) = w(k)·r(k), r(k+1) = r(k)·q."""
    guard = 64 + 2 * tail.bit_length()
    bits = _PRECISION + guard
    ratio = _exp_minus(1, 2 * sigma * sigma, bits)
    square = (ratio * ratio) >> bits
    weight, weights = 1 << bits, []
    for _ in range(tail + 1):
        weights.append(weight >> guard)
        weight = (weight * ratio) >> bits
        ratio = (ratio * square) >> bits
    return weights


def _exp_minus(numerator: int, denominator: int, bits: int) -> int:
    """exp(-numerator/denominator) × 2^bits by its Taylor series in integers; the argument is at most 1."""
    term, total, n = 1 << bits, 1 << bits, 0
    while term:
        n += 1
        term = term * numerator // (denominator * n)
        total += -term if n % 2 else term
    return total


def sensitivity_steps(noise_multiplier: float) -> int:
    """Largest Euclidean norm, in whole steps, that one home may move a sum by: floor(SIGMA_STEPS / multiplier)."""
    return int(SIGMA_STEPS // Fraction(noise_multiplier))
