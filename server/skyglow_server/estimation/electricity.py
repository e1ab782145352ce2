# SPDX-License-Identifier: Apache-2.0
"""Electricity use of an area's homes: mean kWh a home and day by part of the day, its median, and the share vacant.

An area has a noised count n of metered homes and noised sums of their mean kWh a day by part of the day, each home's
held to a public bound (`skyglow_shared.electricity`). A mean is a ratio r = Σu / n of them, so with noise τ in the sum
and ν in the count, and which homes have a meter, with S the spread between homes and N all households::

    Var r = (τ² + r² ν²) / n² + S² (1/n - 1/N)

Holding homes to the bound can only lower a mean: the noised share of homes that were held, times what such a home may
use beyond it (`HELD_EXCESS_KWH`, a planning constant), is added to the interval's upper end, in proportion to the
parts.

The median comes from noised counts by bin of the homes' kWh a day: the shares below each edge, made to rise, are
interpolated at one half, and its interval is where they pass one half less and more 1.96 of their deviation (Woodruff
1952). Where that leaves fewer than a tenth of homes on either side, as where noise exceeds the counts, the median may
be nearly anything, and is withheld as not available (`median_checks`).

Homes without a meter are taken to be like those with one; a vacant home draws next to nothing for the whole period
(`VACANT_KWH`), which presence by half-hour cannot tell from a home whose people are out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.disclosure.rules import MEDIAN_TOLD, Check
from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum, added, find, has
from skyglow_server.estimation.results import QUANTILE, Estimate, Level
from skyglow_shared.electricity import BOUND_KWH, EDGES_KWH, PARTS
from skyglow_shared.study import Study

Array = NDArray[np.float64]

TOPIC = "electricity_use"
ALL_DAY, MEDIAN, VACANT = "all day", "median", "vacant homes"
#: What homes held to the bound use beyond it, kWh a home and day: those with electric heating in winter, say.
HELD_EXCESS_KWH = 12.0
#: Standard deviation between homes over their mean, all day and of one part of it: at night some heat, most sleep.
HOMES_SPREAD, PART_SPREAD = 0.8, 1.2
_OF_MEDIAN = "privacy noise of use and homes without a meter"  # its interval is of both together
_OPEN_END_KWH = 80.0  # where the last bin is taken to end
_MOST_REACH = 0.4  # a median that may be anywhere between the lowest and the highest tenth of homes says nothing


@dataclass(frozen=True, slots=True)
class _Sums:
    """One level's sums of `area_use` [areas, columns], and the deviation of each column's noise there."""

    values: Array
    deviation: Array
    households: Array

    @property
    def homes(self) -> Array:
        """Metered homes; a count that noise may have made counts as one."""
        return np.maximum(self.values[:, 0], 1.0)

    def ratio(self, columns: slice) -> tuple[Array, Array]:
        """Mean over homes of the sum of some columns, and the variance that privacy noise gives it."""
        total = self.values[:, columns].sum(axis=1)
        mean = total / self.homes
        noise = np.square(self.deviation[:, columns]).sum(axis=1) + np.square(mean * self.deviation[:, 0])
        return mean, noise / self.homes**2

    def frame(self, spread: Array) -> Array:
        """Variance of a metered homes' mean around all homes', for a standard deviation between homes."""
        return np.asarray(np.square(spread) * np.maximum(1 / self.homes - 1 / self.households, 0.0))


def use_estimates(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> tuple[Estimate, ...]:
    """Everything that a study's blocks tell of electricity use, before any disclosure rule; see `VACANT` for its share.

    Raises
    ------
    RunError
        A sum is missing or misshapen.
    """
    found: list[Estimate] = []
    if has(study, "area_use"):
        block = find(study, sums, "area_use")
        for level in LEVELS:
            found.extend(_means(areas, level, block))
    return (*found, *_medians(areas, study, sums))


def _means(areas: AreaTable, level: Level, block: BlockSum) -> list[Estimate]:
    lsoas = areas.totals(level, np.ones_like(areas.households))
    deviation = np.sqrt(lsoas)[:, None] * block.deviation
    sums = _Sums(areas.totals(level, block.values), deviation, areas.totals(level, areas.households))
    last = 1 + len(PARTS)
    held = np.clip(sums.ratio(slice(last, last + 1))[0], 0.0, 1.0)
    whole = np.maximum(sums.ratio(slice(1, last))[0], 1e-9)
    found = []
    for group, columns in {
        ALL_DAY: slice(1, last),
        **{name: slice(k, k + 1) for k, name in enumerate(PARTS, 1)},
    }.items():
        mean, noise = sums.ratio(columns)
        spread = HOMES_SPREAD if group == ALL_DAY else PART_SPREAD
        frame = sums.frame(spread * np.maximum(mean, 0.0))
        beyond = held * HELD_EXCESS_KWH * np.clip(mean / whole, 0.0, 1.0) / BOUND_KWH
        found.extend(_named(areas, level, group, _Found(mean, noise, frame, beyond, BOUND_KWH)))
    share, noise = sums.ratio(slice(last + 1, last + 2))
    frame = sums.frame(np.sqrt(np.clip(share, 0.0, 1.0) * (1 - np.clip(share, 0.0, 1.0))))
    found.extend(_named(areas, level, VACANT, _Found(share, noise, frame, np.zeros_like(share), 1.0)))
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """Means of areas over `unit`, their variance by noise and by frame, and how much too low they may be."""

    mean: Array
    noise: Array
    frame: Array
    beyond: Array
    unit: float


def _named(areas: AreaTable, level: Level, group: str, found: _Found) -> list[Estimate]:
    most = 1.0 if group == VACANT else np.inf
    estimates = []
    for place, area in enumerate(areas.areas(level)):
        value, unit = float(found.mean[place]) * found.unit, found.unit
        parts = {
            "privacy noise of use": float(found.noise[place]) * unit**2,
            "homes without a meter": float(found.frame[place]) * unit**2,
        }
        deviation = sum(parts.values()) ** 0.5
        ends = value - QUANTILE * deviation, value + QUANTILE * deviation + float(found.beyond[place]) * unit
        low, middle, high = (float(np.clip(end, 0.0, most)) for end in (ends[0], value, ends[1]))
        figures = (middle, low, high)
        estimates.append(
            Estimate(*area, level, TOPIC, group, *figures, unclipped=value, deviation=deviation, parts=parts)
        )
    return estimates


def median_checks(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Iterator[Check]:
    """Whether the median of each MSOA and district says anything; nothing where a study asks for none."""
    for area, counts, noise, households in _histograms(areas, study, sums):
        reach = _reach(counts, noise, households)
        words = (
            f"the interval holds {100 * min(2 * reach, 1.0):.0f}% of homes, less than {200 * _MOST_REACH:.0f}% wanted"
        )
        yield Check(MEDIAN_TOLD, area[2], area[0], TOPIC, reach < _MOST_REACH, words, group=MEDIAN)


def _histograms(
    areas: AreaTable, study: Study, sums: Mapping[str, BlockSum]
) -> Iterator[tuple[tuple[str, str, Level], Array, float, float]]:
    """Area, noised counts by bin, their noise and all households, of the two levels that MSOAs can be added up to."""
    if not has(study, "area_use_histogram"):
        return
    block = find(study, sums, "area_use_histogram")
    for level in LEVELS[1:]:
        place = areas.places(level, of="MSOA")
        noise = block.deviation[0] * np.sqrt(np.bincount(place))
        of_level = zip(added(place, block.values), noise, areas.totals(level, areas.households), strict=True)
        for (code, name), (counts, own, households) in zip(areas.areas(level), of_level, strict=True):
            yield (code, name, level), counts, float(own), float(households)


def _medians(areas: AreaTable, study: Study, sums: Mapping[str, BlockSum]) -> Iterator[Estimate]:
    for area, counts, noise, households in _histograms(areas, study, sums):
        low, middle, high = median(counts, noise, households)
        sd = (high - low) / (2 * QUANTILE)
        figures = (middle, low, high)
        yield Estimate(*area, TOPIC, MEDIAN, *figures, unclipped=middle, deviation=sd, parts={_OF_MEDIAN: sd**2})


def median(counts: Array, noise: float, households: float) -> tuple[float, float, float]:
    """Lower end, median and upper end, in kWh a day, of noised counts by bin.

    Parameters
    ----------
    counts : ndarray, shape (bins,)
    noise : float
        Standard deviation of the noise in each.
    households : float
        All homes, metered or not.

    Returns
    -------
    tuple of float
        From zero to the end of the last bin where the counts tell nothing.
    """
    homes = float(counts.sum())
    edges = np.array([0.0, *EDGES_KWH, _OPEN_END_KWH])
    if _tell_nothing(counts, noise):
        return 0.0, float(np.interp(0.5, [0.0, 1.0], edges[[0, -1]])), _OPEN_END_KWH
    below = np.concatenate([[0.0], np.maximum.accumulate(np.clip(np.cumsum(counts) / homes, 0.0, 1.0))])
    below[-1] = 1.0
    reach = _reach(counts, noise, households)
    rising = below + 1e-12 * np.arange(below.size)
    low, middle, high = (float(np.interp(at, rising, edges)) for at in (0.5 - reach, 0.5, 0.5 + reach))
    return low, middle, high


def _reach(counts: Array, noise: float, households: float) -> float:
    """How far from one half the share of homes below a value may lie, for the value to be in the median's interval."""
    if _tell_nothing(counts, noise):
        return 0.5
    homes = float(counts.sum())
    variance = counts.size * noise**2 / (4 * homes**2) + 0.25 * max(1 / homes - 1 / households, 0.0)
    return QUANTILE * float(np.sqrt(variance))


def _tell_nothing(counts: Array, noise: float) -> bool:
    """Whether all counts together may be the noise's."""
    return bool(counts.sum() <= noise * np.sqrt(counts.size))
