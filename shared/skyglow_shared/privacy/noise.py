# SPDX-License-Identifier: Apache-2.0
"""Discrete Gaussian noise on integers, exact to 2⁻¹⁰⁰, most of it by one look into a small table.

Every block of every study is put on a grid on which its noise has the same standard deviation, `SIGMA_STEPS`, so one
table serves all. Probabilities are exp(-k²/2σ²)/Σ (Canonne, Kamath & Steinke, "The discrete Gaussian for differential
privacy", 2020), computed in 256-bit integer arithmetic; thresholds are multiples of 2⁻¹²⁸; nothing is floating point.

The method is inversion with a guide table over a mixture (Devroye, *Non-Uniform Random Variate Generation*, 1986,
II.4 and III.2). The integers are cut into blocks of one narrow width. The part of the law that is flat within a block
is a rectangle as high as the block's least likely integer: a block, and a uniform place in it. What all rectangles
leave over is the wedge, less than a hundredth of the law: it is inverted integer by integer. Below 128 steps blocks are
single integers and there is no wedge. The first 16 bits of a random word nearly always decide the block; where they do
not, the whole word does, and where that equals a threshold's first word (never, in practice) a second word.

The distance to the ideal distribution is at most `DISTANCE_PER_SAMPLE` a number; the accountant adds it to delta.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.privacy.randomness import ByteStream

#: Standard deviation of every block's noise, in steps of the block's grid.
SIGMA_STEPS = 1 << 16

#: Total-variation distance to the ideal, per number released, be its noise of one draw or of two (`privacy.spare`): of
#: each thresholds × 2⁻¹²⁸, the arithmetic's error and the tails, together below a thirtieth of this.
DISTANCE_PER_SAMPLE = 2.0**-100

#: No number drawn is further from zero than so many standard deviations: P(|X| ≥ 14σ) < 2⁻¹⁴⁰.
TAIL_SIGMAS = 14

_PRECISION = 256
_LARGEST_SIGMA = 1 << 20  # a table of 29 million integers
_BLOCKS_PER_SIGMA_BITS = 7
_GUIDE_BITS = 16
_UNDECIDED = np.iinfo(np.int32).min
_CHUNK = 1 << 14  # what stays in the processor's cache


def discrete_gaussian(stream: ByteStream, size: int, *, sigma: int = SIGMA_STEPS) -> NDArray[np.int64]:
    """Draw `size` independent discrete Gaussians of standard deviation `sigma` (in steps).

    Parameters
    ----------
    stream : ByteStream
        Source of uniform 64-bit words. The same stream and size give the same numbers; two calls of half the size
        need not give the same as one.
    size : int
        How many.
    sigma : int
        Parameter of the distribution; at least 3, so that variance and parameter agree to 1e-30; at most 2²⁰.

    Returns
    -------
    ndarray of int64, shape (size,)

    Privacy
    -------
    Adding these to integers of Euclidean sensitivity Δ steps is a Gaussian mechanism of noise multiplier sigma/Δ, up to
    `DISTANCE_PER_SAMPLE` a number. The time taken depends on the random words alone, never on the data: it tells about
    how many of the numbers took the slower way. Whoever watches the processor's caches may learn more of the noise.
    """
    tables = _tables(sigma)
    result = np.empty(size, dtype=np.int64)
    for start in range(0, size, _CHUNK):
        _fill(result[start : start + _CHUNK], stream, tables)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Thresholds:
    """Cumulative probabilities of all outcomes but the last, as 128-bit numbers, split in two words."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What the sampler looks up.

    Attributes
    ----------
    guide : ndarray of int32, shape (2**16,)
        By the first bits of a word: the first integer of the block they decide, or `_UNDECIDED`.
    blocks : _Thresholds
        Of the rectangles, in order, and the wedge last.
    wedge : _Thresholds or None
        Of the integers -tail … tail - 1, given the wedge. None where blocks are single integers.
    tail : int
        A multiple of the blocks' width.
    shift : int
        Blocks are 2**shift wide.
    """

    guide: NDArray[np.int32]
    blocks: _Thresholds
    wedge: _Thresholds | None
    tail: int
    shift: int


def _fill(part: NDArray[np.int64], stream: ByteStream, tables: _Tables) -> None:
    words = stream.words(part.size)
    part[:] = tables.guide.take((words >> np.uint64(64 - _GUIDE_BITS)).view(np.int64))
    undecided = np.flatnonzero(part == _UNDECIDED)
    block = _invert(tables.blocks, words[undecided], stream)
    part[undecided] = (block << tables.shift) - tables.tail
    if tables.wedge is not None:
        places = stream.words(-(-part.size // 4)).view("<u2")[: part.size]
        part += places & np.uint16((1 << tables.shift) - 1)
        rest = undecided[block == tables.blocks.high.size]
        part[rest] = _invert(tables.wedge, stream.words(rest.size), stream) - tables.tail


def _invert(thresholds: _Thresholds, words: NDArray[np.uint64], stream: ByteStream) -> NDArray[np.intp]:
    """How many thresholds are at most u, whose first words are given; second words are drawn where they matter."""
    high, low = thresholds.high, thresholds.low
    index = np.searchsorted(high, words, side="right")
    tied = np.flatnonzero(high[index - 1] == words)
    for place, second in zip(tied, stream.words(tied.size), strict=True):
        first = np.searchsorted(high, words[place], side="left")
        index[place] = first + np.searchsorted(low[first : index[place]], second, side="right")
    return index


@lru_cache(maxsize=4)
def _tables(sigma: int) -> _Tables:
    if not 3 <= sigma <= _LARGEST_SIGMA:
        raise ValueError("sigma must be at least 3 grid steps and at most 2²⁰")
    shift = max(0, sigma.bit_length() - _BLOCKS_PER_SIGMA_BITS)
    tail = -(-TAIL_SIGMAS * sigma >> shift) << shift
    weights = _weights(sigma, tail)
    masses = [*weights[:0:-1], *weights[:-1]]  # of -tail … tail - 1
    if not shift:
        blocks = _thresholds(masses)
        return _Tables(_guide(blocks, tail, shift), blocks, None, tail, shift)
    width = 1 << shift
    least = [min(masses[start], masses[start + width - 1]) for start in range(0, 2 * tail, width)]
    wedge = [mass - least[place >> shift] for place, mass in enumerate(masses)]
    blocks = _thresholds([*(mass << shift for mass in least), sum(wedge)])
    return _Tables(_guide(blocks, tail, shift), blocks, _thresholds(wedge), tail, shift)


def _guide(blocks: _Thresholds, tail: int, shift: int) -> NDArray[np.int32]:
    """Decide every word that begins with the same bits, if no threshold lies among them and it is not the wedge's."""
    first = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    last = first | np.uint64((1 << 64 - _GUIDE_BITS) - 1)
    block = np.searchsorted(blocks.high, first, side="left")
    decided = (block == np.searchsorted(blocks.high, last, side="right")) & (block << shift < 2 * tail)
    return np.where(decided, (block << shift) - tail, _UNDECIDED).astype(np.int32)


def _thresholds(masses: list[int]) -> _Thresholds:
    """Cumulative masses over their total, rounded down to 2⁻¹²⁸; the last outcome takes what is left."""
    total, largest = sum(masses), (1 << 128) - 1
    cumulative = (min((mass << 128) // total, largest) for mass in accumulate(masses[:-1]))
    words = np.frombuffer(b"".join(number.to_bytes(16, "little") for number in cumulative), dtype="<u8")
    return _Thresholds(high=words[1::2].copy(), low=words[::2].copy())


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
