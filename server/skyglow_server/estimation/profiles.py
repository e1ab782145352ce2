# SPDX-License-Identifier: Apache-2.0
"""Mean presence profiles of areas, by their meters: noised sums of MSOAs, and what kinds of homes areas have.

Along each of the reader's axes by itself, district by district: homes of a kind differ along them independently, over
weekdays and weekends together, and the noise is the same along each. With x_a the old census's shares of composition
classes and of residents in employment, less the district's::

    Z_a = μ + x_a β + v_MSOA + u_a,    β ~ N(β0, mix²), v ~ N(0, msoa²), u ~ N(0, lsoa² + home²/N_a), μ unknown

β0, msoa and lsoa are known of the reader. A MSOA's noised sum over its noised count measures the household-weighted
mean of its LSOAs' Z_a, with an error from the noise and one from which homes have a meter. Everything is normal, so
that the Z_a given all sums, their means over MSOAs and the district, and all covariances are a matter of linear
algebra; levels agree by construction. Areas may differ far more than planned, or go otherwise with their kinds of
homes: a second, wider set of deviations has a small chance, which the sums raise or lower.

The bound on a home's profile would make all means too high, for it is homes that stood empty for days that it shortens.
How far they went beyond it is a number of its own in the block; its mean, from that and from what is known of the
reader, is given back to all areas of a district. What that leaves is known of the reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import LEAST_NOISES, LEVELS, AreaTable, BlockSum, added
from skyglow_server.estimation.multiples import mixed, posterior, weights_of
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.readers import Reader
from skyglow_server.estimation.results import Level
from skyglow_shared.models.presence import PresenceBasis

Array = NDArray[np.float64]
_NOBODY = 1e-6  # of a household, so that there is one
_UNKNOWN = 0.3  # sd of μ: as good as nothing known


@dataclass(frozen=True, slots=True)
class AreaMeans:
    """Mean profile coefficients [areas, 2, K], and their variance along the reader's axes by source, each [areas, 2 K].

    `beyond` [areas] is the variance, along an empty home's profile, of what is given back of homes beyond the bound.
    """

    mean: Array
    noise: Array
    frame: Array
    model: Array
    beyond: Array


@dataclass(frozen=True, slots=True)
class _Sums:
    """Measured means of MSOAs along the axes [M, 2 K], and the variances of their errors; infinite where unknown.

    `beyond` [districts] is the variance of what they have in common of what was given back.
    """

    mean: Array
    noise: Array
    frame: Array
    beyond: Array


def area_means(
    areas: AreaTable,
    scores: BlockSum,
    profiles: BlockSum,
    basis: PresenceBasis,
    *,
    lack: float,
    reader: Reader,
    planning: Planning,
) -> tuple[Mapping[Level, AreaMeans], Array]:
    """Means of all areas of every level, and of all homes [2, K].

    Parameters
    ----------
    areas : AreaTable
    scores : BlockSum
        Of source ``area_score``: its first column counts metered homes by LSOA.
    profiles : BlockSum
        Of source ``area_profile``.
    basis : PresenceBasis
    lack : float
        By how much the bound on profiles is shorter than the profile of a home that stands empty; 0 if it is not.
    reader : Reader
    planning : Planning
    """
    sums = _measured(areas, scores, profiles, basis, lack=lack, reader=reader, planning=planning)
    found = {level: np.zeros((4, len(areas.areas(level)), len(reader.lengths))) for level in LEVELS}
    district_of = {level: areas.places("LAD", of=level) for level in LEVELS}
    for place in range(len(areas.areas("LAD"))):
        rows = {level: np.flatnonzero(districts == place) for level, districts in district_of.items()}
        part = areas.part(district_of["LSOA"] == place)
        own = _district(part, sums, rows["MSOA"], reader=reader, planning=planning)
        for level in LEVELS:
            for into, values in zip(found[level], own[level], strict=True):
                into[rows[level]] = values
    share = areas.totals("LAD", areas.households) / areas.households.sum()
    means = {}
    for level in LEVELS:
        mean, noise, frame, model = found[level]
        coefficients = (mean @ reader.directions).reshape(-1, *basis.empty.shape)
        means[level] = AreaMeans(coefficients, noise, frame, model, sums.beyond[district_of[level]])
    return means, np.einsum("d,dtk->tk", share, means["LAD"].mean)


def _measured(
    areas: AreaTable,
    scores: BlockSum,
    profiles: BlockSum,
    basis: PresenceBasis,
    *,
    lack: float,
    reader: Reader,
    planning: Planning,
) -> _Sums:
    """Means of MSOAs along the axes from noised sums and counts, what the bound cut off given back on average."""
    directions = reader.directions
    households, homes = areas.totals("MSOA", areas.households), areas.totals("MSOA", scores.values[:, 0])
    count_error = scores.deviation[0] * np.sqrt(areas.totals("MSOA", np.ones(len(areas.households))))
    known = homes > LEAST_NOISES * count_error
    metered = np.where(known, np.minimum(homes, households), 1.0)
    raw = profiles.values[:, :-1] @ directions.T / metered[:, None]
    noise = profiles.deviation[:-1] ** 2 @ directions.T**2 / metered[:, None] ** 2
    typical = np.median(np.abs(raw), axis=0)
    noise = noise + (typical * count_error[:, None] / metered[:, None]) ** 2
    frame = reader.lengths**2 * np.maximum(1 / metered - 1 / households, 0.0)[:, None]
    lad = areas.places("LAD", of="MSOA")
    empty = basis.towards_empty.ravel()
    total, held, sums, squares = (
        added(lad, np.where(known, column, 0.0))
        for column in (
            metered,
            profiles.values[:, :-1] @ empty,
            profiles.values[:, -1],
            profiles.deviation[-1] ** 2,
        )
    )
    expected = lack * reader.beyond_at(held / np.maximum(total, 1.0))
    beyond, variance = _beyond(total, sums, squares, expected=expected, planning=planning)
    mean = raw + beyond[lad][:, None] * (directions @ empty) + directions @ reader.short.ravel() * lack
    seen = known[:, None]
    return _Sums(np.where(seen, mean, 0.0), np.where(seen, noise, np.inf), np.broadcast_to(frame, raw.shape), variance)


def _beyond(homes: Array, sums: Array, noise: Array, *, expected: Array, planning: Planning) -> tuple[Array, Array]:
    """Posterior mean and variance, by district, of how far homes go beyond the bound, from noised sums over homes.

    `noise` is the variance of the noise in the sums. What is expected is believed as `Planning` says, with small
    chances of being off by far.
    """
    times = np.array([[time] for time, _ in planning.presence_multiples])
    prior = (times * planning.presence_beyond_deviation * expected) ** 2
    means, variances, evidence = posterior(sums - homes * expected, homes, prior, noise)
    farther, variance = mixed(weights_of(planning, evidence), means, variances)
    return expected + farther, variance


def _district(
    part: AreaTable, sums: _Sums, msoas: NDArray[np.intp], *, reader: Reader, planning: Planning
) -> dict[Level, Array]:
    """Mean, and variance from noise, from homes without a meter, and from the model, of every level of a district."""
    kinds = further_kinds_of(part)
    kinds = kinds - part.weights("LAD") @ kinds
    fits = [
        _fit(part, kinds, sums, msoas, times=times, reader=reader, planning=planning)
        for times, _ in planning.presence_multiples
    ]
    weight = weights_of(planning, np.array([evidence for _, evidence in fits]))
    found = {}
    for level in LEVELS:
        every = np.stack([values[level] for values, _ in fits])
        found[level] = np.einsum("f,f...->...", weight, every)
        found[level][3] += np.einsum("f,f...->...", weight, (every[:, 0] - found[level][0]) ** 2)
    return found


def _fit(
    part: AreaTable,
    kinds: Array,
    sums: _Sums,
    msoas: NDArray[np.intp],
    *,
    times: float,
    reader: Reader,
    planning: Planning,
) -> tuple[dict[Level, Array], float]:
    """What `_district` finds if areas differ so many times as much as planned, and the log of the evidence for it."""
    inside = part.membership("MSOA")
    weights = {level: part.weights(level) for level in LEVELS}
    to_msoa = weights["MSOA"]
    effects = reader.effects(kinds.shape[1])
    mix = (times * planning.presence_mix_deviation) ** 2 * np.square(effects).mean(axis=0)
    msoa, lsoa = (times * reader.msoa_deviation) ** 2, (times * reader.lsoa_deviation) ** 2
    alike, near, likely = kinds @ kinds.T, inside.T @ inside, kinds @ effects
    single = lsoa + reader.lengths**2 / part.households[:, None]  # variance of one LSOA's own
    found = {level: np.zeros((4, len(rows), len(mix))) for level, rows in weights.items()}
    evidence = 0.0
    for axis in range(len(mix)):
        prior = _UNKNOWN**2 + mix[axis] * alike + msoa[axis] * near + np.diag(single[:, axis])
        noise, frame, mean = (values[msoas, axis] for values in (sums.noise, sums.frame, sums.mean))
        seen = np.isfinite(noise)
        noise, frame, rows_seen = noise[seen], frame[seen], to_msoa[seen]
        mean = mean[seen] - rows_seen @ likely[:, axis]
        across = prior @ rows_seen.T
        total = rows_seen @ across + np.diag(noise + frame)
        gain = np.linalg.solve(total, across.T).T
        evidence -= 0.5 * float(mean @ np.linalg.solve(total, mean) + np.linalg.slogdet(total)[1])
        left = prior - gain @ across.T
        for level, rows in weights.items():
            own = rows @ gain
            from_noise, from_frame = np.square(own) @ noise, np.square(own) @ frame
            whole = np.einsum("la,la->l", rows @ left, rows)
            from_model = np.maximum(whole - from_noise - from_frame, 0.0)
            values = (rows @ likely[:, axis] + own @ mean, from_noise, from_frame, from_model)
            for into, value in zip(found[level], values, strict=True):
                into[:, axis] = value
    return found, evidence


def kinds_of(areas: AreaTable) -> Array:
    """Of LSOAs: old shares [A, 6 or 7] of composition classes and, where known, of residents in employment.

    A LSOA in which the old census found nobody has everybody's composition.
    """
    kinds = _shares(areas.counts)
    return kinds if areas.employed is None else np.column_stack([kinds, areas.employed])


def further_kinds_of(areas: AreaTable) -> Array:
    """The same [A, 6, 7 or 11], and where all is known of households of two, three, four, and five or more people."""
    kinds = kinds_of(areas)
    if areas.employed is None or areas.sizes is None:
        return kinds
    sizes = _shares(areas.sizes)
    return np.column_stack([kinds, sizes[:, 1:4], sizes[:, 4:].sum(axis=1)])


def _shares(counts: Array) -> Array:
    """Shares of households, by row."""
    overall = counts.sum(axis=0)
    filled = counts + _NOBODY * overall / overall.sum()
    return np.asarray(filled / filled.sum(axis=1, keepdims=True))
