# SPDX-License-Identifier: Apache-2.0
"""How much more somebody is home than the meters say, from the noised sums of the diary homes.

A diary home sends r: coefficients of its diary's presence less those of its meter's *on the same days*. What is common
to diary and meter, above all whether the home stood empty, cancels, so that r is about half as long as the diary's
own coefficients and its mean half as uncertain. With R the sums of r, n those of homes, for each day type and
component::

    R = n (r0 + s (ρ - ρ0)) + e,    ρ_weekday, ρ_weekend ~ N(ρ0, prior),    e: sampling and noise

ρ is what has to be added to the mean of all meters: a difference estimator. Of what reads presence it is known
(`readers`) that it is off by ρ0 where homes are of such kinds, that r0 is what homes send of it under the bound on r,
and that s is left of what ρ lies elsewhere. The prior is narrow, with a chance of a far wider one that the sums decide
on. How much homes differ in r as it is sent is measured too, by the sum of all r².

Slope. If the meters tell homes apart too little or too much, r goes with the home's own profile z; the block has the
sum of r z of the first component for it::

    Σ r z - R Z = s (b - 1) n σ_z² + e',    b ~ N(slope, slope_deviation²)

with the same chance of a far wider prior: a reader that is off in the mean tells homes apart otherwise too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import BlockSum
from skyglow_server.estimation.multiples import mixed, posterior, weights_of
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.readers import Reader

Array = NDArray[np.float64]
_BELIEF = 0.7  # how far off, relatively, the planned variance of r may be
_LEAST = 0.25  # of it, however little noise leaves of the squares: a bound makes it so small, homes hardly do


@dataclass(frozen=True, slots=True)
class DiaryModel:
    """How far the gap is from the known one, ρ - ρ0.

    Attributes
    ----------
    shift : ndarray, shape (2, K)
    parts : dict of str to ndarray, shape (2, K)
        Its variance by source.
    slope, slope_variance : float
    weight : ndarray, shape (F,)
        Of the priors that it may come from (`multiples`).
    off, variance : ndarray, shape (F, 2, K)
        Under each of them, how far it lies from `shift`, and its variance.
    """

    shift: Array
    parts: dict[str, Array]
    slope: float
    slope_variance: float
    weight: Array
    off: Array
    variance: Array


def diary_model(
    block: BlockSum, lack: float, all_homes: Array, known: Array, *, reader: Reader, planning: Planning
) -> DiaryModel:
    """Fit gap and slope.

    Parameters
    ----------
    block : BlockSum
        Values [1, 2 (1 + K) + 2], see `skyglow_shared.layout`.
    lack : float
        By how much the block's `l2_bound` is shorter than the profile of a home that stands empty; 0 if it is not.
    all_homes : ndarray, shape (2, K)
        Z: mean profile coefficients over all metered homes.
    known : ndarray, shape (2, K)
        ρ0: what is known of the gap where homes are of such kinds, see `Reader.gap_at`.
    reader : Reader
        Of the profiles.
    planning : Planning
        Likewise.
    """
    components = all_homes.shape[1]
    sums, noises = (numbers[:-2].reshape(2, 1 + components) for numbers in (block.values[0], block.deviation**2))
    count, total, noise = np.maximum(sums[:, 0], 0.0), sums[:, 1:], noises[:, 1:]
    one_home = _variance_of_a_home(block, count, reader)
    likely = np.tile(planning.by_component(planning.presence_model_deviation, components), (2, 1))
    sent, beyond, left = reader.sent(known, lack)
    gaps_alike, homes_alike = (
        planning.first_alike(first, components) for first in (planning.gap_alike, planning.residual_alike)
    )
    sampling = _both_day_types(np.sqrt(count[:, None] * one_home), homes_alike)
    privacy = _both_day_types(np.sqrt(noise + noises[:, :1] * (likely**2 + sent**2)), np.zeros(components))
    whole, seen = total - count[:, None] * sent, left * count
    times = np.array([time for time, _ in planning.presence_multiples])
    fits = [_fit(whole, seen, _both_day_types(time * likely, gaps_alike), sampling, privacy) for time in times]
    spread = reader.profile_deviation[:, 0] ** 2
    cross = float(block.values[0, -1] - total[:, 0] @ all_homes[:, 0])
    error = count @ (one_home[:, 0] * spread) + block.deviation[-1] ** 2 + noise[:, 0] @ all_homes[:, 0] ** 2
    known_slope, design = float(reader.slope[0, 0]), left * (count @ spread)
    prior = (times * planning.slope_deviation) ** 2
    slopes, variances, evidence = posterior(cross - (known_slope - 1) * design, design, prior, error)
    weight = weights_of(planning, evidence + np.array([fit.evidence for fit in fits]))
    shifts = np.stack([fit.shift for fit in fits])
    shift = np.einsum("f,fak->ak", weight, shifts)
    parts = {
        name: np.einsum("f,fak->ak", weight, np.stack([fit.parts[name] for fit in fits])) for name in fits[0].parts
    }
    off = shifts - shift
    own = np.stack([sum(fit.parts.values(), np.zeros_like(shift)) for fit in fits])
    parts["public mean curve"] += np.einsum("f,fak->ak", weight, off**2)
    gain = np.einsum("f,fkab->kab", weight, np.stack([fit.gain for fit in fits]))
    doubt = np.linalg.norm(beyond, axis=1, keepdims=True) / (4 * np.sqrt(components))  # in whichever component
    parts["bound on diaries"] = np.einsum("kab,bk->ak", gain, count[:, None] * np.tile(doubt, (1, components))) ** 2
    steeper, variance = mixed(weight, slopes, variances)
    return DiaryModel(shift, parts, known_slope + float(steeper), float(variance), weight, off, own)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Under one prior: posterior mean [2, K], its variance by source, gain [K, 2, 2], and the log of the evidence."""

    shift: Array
    parts: dict[str, Array]
    gain: Array
    evidence: float


