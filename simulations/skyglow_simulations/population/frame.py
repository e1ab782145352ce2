# SPDX-License-Identifier: Apache-2.0
"""Who is metered, by which supplier, since when, and who is surveyed: what is missing is not missing at random.

How far it is not is stated in `Amounts`. `EVEN` is the plain case, in which homes are missing at random; `UNEVEN` is
set here to be as awkward as real frames may be: fitted to nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skyglow_client.readings.panel import NOT_IN_PANEL
from skyglow_shared.errors import RunError
from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Period
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.households import Households
from skyglow_simulations.population.presence import day_types, exists
from skyglow_simulations.population.randoms import place_of, random_of

#: Index of a metered home's supplier when that supplier takes no part.
ABSENT = len(p.SUPPLIERS)
_MARKET = 5  # label of the generators of a district's market
_CLASSES = len(COMPOSITION_CLASSES)


@dataclass(frozen=True, slots=True)
class Amounts:
    """By how much the frame and the survey differ from ones that miss homes at random.

    Attributes
    ----------
    smart_meter : tuple of float, one a composition class
        Added to the logit of having a smart meter.
    market : float
        Standard deviation, between districts, of the log of each supplier's share.
    loyal : float
        Added to the log share of the two largest suppliers among homes all aged 66 and over.
    switching : float
        Share of metered homes that change supplier within the period.
    shared_meter : float
        Share of one-person and other households that live behind a neighbour's meter.
    vacant, second, non_domestic : float
        Premises with a meter and no household, a household: empty, used now and then, and businesses.
    response : tuple of float, one a composition class
        Chance of answering the survey, relative to the mean.
    misreport : float
        Share of surveyed homes that report another composition.
    unanswered : float
        Share of surveyed homes that leave each question beyond composition open.
    """

    smart_meter: tuple[float, ...] = (0.0,) * _CLASSES
    market: float = 0.0
    loyal: float = 0.0
    switching: float = 0.0
    shared_meter: float = 0.0
    vacant: float = 0.0
    second: float = 0.0
    non_domestic: float = 0.0
    response: tuple[float, ...] = (1.0,) * _CLASSES
    misreport: float = 0.0
    unanswered: float = 0.0

    def __post_init__(self) -> None:
        """Refuse shares that can't be.

        Raises
        ------
        RunError
            A share is below 0 or above 1, or a list has not one number a composition class.
        """
        for name in ("switching", "shared_meter", "vacant", "second", "non_domestic", "misreport", "unanswered"):
            if not 0 <= getattr(self, name) <= 1:
                raise RunError(f"{name} of the frame must be a share from 0 to 1; correct it")
        for name in ("smart_meter", "response"):
            if len(getattr(self, name)) != _CLASSES:
                raise RunError(f"{name} of the frame must have {_CLASSES} numbers, one a composition class; correct it")
        if min(self.response) < 0 or min(self.market, self.loyal) < 0:
            raise RunError("response, market and loyal of the frame must not be negative; correct them")


EVEN: Final = Amounts()
UNEVEN: Final = Amounts(
    smart_meter=(-0.35, -0.10, -0.15, 0.15, 0.20, -0.40),
    market=0.30,
    loyal=0.35,
    switching=0.012,
    shared_meter=0.01,
    vacant=0.025,
    second=0.01,
    non_domestic=0.03,
    response=(1.15, 1.30, 0.75, 1.10, 0.95, 0.60),
    misreport=0.03,
    unanswered=0.04,
)
FRAMES: Final = {"even": EVEN, "uneven": UNEVEN}


@dataclass(frozen=True, slots=True)
class Frame:
    """One row a household.

    Attributes
    ----------
    metered : ndarray of bool
        Has a smart meter of its own, with any supplier.
    supplier : ndarray of int8
        Index in `parameters.SUPPLIERS`; `ABSENT` = a supplier that takes no part; -1 = no smart meter.
    former : ndarray of int8
        Supplier before the switch, in the same way; -1 = no switch.
    switch_day : ndarray of int64
        First day with the new supplier; 0 = no switch.
    meter_id : ndarray of int64
        Thirteen digits; 0 = no smart meter.
    behind : ndarray of int64
        Row of the neighbour whose meter counts this home too; -1 = none.
    postcode : ndarray of int64
        Which of the area's postcodes; -1 = one that is in no lookup.
    """

    metered: NDArray[np.bool_]
    supplier: NDArray[np.int8]
    former: NDArray[np.int8]
    switch_day: NDArray[np.int64]
    meter_id: NDArray[np.int64]
    behind: NDArray[np.int64]
    postcode: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Survey:
    """One row a household: is it in the panel, what it says it is, on which days it keeps a diary (-1 = none).

    `leaves_open` is which of the questions beyond composition it does not answer, in their order.
    """

    panel: NDArray[np.bool_]
    composition: NDArray[np.int8]
    weekday: NDArray[np.int64]
    weekend: NDArray[np.int64]
    leaves_open: NDArray[np.bool_]

    @classmethod
    def joined(cls, surveys: "Sequence[Survey]") -> "Survey":
        """Several areas' surveys, one after the other."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in surveys]) for field in fields(cls)))

    def answers(self, truly: Mapping[str, NDArray[np.int8]]) -> dict[str, NDArray[np.int8]]:
        """What homes would say if they were asked, by question, from what is true of them; -1 = left open."""
        said = {"composition": self.composition}
        for question, silent in zip(list(QUESTIONS)[1:], self.leaves_open.T, strict=True):
            said[question] = np.where(silent, NOT_IN_PANEL, truly[question]).astype(np.int8)
        return said


