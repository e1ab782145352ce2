# SPDX-License-Identifier: Apache-2.0
"""How an area's homes are spread over suppliers: a figure for one supplier's customers is that supplier's secret.

Secure aggregation keeps each supplier's count from the office, so it is asked for nothing but a sum. Let supplier s
serve n_s of an area's n homes. It adds min(n_s, c) in place of n_s, c a public cap: one home changes that by at most
one, as it changes a count (`skyglow_shared.privacy.release.capped`), so a noised T = Σ min(n_s, c) costs what any
noised count costs. It rules out the two cases that are to be kept from a release::

    at most k - 1 suppliers here         ⟹  T ≤ (k - 1) c
    one of them has more than p n homes  ⟹  T ≤ c + (1 - p) n

The second holds for any c: the others add at most what they have. A parent's T, c and n are its lowest-level areas'
added up, and both lines hold for it as they do for them. A rule passes when T is above its bound by more than
`ALLOWANCE` standard deviations of the noise, so a case that is to be withheld passes one time in twenty at most; one
that need not be withheld may be, where homes are few or the noise is much.

Where the numbers of homes by area and supplier are public, a table of them does as well and costs nothing (`Market`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from skyglow_server.disclosure.footprint import Footprint
from skyglow_server.disclosure.rules import Check
from skyglow_server.public_tables import read_numbers, read_rows
from skyglow_shared.errors import FormatError, GeographyError
from skyglow_shared.study import Study, Thresholds

SUPPLIERS_PRESENT, DOMINANCE = "suppliers_present", "dominance"
#: 95 % point of the standard normal.
ALLOWANCE = 1.6448536269514722
_COLUMNS = ("lsoa21cd", "supplier", "homes")


@dataclass(frozen=True, slots=True)
class Spread:
    """What noised sums tell of one area's suppliers.

    Attributes
    ----------
    level, area_code, topic : str
    capped, capped_deviation : float
        T, and the standard deviation of its noise.
    cap : float
        c, added up over the lowest-level areas.
    homes, homes_deviation : float
        n, and the standard deviation of its noise.
    """

    level: str
    area_code: str
    topic: str
    capped: float
    capped_deviation: float
    cap: float
    homes: float
    homes_deviation: float


def check_spreads(thresholds: Thresholds, spreads: Iterable[Spread]) -> tuple[Check, ...]:
    """Apply both rules to every area: the record of what was checked, of noised and public numbers only."""
    return tuple(
        check for spread in spreads for check in (_present(thresholds, spread), _dominance(thresholds, spread))
    )


def _present(thresholds: Thresholds, spread: Spread) -> Check:
    wanted = (thresholds.least_suppliers - 1) * spread.cap + ALLOWANCE * spread.capped_deviation
    reason = (
        f"homes, each supplier's held to the cap, come to {spread.capped:.0f}; above {wanted:.0f} there are at least"
        f" {thresholds.least_suppliers} suppliers, allowing for noise"
    )
    return _check(SUPPLIERS_PRESENT, spread, spread.capped > wanted, reason)


def _dominance(thresholds: Thresholds, spread: Spread) -> Check:
    others = 1 - thresholds.largest_share
    noise = math.hypot(spread.capped_deviation, others * spread.homes_deviation)
    wanted = spread.cap + others * spread.homes + ALLOWANCE * noise
    reason = (
        f"homes, each supplier's held to the cap, come to {spread.capped:.0f}; above {wanted:.0f} no supplier has more"
        f" than {thresholds.largest_share:.0%}, allowing for noise"
    )
    return _check(DOMINANCE, spread, spread.capped > wanted, reason)


def _check(rule: str, spread: Spread, passed: bool, reason: str) -> Check:
    return Check(rule, spread.level, spread.area_code, spread.topic, passed, reason)


@dataclass(frozen=True, slots=True)
class Market:
    """A public table of how many homes each supplier has, by lowest-level area: every area of the study is there."""

    homes: Mapping[str, Mapping[str, float]]

    def shares(self, atoms: Iterable[str]) -> list[float]:
        """Shares of the suppliers that have homes in a set of areas, largest first."""
        total: dict[str, float] = {}
        for atom in atoms:
            for supplier, homes in self.homes[atom].items():
                total[supplier] = total.get(supplier, 0.0) + homes
        whole = sum(total.values())
        return sorted((homes / whole for homes in total.values() if homes > 0), reverse=True)


def load_market(path: Path, study: Study) -> Market:
    """Read a public table with the columns lsoa21cd, supplier, homes.

    Raises
    ------
    FormatError
        It cannot be read, lacks a column, has a line twice, or a number that is no count.
    GeographyError
        An area of the study is not in it.
    """
    rows = read_rows(path, _COLUMNS)
    found: dict[str, dict[str, float]] = {}
    for row, homes in zip(rows, read_numbers(path, rows, ["homes"])[:, 0].tolist(), strict=True):
        found.setdefault(row["lsoa21cd"], {})[row["supplier"]] = homes
    if sum(map(len, found.values())) < len(rows):
        raise FormatError(f"{path.name} has an area's supplier twice; leave one of the lines out")
    missing = [code for code in study.lsoas if code not in found]
    if missing:
        raise GeographyError(f"{path.name} lacks {len(missing)} of the study's areas; use the table of its vintage")
    return Market(found)


def check_market(thresholds: Thresholds, market: Market, footprints: Iterable[Footprint]) -> tuple[Check, ...]:
    """Apply both rules by a public table to every area of every topic."""
    found, shares_of = [], cache(market.shares)  # topics share their areas
    for topic, cell in ((footprint.topic, cell) for footprint in footprints for cell in footprint.cells):
        shares, level, code = shares_of(cell.atoms), cell.level, cell.code
        present, largest = len(shares), shares[0] if shares else 1.0
        words = f"{present} suppliers by the public table, at least {thresholds.least_suppliers} wanted"
        found.append(Check(SUPPLIERS_PRESENT, level, code, topic, present >= thresholds.least_suppliers, words))
        words = f"largest share {largest:.0%} by the public table, at most {thresholds.largest_share:.0%} wanted"
        found.append(Check(DOMINANCE, level, code, topic, largest <= thresholds.largest_share, words))
    return tuple(found)
