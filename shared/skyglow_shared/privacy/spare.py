# SPDX-License-Identifier: Apache-2.0
"""Noise that is there for dropouts alone, and how it is taken out of a sum that nobody dropped out of.

Of K suppliers d may drop out and c tell the office all they know. If nobody drops out, the noise of K - c honest
shares is in a sum, and each share needs but 1/(K - c) of what is charged. For dropouts each has d/(K - d - c) of that
beside it: its *spare* noise, drawn from a key of its own. Once every supplier has proof that all K are in the sum, each
tells its key, and the office takes that noise out of the sum again::

    nobody drops out:   (K - c) shares, 1 each                          = K - c
    d drop out:         (K - d - c) shares, 1 + d/(K - d - c) each      = K - c

(Jiang, Wang & Chen, "Dordis: Efficient federated learning with dropout-resilient differential privacy", EuroSys 2024,
for the case that nobody drops out.)
"""

import math

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.privacy.noise import SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream, Randomness
from skyglow_shared.study import Study


def spare_steps(study: Study) -> int:
    """Standard deviation of the spare noise in every number of a share, in grid steps; 0 where none may drop out."""
    lost = study.aggregation
    if lost is None or not lost.dropouts:
        return 0
    square = -(-lost.dropouts * SIGMA_STEPS**2 // (study.noise_shares - lost.dropouts))
    return math.isqrt(square - 1) + 1


def draw_key(study: Study, randomness: Randomness, *label: str | int) -> bytes:
    """Draw the key of one share's spare noise; empty where there is none."""
    return randomness.stream("spare", *label).read(KEY_BYTES) if spare_steps(study) else b""


def spare_noise(study: Study, key: bytes, numbers: int) -> NDArray[np.int64]:
    """One share's spare noise, shape (numbers,): the same for the same key; zeros for an empty one.

    Privacy
    -------
    Whoever has the key can take this noise out of any sum that it is in. A supplier tells it for one sum, which all
    suppliers are in, and takes part in no other of the round (`secagg.supplier.Confirmed.unmask`).
    """
    if not key:
        return np.zeros(numbers, dtype=np.int64)
    return discrete_gaussian(ByteStream(key), numbers, sigma=spare_steps(study))


def deviation_steps(study: Study, shares: int, spares: int) -> float:
    """Standard deviation in grid steps of the noise in a sum of so many shares, with so many of their spares."""
    return math.sqrt(shares * SIGMA_STEPS**2 + spares * spare_steps(study) ** 2)