def check_market() -> None:
    """Refuse market shares that do not add up to one; RunError says so."""
    total = sum(p.SUPPLIERS.values()) + p.NOT_PARTICIPATING
    if abs(total - 1) > 1e-6 or min(p.SUPPLIERS.values()) < 0:
        raise RunError("SUPPLIERS and NOT_PARTICIPATING must be shares that add up to 1; correct the parameters")


def market_of(seed: int, district: int, amounts: Amounts) -> NDArray[np.float64]:
    """Shares of the suppliers in a district, and last of those that take no part."""
    shares = np.append(np.array(list(p.SUPPLIERS.values())), p.NOT_PARTICIPATING)
    moved = shares * np.exp(amounts.market * random_of(seed, _MARKET, district).standard_normal(len(shares)))
    return np.asarray(moved / moved.sum())


def draw_frame(  # noqa: PLR0917 - an area, what it draws from, and a generator
    homes: Households, area: int, days: int, market: NDArray[np.float64], amounts: Amounts, rng: np.random.Generator
) -> Frame:
    """Draw the frame of one area's homes; `area` is the area's number and makes meter numbers unique."""
    count = len(homes.size)
    rate = rng.beta(p.METERED_MEAN * p.METERED_CONCENTRATION, (1 - p.METERED_MEAN) * p.METERED_CONCENTRATION)
    odds = rate / (1 - rate) * np.exp(np.array(amounts.smart_meter))[homes.composition]
    metered = rng.random(count) < odds / (1 + odds)
    behind = _neighbours(homes, metered, amounts.shared_meter, rng)
    metered &= behind < 0
    supplier = _choose(homes, market, amounts.loyal, rng)
    switches = metered & (rng.random(count) < amounts.switching)
    former = np.where(switches, _choose(homes, market, amounts.loyal, rng), -1).astype(np.int8)
    switch_day = np.where(switches & (former != supplier), rng.integers(1, max(days, 2), count), 0)
    postcode = np.arange(count) // p.HOMES_PER_POSTCODE
    postcode[rng.random(count) < p.UNKNOWN_POSTCODE] = -1
    return Frame(
        metered,
        np.where(metered, supplier, -1).astype(np.int8),
        np.where(switch_day > 0, former, -1).astype(np.int8),
        switch_day,
        np.where(metered, meter_numbers(area, rng.permutation(count)), 0),
        behind,
        postcode,
    )


def meter_numbers(area: int, number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Thirteen digits for each number below 100,003 in an area: no two of the country are alike."""
    return 10**12 + (place_of(area) * 100_003 + number) * 7919 % 10**12  # 7919 is prime to 10¹²


def draw_survey(
    composition: NDArray[np.int8],
    kinds: NDArray[np.int64],
    panel_fraction: float,
    amounts: Amounts,
    rng: np.random.Generator,
) -> Survey:
    """Draw the panel, its answers and its diary days; `kinds` is each day's type, -1 where no diary may be kept."""
    homes = len(composition)
    answers = np.array(amounts.response)[composition] / np.mean(amounts.response)
    panel = rng.random(homes) < np.minimum(panel_fraction * answers, 1)
    other = (composition + rng.integers(1, _CLASSES, homes)) % _CLASSES
    said = np.where(rng.random(homes) < amounts.misreport, other, composition).astype(np.int8)
    diary = panel & (rng.random(homes) < p.DIARY_SHARE)
    one = rng.random(homes) < p.DIARY_ONE_DAY_SHARE
    first = rng.random(homes) < 0.5
    weekday = rng.choice(np.flatnonzero(kinds == 0), homes)
    weekend = rng.choice(np.flatnonzero(kinds > 0), homes)
    keeps = (diary & ~(one & first), diary & ~(one & ~first))
    leaves_open = rng.spawn(1)[0].random((homes, len(QUESTIONS) - 1)) < amounts.unanswered
    return Survey(panel, said, np.where(keeps[0], weekday, -1), np.where(keeps[1], weekend, -1), leaves_open)


def diary_days(period: Period) -> NDArray[np.int64]:
    """Type of each day, -1 where a clock change makes a diary awkward."""
    return np.where(exists(period).all(axis=1), day_types(period), -1)


def postcode_text(area: int, number: int) -> str:
    """A made-up postcode: no real one begins with Z, Q, V, X or J. An area has room for 400."""
    if number < 0:
        return "ZZ99 9ZZ"
    letters = "ABDEFGHJLNPQRSTUWXYZ"
    district, rest = divmod(place_of(area), 10)
    first, place = divmod(district, 20 * 90)
    high, low = divmod(number, len(letters))
    return f"{'ZQVXJ'[first % 5]}{letters[place // 90]}{place % 90 + 10} {rest}{letters[high % 20]}{letters[low]}"


def _choose(homes: Households, market: NDArray[np.float64], loyal: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """A supplier for each home."""
    older = market.copy()
    older[:2] *= np.exp(loyal)
    older /= older.sum()
    draw = rng.random(len(homes.size))
    chosen = [np.searchsorted(np.cumsum(shares)[:-1], draw, side="right") for shares in (older, market)]
    return np.where(homes.composition <= 1, *chosen).astype(np.int8)


def _neighbours(
    homes: Households, metered: NDArray[np.bool_], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Row of the metered neighbour whose meter counts a home too; -1 for almost all."""
    count = len(homes.size)
    single = np.isin(homes.composition, [COMPOSITION_CLASSES.index(n) for n in ("one_person_under_66", "other")])
    drawn = single & (rng.random(count) < share)
    hosts = np.flatnonzero(metered & ~drawn)
    behind = np.full(count, -1, np.int64)
    if len(hosts):
        behind[drawn] = rng.choice(hosts, int(drawn.sum()))
    return behind
