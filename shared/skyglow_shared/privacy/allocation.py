# SPDX-License-Identifier: Apache-2.0
"""The privacy curve of an epoch in which every home is in exactly one of its rounds, drawn at random.

One home more or less is told apart no better than by one look at T numbers of deviation σ: all of mean 0, or one of
them, drawn at random, of mean 1 (Chua et al. 2025, *Balls-and-Bins Sampling for DP-SGD*, for queries chosen one after
another). The likelihood ratio is the mean of T independent lognormals rₜ = exp(yₜ), yₜ ~ N(-1/2σ², 1/σ²), of mean 1.

Both hockey-stick divergences of the pair, E(L - e^ε)₊ and E(1 - e^ε L)₊, are expectations of convex functions of that
mean under the law without the home. Moving probability apart within a bin, its mean kept, can only raise them; moving
it together can only lower them. So each lognormal is put on a grid of its logarithm bin by bin, to the bin's two edges
(upper end) or to its mean (lower end); sums of independent parts keep the order, and are put on a grid again. The error
is of second order in the bin's width. What is cut off above leaves the mean short of 1 by so much: that is charged as
if it told everything (Doroshenko et al. 2022 call it connecting the dots).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

Array = NDArray[np.float64]

_BIN = 0.02  # width of a bin, in standard deviations of what is summed
_REACH = 12.0  # of a single number: what is beyond has probability under 1e-32
_LEAST = 1e-30  # probability that may be cut off a sum at either end


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A law of the likelihood ratio.

    Attributes
    ----------
    values : ndarray of float64, shape (outcomes,)
        Rising; the first may be zero.
    chances : ndarray of float64, shape (outcomes,)
        Probabilities without the home; with it they are these times the values.
    """

    values: Array
    chances: Array


@lru_cache(maxsize=64)
def ratio(noise_multiplier: float, rounds: int, *, pessimistic: bool) -> Ratio:
    """A law that both divergences of one epoch's are no greater than (`pessimistic`), or no less.

    Parameters
    ----------
    noise_multiplier : float
        Noise over sensitivity in each round.
    rounds : int
        Of the epoch.
    pessimistic : bool
    """
    part, whole = _single(1 / noise_multiplier, pessimistic), None
    terms, left = 1, rounds
    while left:
        if left % 2:
            whole = part if whole is None else _sum(whole, part, _width(noise_multiplier, rounds), pessimistic)
        left //= 2
        if left:
            terms *= 2
            part = _sum(part, part, _width(noise_multiplier, terms), pessimistic)
    assert whole is not None  # noqa: S101 - an epoch has a round
    return Ratio(whole.values / rounds, whole.chances)


def losses(
    noise_multiplier: float, rounds: int, interval: float, *, pessimistic: bool
) -> privacy_loss_distribution.PrivacyLossDistribution:
    """The privacy loss distribution of one epoch, for composition with others of the same interval.

    Notes
    -----
    At the upper end the ratio is once more moved apart, to whole multiples of the interval, so that no loss is rounded.
    What the values lack of a mean of one is probability with the home alone, and zero is a value without it alone:
    infinite losses.
    """
    law = ratio(noise_multiplier, rounds, pessimistic=pessimistic)
    positive = law.values > 0
    values, chances = law.values[positive], law.chances[positive]
    place = np.floor(np.log(values) / interval)
    if pessimistic:
        low, high = np.exp(place * interval), np.exp((place + 1) * interval)
        upward = chances * np.clip((values - low) / (high - low), 0.0, 1.0)
        place, values = np.concatenate([place, place + 1]), np.concatenate([low, high])
        chances = np.concatenate([chances - upward, upward])
    lost = max(0.0, 1.0 - float(law.chances @ law.values)) if pessimistic else 0.0
    return privacy_loss_distribution.PrivacyLossDistribution.create_from_rounded_probability(
        _gathered(place, chances * values),
        lost,
        interval,
        pessimistic,
        _gathered(-place if pessimistic else -place - 1, chances),
        float(law.chances[~positive].sum()) if pessimistic else 0.0,
        symmetric=False,
    )


def _gathered(places: Array, chances: Array) -> dict[int, float]:
    """Probability by place, where there is any."""
    found, index = np.unique(places, return_inverse=True)
    total = np.bincount(index, chances)
    return {int(place): float(chance) for place, chance in zip(found, total, strict=True) if chance > 0}


