# SPDX-License-Identifier: Apache-2.0
"""What is believed of presence by a narrow prior, with small chances that all of its sds are far too small.

Each of `Planning.presence_multiples` is a prior of its own; data under it have an evidence, which says how much it
counts. A posterior is the mixture of theirs, told by its mean and variance.
"""

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.planning import Planning

Array = NDArray[np.float64]
_LEAST = 1e-30  # variance of a number that says nothing, as nothing was expected or seen


def posterior(off: Array, design: Array, prior: Array, error: Array) -> tuple[Array, Array, Array]:
    """Posterior mean and variance of b ~ N(0, prior) from `off` = design b + N(0, error), and the log of the evidence.

    All arrays broadcast; `prior` and `error` are variances.
    """
    total = np.maximum(prior * design**2 + error, _LEAST)
    gain = prior * design / total
    return gain * off, prior * (1 - gain * design), -0.5 * (off**2 / total + np.log(total))


def weights_of(planning: Planning, evidence: Array) -> Array:
    """Weights of the multiples from the logs of the evidence for each [F, ...]; they add up to one along the first."""
    chances = np.array([chance for _, chance in planning.presence_multiples])
    logarithms = np.log(chances).reshape(-1, *[1] * (evidence.ndim - 1)) + evidence
    weights = np.exp(logarithms - logarithms.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def mixed(weight: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of a mixture from those of its parts, all of shape [F, ...]."""
    whole = (weight * mean).sum(axis=0)
    return whole, (weight * (variance + (mean - whole) ** 2)).sum(axis=0)
