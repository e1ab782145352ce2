# SPDX-License-Identifier: Apache-2.0
"""What the office estimates from: noised sums, and the public table of areas with their old census."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.results import Level
from skyglow_server.public_tables import read_numbers, read_rows
from skyglow_shared.errors import FormatError, GeographyError, RunError
from skyglow_shared.layout import block_shape, calibration_groups, columns_of, strata
from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Block, Source, Study

CODE_COLUMNS = ("lsoa21cd", "lsoa21nm", "msoa21cd", "msoa21nm", "lad22cd", "lad22nm")
COLUMNS = (*CODE_COLUMNS, "households", *COMPOSITION_CLASSES)
#: Columns that only some topics need; a table has each of the two kinds or not.
SIZE_COLUMNS = tuple(f"people_{size}" for size in QUESTIONS["household_size"])
EMPLOYED_COLUMN = "employed"
LEVELS: tuple[Level, ...] = ("LSOA", "MSOA", "LAD")
#: A noised count of homes below so many standard deviations of its noise tells nothing.
LEAST_NOISES = 3.0


class BlockSum(Protocol):
    """A block's noised sum over suppliers in real units, as `skyglow_server.sums.add_shares` gives it."""

    @property
    def values(self) -> NDArray[np.float64]:
        """Noised sums, shape (groups, width)."""

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Known standard deviation of the privacy noise on the numbers of each column, shape (width,)."""

    @property
    def shares(self) -> int:
        """How many suppliers' shares were added."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some groups or columns of a noised sum, as a `BlockSum` of their own."""

    values: NDArray[np.float64]
    deviation: NDArray[np.float64]
    shares: int