def renyi(noise_multiplier: float, rounds: int, orders: Array) -> tuple[Array, float]:
    """Rényi divergences of one epoch at some orders, the larger of both directions, and the delta that they leave out.

    Notes
    -----
    Outcomes that one of the two laws lacks are kept out of the divergence and go into delta (Bun & Steinke 2016,
    Definition 8.1 and Lemma 8.2: such bounds add up as divergences do).
    """
    law = ratio(noise_multiplier, rounds, pessimistic=True)
    kept = (law.values > 0) & (law.chances > 0)
    log_chance, log_value = np.log(law.chances[kept]), np.log(law.values[kept])
    left_out = max(0.0, 1.0 - float(law.chances @ law.values)) + float(law.chances[~kept].sum())
    moments = np.maximum(
        logsumexp(log_chance + orders[:, None] * log_value, axis=1),
        logsumexp(log_chance + (1 - orders[:, None]) * log_value, axis=1),
    )
    return np.maximum(moments, 0.0) / (orders - 1), left_out


def _width(noise_multiplier: float, terms: int) -> float:
    """Width of a bin of the logarithm of a sum of so many lognormals."""
    spread = 1 / noise_multiplier
    return _BIN * min(spread, math.sqrt(math.expm1(min(spread**2, 50.0)) / terms))


def _single(spread: float, pessimistic: bool) -> Ratio:
    """One lognormal of mean 1, whose logarithm has deviation `spread`."""
    width = _BIN * spread
    least = -(spread**2) / 2 - _REACH * spread
    edges = least + width * np.arange(math.ceil((spread**2 + 2 * _REACH * spread) / width) + 1)
    cuts = np.concatenate([[-np.inf], edges, [np.inf]])
    chances, moments = (_between((cuts + shift) / spread) for shift in (spread**2 / 2, -(spread**2) / 2))
    return _binned(np.exp(edges), chances, moments, pessimistic)


def _between(cuts: Array) -> Array:
    """Probabilities of a standard normal between cuts, with all their digits in both tails."""
    return np.where(cuts[:-1] > 0, -np.diff(ndtr(-cuts)), np.diff(ndtr(cuts)))


def _sum(one: Ratio, other: Ratio, width: float, pessimistic: bool) -> Ratio:
    """The law of the sum of two independent parts, on a grid of its logarithm."""
    lowest, highest = (_ends(one)[end] + _ends(other)[end] for end in (0, 1))
    edges = math.log(lowest) + width * np.arange(math.ceil(math.log(highest / lowest) / width) + 1)
    chances, moments = np.zeros(len(edges) + 1), np.zeros(len(edges) + 1)
    for value, chance in zip(one.values, one.chances, strict=True):
        total, joint = value + other.values, chance * other.chances
        with np.errstate(divide="ignore"):
            place = np.floor((np.log(total) - edges[0]) / width).clip(-1, len(edges) - 1).astype(np.int64) + 1
        chances += np.bincount(place, joint, len(chances))
        moments += np.bincount(place, joint * total, len(chances))
    return _binned(np.exp(edges), chances, moments, pessimistic)


def _binned(edges: Array, chances: Array, moments: Array, pessimistic: bool) -> Ratio:
    """Probabilities and first moments of the bins below, between and above edges, at the edges or at the bins' means.

    Apart, the bin below goes to zero and the first edge, and the one above to the last edge, short of its mean.
    """
    if not pessimistic:
        some = chances > 0
        return Ratio(moments[some] / chances[some], chances[some])
    low, high = np.concatenate([[0.0], edges[:-1]]), edges
    to_high = np.clip((moments[:-1] - chances[:-1] * low) / (high - low), 0.0, chances[:-1])
    found = np.concatenate([chances[:-1] - to_high, [chances[-1]]])
    found[1:] += to_high
    return Ratio(np.concatenate([[0.0], edges]), found)


def _ends(law: Ratio) -> tuple[float, float]:
    """Between which positive values all but a tiny part of either law's probability is."""
    positive = law.values > 0
    values, chances = law.values[positive], law.chances[positive]
    below = np.cumsum(chances)
    above = np.cumsum((chances * np.maximum(values, 1.0))[::-1])[::-1]
    first = int(np.searchsorted(below, _LEAST))
    last = int(np.flatnonzero(above > _LEAST)[-1])
    return float(values[first]), float(values[max(last, first + 1)])
