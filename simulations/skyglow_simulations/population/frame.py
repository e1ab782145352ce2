# SPDX-License-Identifier: Apache-2.0
"""Who is metered, by which supplier, and who is surveyed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.population import parameters as p

#: Index of a metered home's supplier when that supplier takes no part.
ABSENT = len(p.SUPPLIERS)


@dataclass(frozen=True, slots=True)
class Frame:
    """One row a household.

    Attributes
    ----------
    metered : ndarray of bool
        Has a smart meter, with any supplier.
    supplier : ndarray of int8
        Index in `parameters.SUPPLIERS`; `ABSENT` = a supplier that takes no part; -1 = no smart meter.
    meter_id : ndarray of int64
        Thirteen digits; 0 = no smart meter.
    postcode : ndarray of int64
        Which of the area's postcodes; -1 = one that is in no lookup.
    """

    metered: NDArray[np.bool_]
    supplier: NDArray[np.int8]
    meter_id: NDArray[np.int64]
    postcode: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Survey:
    """One row a household: is it in the panel, and on which days does it keep a diary (-1 = none)."""

    panel: NDArray[np.bool_]
    weekday: NDArray[np.int64]
    weekend: NDArray[np.int64]


def draw_frame(homes: int, area: int, rng: np.random.Generator) -> Frame:
    """Draw the frame of one area's homes; `area` is the area's row and makes meter numbers unique."""
    rate = rng.beta(p.METERED_MEAN * p.METERED_CONCENTRATION, (1 - p.METERED_MEAN) * p.METERED_CONCENTRATION)
    metered = rng.random(homes) < rate
    chances = np.append(np.array(list(p.SUPPLIERS.values())), p.NOT_PARTICIPATING)
    supplier = rng.choice(len(chances), homes, p=chances / chances.sum()).astype(np.int8)
    meter = 10**12 + (area * 100_003 + rng.permutation(homes)) * 7919 % 10**12  # distinct: 7919 is prime to 10¹²
    postcode = np.arange(homes) // p.HOMES_PER_POSTCODE
    postcode[rng.random(homes) < p.UNKNOWN_POSTCODE] = -1
    return Frame(metered, np.where(metered, supplier, -1).astype(np.int8), np.where(metered, meter, 0), postcode)


def draw_survey(homes: int, kinds: NDArray[np.int64], panel_fraction: float, rng: np.random.Generator) -> Survey:
    """Draw the panel and its diary days; `kinds` is the day type of each day, -1 where no diary may be kept."""
    panel = rng.random(homes) < panel_fraction
    diary = panel & (rng.random(homes) < p.DIARY_SHARE)
    one = rng.random(homes) < p.DIARY_ONE_DAY_SHARE
    first = rng.random(homes) < 0.5
    weekday = rng.choice(np.flatnonzero(kinds == 0), homes)
    weekend = rng.choice(np.flatnonzero(kinds > 0), homes)
    return Survey(panel, np.where(diary & ~(one & first), weekday, -1), np.where(diary & ~(one & ~first), weekend, -1))


def postcode_text(area: int, number: int) -> str:
    """A made-up postcode: ZZ is no real postcode area."""
    if number < 0:
        return "ZZ99 9ZZ"
    letters = "ABDEFGHJLNPQRSTUWXYZ"
    sector, unit = divmod(number, len(letters))
    district, rest = divmod(area * 10 + sector % 10, 10)
    return f"Z{letters[district // 90 % 20]}{district % 90 + 10} {rest}{letters[sector // 10 % 20]}{letters[unit]}"