def _fit(whole: Array, seen: Array, prior: Array, sampling: Array, privacy: Array) -> _Fit:
    """Posterior of ρ - ρ0 under a normal prior, from s n (ρ - ρ0) measured with errors."""
    design = np.diag(seen)
    total = design @ prior @ design + sampling + privacy
    gain = prior @ design @ np.linalg.inv(total)
    parts = {
        "diary sampling": _variances(gain, sampling),
        "privacy noise of diaries": _variances(gain, privacy),
        "public mean curve": _variances(np.eye(2) - gain @ design, prior),
    }
    length = np.einsum("ak,kab,bk->", whole, np.linalg.inv(total), whole)
    evidence = -0.5 * (length + np.linalg.slogdet(total)[1].sum())
    return _Fit(np.einsum("kab,bk->ak", gain, whole), parts, gain, float(evidence))


def _both_day_types(deviation: Array, alike: Array) -> Array:
    """Covariance matrices [K, 2, 2] of weekday and weekend from standard deviations [2, K] and correlations [K]."""
    correlation = np.where(np.eye(2, dtype=np.bool_), 1.0, alike[:, None, None])
    return np.asarray(np.einsum("ak,bk,kab->kab", deviation, deviation, correlation))


def _variances(gain: Array, covariance: Array) -> Array:
    """Diagonals of G C Gᵀ, [2, K]."""
    return np.asarray(np.einsum("kab,kbc,kac->ak", gain, covariance, gain), dtype=np.float64)


def _variance_of_a_home(block: BlockSum, count: Array, reader: Reader) -> Array:
    """Variance [2, K] of r between homes: as known of the reader, times what the noised sum of all r² says of it."""
    planned = reader.diary_deviation**2
    expected = max(float(count @ planned.sum(axis=1)), 1e-9)
    weight = (_BELIEF * expected) ** 2 / ((_BELIEF * expected) ** 2 + float(block.deviation[-2]) ** 2)
    return np.asarray(planned * max(1 + weight * (float(block.values[0, -2]) / expected - 1), _LEAST))
