# SPDX-License-Identifier: Apache-2.0
"""Discrete Gaussian noise at a study's own scale: ours, OpenDP's, and the bare keystream that bounds any sampler."""

import os
from collections.abc import Sequence

import numpy as np
import opendp.prelude as dp
from benchmarks.common import Result, interleaved, per_cpu_second, run

from skyglow_shared.privacy.noise import SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream

FASTER_THAN_OPENDP = 20.0


def _stream() -> ByteStream:
    return ByteStream(os.urandom(KEY_BYTES))


def accuracy(size: int) -> float:
    """Worst of the errors of mean, variance, skewness and kurtosis of `size` draws, in standard errors."""
    z = discrete_gaussian(_stream(), size) / SIGMA_STEPS
    wanted = {
        1: (0.0, 1.0),
        2: (1.0, 2.0),
        3: (0.0, 15.0),
        4: (3.0, 96.0),
    }  # moments of a Gaussian, and their variances
    return max(abs(float((z**k).mean()) - mean) / (variance / size) ** 0.5 for k, (mean, variance) in wanted.items())


def measure(quick: bool) -> Sequence[Result]:
    """Samples per CPU-second, side by side."""
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    peer = dp.m.make_gaussian(*space, scale=float(SIGMA_STEPS))
    ours, theirs = (1_000_000, 10_000) if quick else (10_000_000, 100_000)
    zeros = [0] * theirs
    rates = interleaved(
        {
            "ours": per_cpu_second(lambda: discrete_gaussian(_stream(), ours), ours),
            "opendp": per_cpu_second(lambda: peer(zeros), theirs),
            "keystream": per_cpu_second(lambda: _stream().words(2 * ours), ours),
            "float": per_cpu_second(lambda: np.random.default_rng().standard_normal(ours), ours),
        },
        repeats=3 if quick else 9,
    )
    error = accuracy(ours)
    unit = "samples per CPU-second"
    return [
        Result(
            "discrete Gaussian noise",
            rates["ours"],
            unit,
            "OpenDP",
            rates["ours"] / rates["opendp"],
            FASTER_THAN_OPENDP,
        ),
        Result("OpenDP's discrete Gaussian", rates["opendp"], unit, "OpenDP", 1.0),
        Result(
            "bare keystream, two words a sample", rates["keystream"], unit, "ours", rates["keystream"] / rates["ours"]
        ),
        Result("floating-point Gaussian (insecure)", rates["float"], unit, "ours", rates["float"] / rates["ours"]),
        Result("moments", error, "standard errors off at worst", "the 6 allowed", 6.0 / error, 1.0),
    ]


if __name__ == "__main__":
    run("Discrete Gaussian noise beside OpenDP's, in one run.", measure)
