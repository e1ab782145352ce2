# SPDX-License-Identifier: Apache-2.0
"""How areas have changed since the census: ageing, students and children, new housing, each by a stated amount.

Every move has a part that a district shares, one that an MSOA shares and one of each LSOA, drawn from generators keyed
by their codes: an area drifts alike whatever areas are simulated beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.randoms import number_of, random_of

_DRIFT = 0  # label of the generators


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of a move on the logit scale, by level."""

    district: float
    msoa: float
    lsoa: float


#: The share of homes all aged 66 and over.
AGEING: Final = Spread(p.DRIFT_SD_DISTRICT, p.DRIFT_SD_MSOA, p.DRIFT_SD_LSOA)
#: Among the others, the share of each class against the rest of them (set here): shared homes and students move most.
YOUNGER: Final = {
    "one_person_under_66": Spread(0.03, 0.05, 0.08),
    "family_dependent_children": Spread(0.03, 0.05, 0.08),
    "other": Spread(0.04, 0.08, 0.12),
}
#: New housing (set here): areas that have any, and by how much they have grown, in the mean.
BUILDING_SHARE: Final = 0.06
BUILDING_GROWTH: Final = 0.10
_YOUNGER_CLASSES = ("one_person_under_66", "family_no_dependent_children", "family_dependent_children", "other")


def drifted(census: Census, *, seed: int, amount: float, building: bool = False) -> NDArray[np.float64]:
    """Households by class at the study's date, [areas, 6], not yet whole numbers.

    Parameters
    ----------
    census : Census
    seed : int
    amount : float
        Multiplies every move; 0 gives the census back.
    building : bool
        Whether new housing adds households.
    """
    counts = census.classes.astype(float)
    if amount == 0:
        return counts
    totals = counts.sum(axis=1)
    share = (counts[:, :2].sum(axis=1) + 0.5) / (totals + 1)
    moves = _moves(census, seed)
    older = 1 / (1 + (1 - share) / share * np.exp(-amount * moves[:, 0]))
    younger = _parts(counts[:, 2:])
    for column, name in enumerate(YOUNGER, start=1):
        younger[:, _YOUNGER_CLASSES.index(name)] *= np.exp(amount * moves[:, column])
    younger /= younger.sum(axis=1, keepdims=True)
    if building:
        totals = totals * (1 + amount * moves[:, -1])
    parts = np.concatenate([older[:, None] * _parts(counts[:, :2]), (1 - older)[:, None] * younger], axis=1)
    return np.asarray(totals[:, None] * parts)


def _parts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed = counts + 0.5  # so that drift can create a class that the census did not see
    return np.asarray(smoothed / smoothed.sum(axis=1, keepdims=True))


def _moves(census: Census, seed: int) -> NDArray[np.float64]:
    """Moves of each area: ageing, each younger class of `YOUNGER`, growth by new housing."""
    spreads = (AGEING, *YOUNGER.values())
    moves = np.zeros((len(census.areas), len(spreads) + 1))
    for level in ("lad", "msoa", "lsoa"):
        sd = np.array([getattr(spread, "district" if level == "lad" else level) for spread in spreads])
        codes = [getattr(area, level) for area in census.areas]
        drawn = {code: _normal(seed, code, len(spreads)) for code in _once(codes)}
        moves[:, :-1] += sd * np.array([drawn[code] for code in codes])
    for row, area in enumerate(census.areas):
        rng = random_of(seed, _DRIFT, number_of(area.lsoa), 1)
        moves[row, -1] = rng.gamma(2.0, BUILDING_GROWTH / 2) if rng.random() < BUILDING_SHARE else 0.0
    return moves


def _normal(seed: int, code: str, size: int) -> NDArray[np.float64]:
    return random_of(seed, _DRIFT, number_of(code)).standard_normal(size)


def _once(codes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(codes))
