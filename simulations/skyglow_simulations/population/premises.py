# SPDX-License-Identifier: Apache-2.0
"""Meters without a household: vacant homes, second homes and businesses.

A supplier's files hold them like any other meter, and the census has no household there: the frame covers too much.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.frame import Amounts, meter_numbers

KINDS: Final = ("vacant", "second", "non_domestic")
_FIRST = 50_000  # number of the first such meter in an area: no area has so many households
_VACANT_KWH = 0.015  # a half-hour: a fridge left on, an alarm, a boiler's clock (set here)
_BUSINESS_KWH = 0.9  # a half-hour while open: a shop, a surgery, an office (set here)
_STAY_SHARE = 0.25  # weekends on which a second home is used (set here)
_HOURS = (np.arange(48, dtype=np.float32) + 0.5) / 2


@dataclass(frozen=True, slots=True)
class Premises:
    """Aligned: which kind (index in `KINDS`), with which supplier, meter, postcode, and kWh [premises, days, 48]."""

    kind: NDArray[np.int8]
    supplier: NDArray[np.int8]
    meter_id: NDArray[np.int64]
    postcode: NDArray[np.int64]
    kwh: NDArray[np.float32]


def draw_premises(  # noqa: PLR0917 - an area, what it draws from, and a generator
    kwh: NDArray[np.float32],
    area: int,
    kinds: NDArray[np.int64],
    market: NDArray[np.float64],
    amounts: Amounts,
    rng: np.random.Generator,
) -> Premises:
    """Draw an area's other meters; `kwh` [homes, days, 48] are the homes that second homes look like when used."""
    homes, days, _ = kwh.shape
    shares = (amounts.vacant, amounts.second, amounts.non_domestic)
    kind = np.repeat(np.arange(3, dtype=np.int8), [rng.binomial(homes, share) for share in shares])
    count = len(kind)
    use = np.empty((count, days, 48), np.float32)
    idle = np.float32(_VACANT_KWH) * np.exp(0.6 * rng.standard_normal((count, 1, 1), np.float32))
    use[:] = idle * rng.standard_gamma(6.0, use.shape, np.float32) / 6
    for row in np.flatnonzero(kind == 1):
        stay = np.repeat(rng.random(-(-days // 7) + 1) < _STAY_SHARE, 7)[:days] & (kinds > 0)
        use[row, stay] = kwh[rng.integers(homes), stay]
    business = kind == 2
    use[business] += _business(int(business.sum()), kinds, rng)
    return Premises(
        kind,
        np.searchsorted(np.cumsum(market)[:-1], rng.random(count), side="right").astype(np.int8),
        meter_numbers(area, _FIRST + np.arange(count)),
        rng.integers(0, max(homes // p.HOMES_PER_POSTCODE, 1), count),
        np.round(use, 3),
    )


def _business(count: int, kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Open from about eight to about six on weekdays, some at weekends too."""
    opens = (8 + rng.standard_normal((count, 1, 1), np.float32)).astype(np.float32)
    closes = opens + 9 + 1.5 * rng.standard_normal((count, 1, 1), np.float32)
    busy = ((opens <= _HOURS) & (closes > _HOURS)).astype(np.float32)
    weekend = (rng.random((count, 1, 1)) < 0.4).astype(np.float32)
    open_day = np.where(kinds[None, :, None] > 0, weekend, np.float32(1))
    size = np.float32(_BUSINESS_KWH) * np.exp(0.8 * rng.standard_normal((count, 1, 1), np.float32))
    moves = rng.standard_gamma(12.0, (count, len(kinds), 48), np.float32) / 12
    return np.asarray(np.minimum(size * busy * open_day * moves, 11), np.float32)