@dataclass(frozen=True, slots=True)
class AreaTable:
    """The public areas of a study, one entry a lowest-level area, sorted by its code.

    Attributes
    ----------
    codes, names : mapping of level ("LSOA", "MSOA", "LAD") to tuple of str, length A
        For every LSOA: its own, its MSOA's and its district's GSS code and name.
    households : ndarray of float64, shape (A,)
        Public number of households today (the frame).
    counts : ndarray of float64, shape (A, 6)
        Old census counts of households by composition class; see `strata.stratified` for other topics.
    sizes : ndarray of float64, shape (A, 8), optional
        Old census counts of households by number of people, 1 to 8 or more.
    employed : ndarray of float64, shape (A,), optional
        Old census share of residents aged 16 and over who are in employment.
    neighbours : ndarray of bool, shape (M, M), optional
        Which MSOAs, in the order of `areas`, lie side by side; see `neighbours`.
    """

    codes: Mapping[Level, tuple[str, ...]]
    names: Mapping[Level, tuple[str, ...]]
    households: NDArray[np.float64]
    counts: NDArray[np.float64]
    sizes: NDArray[np.float64] | None = None
    employed: NDArray[np.float64] | None = None
    neighbours: NDArray[np.bool_] | None = None

    def areas(self, level: Level) -> tuple[tuple[str, str], ...]:
        """(code, name) of the distinct areas of a level, sorted by code."""
        return tuple(sorted(dict(zip(self.codes[level], self.names[level], strict=True)).items()))

    def membership(self, level: Level) -> NDArray[np.float64]:
        """0/1 matrix [areas of the level, A]: which LSOAs each area holds."""
        place = self.places(level)
        return np.asarray(np.arange(place.max(initial=-1) + 1)[:, None] == place, dtype=np.float64)

    def places(self, level: Level, of: Level = "LSOA") -> NDArray[np.intp]:
        """Where in `areas` of a level the area is that each one of a lower level lies in."""
        inner, outer = (np.unique(np.array(self.codes[each]), return_inverse=True)[1] for each in (of, level))
        found = np.empty(int(inner.max(initial=-1)) + 1, dtype=np.intp)
        found[inner] = outer
        return found

    def totals(self, level: Level, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of LSOA values [A, ...] over every area of the level."""
        return added(self.places(level), values)

    def part(self, keep: NDArray[np.bool_]) -> "AreaTable":
        """The table of some of its LSOAs."""
        chosen = np.flatnonzero(keep)
        codes, names = (
            {level: tuple(column[at] for at in chosen) for level, column in table.items()}
            for table in (self.codes, self.names)
        )
        sizes, employed = (None if column is None else column[chosen] for column in (self.sizes, self.employed))
        msoas = np.unique(self.places("MSOA")[chosen])
        near = None if self.neighbours is None else self.neighbours[np.ix_(msoas, msoas)]
        return AreaTable(codes, names, self.households[chosen], self.counts[chosen], sizes, employed, near)

    def weights(self, level: Level) -> NDArray[np.float64]:
        """Household weights [areas of the level, A]; every row sums to one."""
        weighted = self.membership(level) * self.households
        return np.asarray(weighted / weighted.sum(axis=1, keepdims=True), dtype=np.float64)


def added(place: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of rows [n, ...] by place [n]."""
    total = np.zeros((int(place.max(initial=-1)) + 1, *values.shape[1:]))
    np.add.at(total, place, values)
    return total


def load_areas(path: Path, study: Study) -> AreaTable:
    """Read `areas.csv` and hold it against the study.

    Raises
    ------
    FormatError
        The file cannot be read, lacks columns, or holds something that is not a count or not a name.
    GeographyError
        A code occurs twice, is missing or unknown to the study, or nests otherwise than the study says.
    """
    rows = sorted(read_rows(path, COLUMNS), key=lambda row: row["lsoa21cd"])
    numbers = read_numbers(path, rows, COLUMNS[6:])
    if not rows:
        raise FormatError(f"{path.name} is empty; use the published table")
    if (numbers[:, 0] < 1).any() or (numbers[:, 1:].sum(axis=1) < 1).any():
        raise FormatError(f"{path.name} has an area without households; leave it out of table and study")
    if not all(_is_name(row[column]) for row in rows for column in CODE_COLUMNS[1::2]):
        raise FormatError(
            f"{path.name} has an area's name that a spreadsheet would reckon with or not show; use the published table"
        )
    columns = {name: tuple(row[name] for row in rows) for name in CODE_COLUMNS}
    codes = dict(zip(LEVELS, (columns["lsoa21cd"], columns["msoa21cd"], columns["lad22cd"]), strict=True))
    names = dict(zip(LEVELS, (columns["lsoa21nm"], columns["msoa21nm"], columns["lad22nm"]), strict=True))
    sizes, employed = (_further(path, rows, columns) for columns in (SIZE_COLUMNS, (EMPLOYED_COLUMN,)))
    if employed is not None and (employed >= 1).any():
        raise FormatError(f"{path.name} has an employed share of 1 or more; use the published table")
    single = None if employed is None else employed[:, 0]
    table = AreaTable(codes, names, numbers[:, 0], numbers[:, 1:], sizes, single)
    check_areas(table, study)
    return table


def _is_name(text: str) -> bool:
    """Whether a text can stand in every table that is published as what it is: no formula, no control character."""
    return text.isprintable() and text[0] not in "=+-@" and any(one.isascii() and one.isalnum() for one in text)


def _further(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> NDArray[np.float64] | None:
    """Columns that only some topics need; None if the table lacks them."""
    if not set(columns) <= rows[0].keys():
        return None
    numbers = read_numbers(path, rows, columns)
    if (numbers.sum(axis=1) <= 0).any():
        raise FormatError(f"{path.name} has an area with {', '.join(columns)} all zero; use the published table")
    return numbers


def check_areas(table: AreaTable, study: Study) -> None:
    """GeographyError unless the table holds exactly the study's areas, once each, nested as the study says."""
    mine, wanted = table.codes["LSOA"], study.lsoas
    if len(set(mine)) != len(mine):
        raise GeographyError("the table of areas has the same LSOA code twice; remove the duplicate")
    if set(mine) != set(wanted):
        lost, foreign = len(set(wanted) - set(mine)), len(set(mine) - set(wanted))
        raise GeographyError(
            f"the table of areas lacks {lost} of the study's LSOA codes and has {foreign} unknown to it;"
            " use the table that the study was written with"
        )
    for place, area in enumerate(study.areas):
        if (mine[place], table.codes["MSOA"][place], table.codes["LAD"][place]) != (area.lsoa, area.msoa, area.lad):
            raise GeographyError(f"{area.lsoa} nests otherwise in the table of areas than in the study; see vintages")
    _check_nesting(table)


def _check_nesting(table: AreaTable) -> None:
    parents: dict[str, str] = {}
    for msoa, lad in zip(table.codes["MSOA"], table.codes["LAD"], strict=True):
        if parents.setdefault(msoa, lad) != lad:
            raise GeographyError(f"{msoa} lies in two districts in the table of areas; see vintages")
    for level in LEVELS:
        names: dict[str, str] = {}
        for code, name in zip(table.codes[level], table.names[level], strict=True):
            if names.setdefault(code, name) != name:
                raise GeographyError(f"{code} has two names in the table of areas; correct the table")


def find(study: Study, sums: Mapping[str, BlockSum], source: Source, model: str = "") -> BlockSum:
    """The noised sum of the study's block of a source (and model); RunError if it is missing, misshapen or not finite.

    Of a block of several models it gives what a block of this model alone would have, noise aside.
    """
    for phase in study.phases:
        for block in phase.blocks:
            if _is(block, source, model):
                if block.name not in sums:
                    raise RunError(f"there is no sum yet for block {block.name}; run phase {phase.name} first")
                return _alone(study, block, model, _sound(study, block, sums[block.name]))
    raise RunError(f"the study has no block of source {source}; add one to a phase, or ask for other estimates")


def trained_counts(study: Study, sums: Mapping[str, BlockSum], model: str) -> Part | None:
    """Noised counts [strata, 1] of the homes that trained, where a model's class scores are asked to count them."""
    for block in study.blocks:
        if _is(block, "class_score", model) and block.counts_trainers:
            found, own = _sound(study, block, sums[block.name]), calibration_groups(study, block)
            counts, noise = found.values[own:, :1] / block.l2_bound, found.deviation[:1] / block.l2_bound
            return _by_stratum(study, block, model, Part(counts, noise, found.shares))
    return None


def _sound(study: Study, block: Block, found: BlockSum) -> BlockSum:
    """The block's sum, whose numbers and their noise are as many as they should be and finite; else RunError."""
    if found.values.shape != block_shape(study, block) or not np.isfinite(found.values).all():
        raise RunError(f"the sum of block {block.name} has the wrong shape or is not finite; run it again")
    if not np.isfinite(found.deviation).all() or (found.deviation < 0).any():
        raise RunError(f"the noise in the sum of block {block.name} is not finite or negative; run it again")
    return found


def counts_trainers(study: Study, source: Source, model: str) -> bool:
    """Whether homes that trained are in a model's block of a source too."""
    return any(_is(block, source, model) and block.counts_trainers for block in study.blocks)


def has(study: Study, source: Source, model: str = "") -> bool:
    """Whether the study has a block of a source (and model)."""
    return any(_is(block, source, model) for block in study.blocks)


def _is(block: Block, source: Source, model: str) -> bool:
    return block.source == source and (model in block.models if model else not block.models)


def _alone(study: Study, block: Block, model: str, found: BlockSum) -> BlockSum:
    """One model's columns of a block's sum; of class scores those of the calibration homes, by the model's strata."""
    if len(block.models) < 2 and not block.counts_trainers:
        return found
    columns = columns_of(study, block, model)
    part = Part(found.values[:, columns], found.deviation[columns], found.shares)
    if block.source != "class_score":
        return part
    own = calibration_groups(study, block)
    return _by_stratum(study, block, model, Part(part.values[:own], part.deviation, part.shares))


def _by_stratum(study: Study, block: Block, model: str, found: Part) -> Part:
    """Sums over the groups of each of a model's strata, of which there may be fewer."""
    stratum = strata(study, block, model)
    totals = np.stack([found.values[stratum == one].sum(axis=0) for one in range(int(stratum.max()) + 1)])
    return Part(totals, found.deviation * math.sqrt(len(found.values) / len(totals)), found.shares)
