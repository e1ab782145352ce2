# SPDX-License-Identifier: Apache-2.0
"""Homes that are seen more often than others: smart meters and answers that go with the kind of home.

Who has a smart meter and who answers differs by class of composition. The survey organisation knows by how much: it
knows whom it asked, who answered, and asks whether there is a meter. It tells the office in a table, `selection.csv`, a
line a class and one that says how far off all of these may be. Given these relative chances e_c, and the mix within
positives and negatives of the old census, an area's share θ is seen among the homes that were reached as::

    f(θ) = κ θ / (1 + (κ - 1) θ),   κ = Σ r1_c e_c / Σ r0_c e_c

which is linearised at the old share like all else. Nothing that a home contributes is weighted, so that its bound is
what it was. What is not known of κ, a relative standard deviation, moves all areas together: by f (1 - f) of it.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.public_tables import read_numbers, read_rows
from skyglow_shared.errors import FormatError
from skyglow_shared.study import COMPOSITION_CLASSES

Array = NDArray[np.float64]

#: In place of a class: the line of the standard deviations of the log of how far off all chances may be.
DEVIATION = "deviation"
_COLUMNS = ("class", "metering", "response")
_LEAST, _MOST = 1e-3, 1e3  # relative chances beyond are a slip of the pen
_MOST_DEVIATION = 1.0


def load_selection(path: Path) -> Planning:
    """Read what the survey organisation knows of who has a smart meter and who answers, into the planning constants.

    Columns class, metering, response: relative chances, a line for every class of composition; and a last line whose
    class is "deviation", sd of the log of how much likelier homes that count may be than these say, 0 if exactly so.

    Raises
    ------
    FormatError
        The file cannot be read, lacks a column or a line, has one twice or of no such class, or a number that is none.
    """
    rows = read_rows(path, _COLUMNS)
    wanted = (*COMPOSITION_CLASSES, DEVIATION)
    lines = Counter(row["class"] for row in rows)
    if lines.keys() - set(wanted):
        raise FormatError(f"{path.name} has a class that is none; the classes are {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in lines]:
        raise FormatError(f"{path.name} lacks the classes {', '.join(missing)}; give each of them a line")
    if len(rows) > len(wanted):
        raise FormatError(f"{path.name} has a class twice; leave one of the lines out")
    numbers = read_numbers(path, sorted(rows, key=lambda row: wanted.index(row["class"])), _COLUMNS[1:])
    chances, deviation = numbers[:-1], numbers[-1]
    if (chances < _LEAST).any() or (chances > _MOST).any():
        raise FormatError(
            f"{path.name} has a relative chance below {_LEAST:g} or above {_MOST:g}; give all of a column in one unit"
        )
    if (deviation > _MOST_DEVIATION).any():
        raise FormatError(
            f"{path.name} has a deviation above {_MOST_DEVIATION:g}; leave the table out if so little is known"
        )
    metering, response = chances.T.tolist()
    return replace(
        PLANNING,
        metering=tuple(metering),
        response=tuple(response),
        metering_deviation=float(deviation[0]),
        response_deviation=float(deviation[1]),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Shares as they are seen [A], their slope in the true shares, and what a unit of log κ moves them by."""

    share: Array
    slope: Array
    moved: Array

    @classmethod
    def of(cls, share: Array, mix: Array, positive: NDArray[np.bool_], chances: Array) -> "Seen":
        """See shares [A] of areas with a mix [A, C] through relative chances [C]."""
        reached = mix * chances
        odds = (reached @ positive) / (mix @ positive) / ((reached @ ~positive) / (mix @ ~positive))
        bent = 1 + (odds - 1) * share
        seen = odds * share / bent
        return cls(seen, odds / bent**2, seen * (1 - seen))

    def known(self, share: Array) -> Array:
        """The part of what is seen that does not depend on what the true shares turn out to be."""
        return self.share - self.slope * share


def chances_of(relative: tuple[float, ...], classes: int) -> Array:
    """Relative chances by stratum [C]; all alike where nothing is given. Strata beyond the classes repeat them."""
    return np.resize(np.array(relative), classes) if relative else np.ones(classes)
