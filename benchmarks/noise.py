# SPDX-License-Identifier: Apache-2.0
"""Discrete Gaussian noise on a coarse grid and at a study's own scale, beside OpenDP's and the bare keystream.

The keystream, one 64-bit word a sample, bounds any sampler; the floating-point Gaussian shows what exactness costs.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import opendp.prelude as dp

from skyglow_shared.privacy.noise import SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, interleaved, per_cpu_second, run

WANTED = {100: 30e6, SIGMA_STEPS: 15e6}  # samples per CPU-second, by sigma
FASTER_THAN_OPENDP = 200.0
_UNIT = "samples per CPU-second"
_CHUNK = 1 << 14
_STANDARD_ERRORS = 6.0


def _stream() -> ByteStream:
    return ByteStream(os.urandom(KEY_BYTES))


def _ours(sigma: int, size: int) -> Callable[[], object]:
    return lambda: discrete_gaussian(_stream(), size, sigma=sigma)


def _opendp(sigma: int, size: int) -> Callable[[], object]:
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    mechanism, zeros = dp.m.make_gaussian(*space, scale=float(sigma)), [0] * size
    return lambda: mechanism(zeros)


def _keystream(size: int) -> None:
    stream = _stream()
    for _ in range(0, size, _CHUNK):
        stream.words(_CHUNK)


def accuracy(sigma: int, size: int) -> float:
    """Worst of the errors of mean, variance, skewness and kurtosis of `size` draws, in standard errors."""
    z = discrete_gaussian(_stream(), size, sigma=sigma) / sigma
    wanted = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # moments of a Gaussian, and their variances
    return max(abs(float((z**k).mean()) - mean) / (variance / size) ** 0.5 for k, (mean, variance) in wanted.items())


def measure(quick: bool) -> Sequence[Result]:
    """Samples per CPU-second, side by side."""
    ours, theirs = (1_000_000, 10_000) if quick else (10_000_000, 100_000)
    turns = {
        "keystream": per_cpu_second(lambda: _keystream(ours), ours),
        "float": per_cpu_second(lambda: np.random.default_rng().standard_normal(ours), ours),
    }
    for sigma in WANTED:
        turns[f"ours {sigma}"] = per_cpu_second(_ours(sigma, ours), ours)
        turns[f"opendp {sigma}"] = per_cpu_second(_opendp(sigma, theirs), theirs)
    rates = interleaved(turns, repeats=3 if quick else 9)
    return [
        *(result for sigma in reversed(WANTED) for result in _compared(sigma, rates, accuracy(sigma, ours))),
        Result("bare keystream, one word a sample", rates["keystream"], _UNIT, "itself", 1.0),
        Result("floating-point Gaussian (insecure)", rates["float"], _UNIT, "itself", 1.0),
    ]


def _compared(sigma: int, rates: dict[str, float], error: float) -> Iterator[Result]:
    name, rate = f"discrete Gaussian, sigma {sigma:,}", rates[f"ours {sigma}"]
    yield Result(name, rate, _UNIT, "OpenDP", rate / rates[f"opendp {sigma}"], FASTER_THAN_OPENDP)
    yield Result(name, rate, _UNIT, f"the {WANTED[sigma] / 1e6:g} million wanted", rate / WANTED[sigma], 1.0)
    yield Result(name, rate, _UNIT, "the bare keystream", rate / rates["keystream"])
    yield Result(name, rate, _UNIT, "the floating-point Gaussian", rate / rates["float"])
    allowed = f"the {_STANDARD_ERRORS:g} allowed"
    yield Result(f"{name}: moments", error, "standard errors off at worst", allowed, _STANDARD_ERRORS / error, 1.0)


if __name__ == "__main__":
    run("Discrete Gaussian noise beside OpenDP's, in one run.", measure)
