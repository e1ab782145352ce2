# SPDX-License-Identifier: Apache-2.0
"""What is believed of presence by a narrow prior, with small chances that all of its sds are far too small.

Each of `Planning.presence_multiples` is a prior of its own; data under it have an evidence, which says how much it
counts. A posterior is the mixture of theirs. Its variance does not say how wide an interval has to be: a part twenty
times as wide that has one chance in a hundred makes it five times as large, and hardly moves the 95 % in the middle.
`width` does.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.results import QUANTILE

Array = NDArray[np.float64]
_LEAST = 1e-30  # variance, or deviation, of a number that says nothing, as nothing was expected or seen
_INSIDE = 0.95
_HALVINGS = 30  # of the longest half-width there may be: to one in a thousand million of it


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
    """Mean of a mixture and the square of its `width`, from means and variances of its parts, all of shape [F, ...]."""
    whole = np.asarray((weight * mean).sum(axis=0))
    return whole, width(weight, mean - whole, variance) ** 2


def width(weight: Array, off: Array, variance: Array) -> Array:
    """How wide a mixture is: the standard deviation of a normal distribution whose 95 % in the middle are as wide.

    Parameters
    ----------
    weight : ndarray, shape (F, ...)
        Of the parts; they add up to one.
    off : ndarray, shape (F, ...)
        How far each part's mean lies from the middle, which is the mixture's mean.
    variance : ndarray, shape (F, ...)
        Of each part.
    """
    deviation, apart = np.sqrt(np.maximum(variance, 0.0)), np.abs(off)
    high = (apart + QUANTILE * deviation).max(axis=0)  # no part has more than a twentieth beyond it
    unit = np.maximum(deviation, _LEAST)
    low = np.zeros_like(high)
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        inside = ndtr((half - apart) / unit) - ndtr((-half - apart) / unit)
        enough = (weight * inside).sum(axis=0) >= _INSIDE
        high, low = np.where(enough, half, high), np.where(enough, low, half)
    return np.asarray(high / QUANTILE)
