# SPDX-License-Identifier: Apache-2.0
"""Households and their people, drawn from census tables that have drifted since the census.

For each LSOA the class counts are the census counts moved by the drift, made whole numbers by largest remainder; sizes
come from iterative proportional fitting of composition × size; people get a pattern of days by class and employment.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import COMPOSITION_CLASSES
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.drift import drifted
from skyglow_simulations.population.randoms import random_of

__all__ = ["MAX_PEOPLE", "AreaPlan", "Households", "draw", "largest_remainder", "plan_areas", "random_of"]

#: Chances of household size 1 … 8 by composition before fitting; zeros stay zero.
_SIZE_SEED = np.array(
    [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0.97, 0.02, 0.01, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0.70, 0.20, 0.08, 0.02, 0, 0, 0],
        [0, 0.12, 0.32, 0.36, 0.13, 0.05, 0.013, 0.007],
        [0, 0.30, 0.24, 0.18, 0.13, 0.08, 0.04, 0.03],
    ]
)
_PATTERN = {name: index for index, name in enumerate(p.PATTERN_NAMES)}
_WORKING = [_PATTERN[name] for name in ("full_time", "part_time", "at_home")]
MAX_PEOPLE = 8
_ROOM = 20  # an area never has fewer simulated homes than this, whatever the scale, unless the census has fewer


@dataclass(frozen=True, slots=True)
class AreaPlan:
    """What one LSOA is to hold: households by class and the chance of each size given the class."""

    classes: NDArray[np.int64]
    size_given_class: NDArray[np.float64]
    employed: float


@dataclass(frozen=True, slots=True)
class Households:
    """Households of one LSOA and their people.

    Attributes
    ----------
    composition : ndarray of int8, shape (homes,)
    size : ndarray of int8, shape (homes,)
    home : ndarray of int64, shape (people,)
        Row of each person's home; sorted.
    pattern : ndarray of int8, shape (people,)
        Index in `parameters.PATTERN_NAMES`.
    """

    composition: NDArray[np.int8]
    size: NDArray[np.int8]
    home: NDArray[np.int64]
    pattern: NDArray[np.int8]

    @property
    def works(self) -> NDArray[np.bool_]:
        """Whether anybody of a home is in paid work, at home or elsewhere, shape (homes,)."""
        return np.asarray(np.bincount(self.home, np.isin(self.pattern, _WORKING), len(self.size)) > 0)


def plan_areas(
    census: Census, *, scale: float, seed: int, drift: float = 1.0, building: bool = False
) -> tuple[AreaPlan, ...]:
    """Decide how many households of each class each LSOA holds at the study's date.

    Parameters
    ----------
    census : Census
    scale : float
        Share of each area's households to simulate, in (0, 1].
    seed : int
    drift : float
        Multiplies all drift; 0 reproduces the census.
    building : bool
        Whether new housing adds households.
    """
    fitted = _fit_sizes(census.classes.astype(float), census.sizes.astype(float))
    plans = []
    for row, counts in enumerate(drifted(census, seed=seed, amount=drift, building=building)):
        homes = round(counts.sum())
        total = max(min(_ROOM, homes), round(homes * scale))
        plans.append(AreaPlan(largest_remainder(counts, total), fitted[row], float(census.employed[row])))
    return tuple(plans)


def draw(plan: AreaPlan, rng: np.random.Generator) -> Households:
    """Draw the households and people of one area."""
    composition = np.repeat(np.arange(len(COMPOSITION_CLASSES), dtype=np.int8), plan.classes)
    sizes = [np.repeat(np.arange(1, MAX_PEOPLE + 1, dtype=np.int8), counts) for counts in _whole_sizes(plan)]
    order = rng.permutation(len(composition))
    composition, size = composition[order], np.concatenate(sizes)[order]
    home = np.repeat(np.arange(len(size)), size)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    place = np.arange(len(home)) - first[home]
    return Households(composition, size, home, _patterns(composition, size, home, place, plan.employed, rng))


def _whole_sizes(plan: AreaPlan) -> NDArray[np.int64]:
    """Households by class and size, [6, 8]: what rounding takes from one class's size it gives to the next class's."""
    table = np.zeros(plan.size_given_class.shape, np.int64)
    owed = np.zeros(MAX_PEOPLE)
    for row, (chance, count) in enumerate(zip(plan.size_given_class, plan.classes, strict=True)):
        exact = chance * count
        table[row] = largest_remainder(np.where(chance > 0, np.maximum(exact + owed, 0), 0), int(count))
        owed += exact - table[row]
    return table


def largest_remainder(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    if total == 0 or weights.sum() == 0:
        return np.zeros(len(weights), dtype=np.int64)
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    for place in np.argsort(whole - exact, kind="stable")[: total - whole.sum()]:
        whole[place] += 1
    return whole


def _fit_sizes(classes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(size | class) by area [areas, 6, 8]: iterative proportional fitting of the seed to both margins."""
    table = _SIZE_SEED[None] * (classes[:, :, None] + 0.5)
    sizes = sizes * (classes.sum(axis=1) / np.maximum(sizes.sum(axis=1), 1))[:, None]
    for _ in range(60):
        table *= (sizes / np.maximum(table.sum(axis=1), 1e-9))[:, None, :]
        table *= (classes / np.maximum(table.sum(axis=2), 1e-9))[:, :, None]
    empty = table.sum(axis=2, keepdims=True) <= 0
    return np.where(empty, _SIZE_SEED[None], table / np.maximum(table.sum(axis=2, keepdims=True), 1e-300))


def _patterns(  # noqa: PLR0917 - five aligned columns and a generator
    composition: NDArray[np.int8],
    size: NDArray[np.int8],
    home: NDArray[np.int64],
    place: NDArray[np.int64],
    employed: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Give each person a pattern of days by class, place in the household and the area's employment."""
    kind, people = composition[home], size[home]
    draws = rng.random((2, len(home)))
    working = np.clip(employed * 1.22, 0.3, 0.9)  # of those under 66: the table counts all aged 16 and over
    chances = np.array([working * (1 - p.WORKS_AT_HOME) * 0.78, working * 0.22, working * p.WORKS_AT_HOME * 0.78])
    adult = np.searchsorted(np.cumsum(chances), draws[0]).astype(np.int8)  # 0 … 2 working, 3 not
    adult[(adult == 3) & (draws[1] < 0.10)] = _PATTERN["student"]
    couples = (kind == 3) & (adult == 3)
    adult[couples & (draws[1] > 0.40)] = _PATTERN["retired"]  # many couples without children are in their early sixties
    result = adult
    older = kind <= 1
    result[older] = np.where(draws[0][older] < 0.09, _PATTERN["part_time"], _PATTERN["retired"])
    lone = (people == 2) | (draws[1] < 0.12)
    child = (kind == 4) & (place >= np.where(lone & (place > 0), 1, 2))
    result[child] = np.where(draws[0][child] < 0.70, _PATTERN["school"], _PATTERN["small_child"])
    shared = (kind == 5) & (draws[1] < 0.30)
    result[shared] = _PATTERN["student"]
    return result
