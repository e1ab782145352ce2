# SPDX-License-Identifier: Apache-2.0
"""What a release lets out, area by area, in units that releases of other geographies share.

A release's areas are sets of *atoms*: its lowest-level areas, or, where releases of two vintages meet, the pieces in
which their lowest-level areas overlap. Shares are weighted by public numbers of households, so whoever has the shares
of two areas has the share of what lies in one and not in the other; whether that may be known is what `differencing`
asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from skyglow_shared.errors import GeographyError
from skyglow_shared.study import Study


@dataclass(frozen=True, slots=True)
class Cell:
    """One area of a release.

    Attributes
    ----------
    level, code : str
    parent : str
        Code of the area that it nests in, if that is of this release too; else empty.
    atoms : frozenset of str
    published : bool
        Whether its figure is let out.
    """

    level: str
    code: str
    parent: str
    atoms: frozenset[str]
    published: bool


@dataclass(frozen=True, slots=True)
class Footprint:
    """One topic of one release: `name` is what a record calls the release."""

    name: str
    topic: str
    cells: tuple[Cell, ...]

    def refined(self, pieces: Mapping[str, frozenset[str]]) -> "Footprint":
        """The same areas in smaller atoms; GeographyError for an atom without pieces."""
        missing = {atom for cell in self.cells for atom in cell.atoms if not pieces.get(atom)}
        if missing:
            raise GeographyError(
                f"{len(missing)} areas of release {self.name} are not in the lookup between vintages; put all of the"
                " published one into the study's folder as vintages.csv"
            )
        cells = (replace(cell, atoms=frozenset().union(*(pieces[atom] for atom in cell.atoms))) for cell in self.cells)
        return replace(self, cells=tuple(cells))

    def without(self, codes: Iterable[tuple[str, str]]) -> "Footprint":
        """The same with the areas (level, code) withheld too."""
        hidden = set(codes)
        cells = (replace(cell, published=False) if (cell.level, cell.code) in hidden else cell for cell in self.cells)
        return replace(self, cells=tuple(cells))


def footprint_of(study: Study, topic: str, levels: Sequence[str]) -> Footprint:
    """Every area of a study's levels, lowest first, as if all were published; its atoms are the study's LSOAs."""
    cells: list[Cell] = []
    for level, above in zip(levels, (*levels[1:], ""), strict=True):
        atoms: dict[str, list[str]] = {}
        parents: dict[str, str] = {}
        for area in study.areas:
            codes = {"LSOA": area.lsoa, "MSOA": area.msoa, "LAD": area.lad, "": ""}
            atoms.setdefault(codes[level], []).append(area.lsoa)
            parents[codes[level]] = codes[above]
        cells.extend(Cell(level, code, parents[code], frozenset(held), True) for code, held in atoms.items())
    return Footprint(study.name, topic, tuple(cells))


@dataclass(frozen=True, slots=True)
class Overlap:
    """A piece that a lowest-level area of one vintage has in common with one of another, and its public households."""

    old: str
    new: str
    households: float


class Pieces(NamedTuple):
    """Pieces by old area, pieces by new area, and public households by piece."""

    old: Mapping[str, frozenset[str]]
    new: Mapping[str, frozenset[str]]
    households: Mapping[str, float]


def pieces_of(overlaps: Iterable[Overlap]) -> Pieces:
    """What areas of two vintages have in common.

    Raises
    ------
    GeographyError
        A pair is there twice or has a negative number of households.
    """
    old: dict[str, set[str]] = {}
    new: dict[str, set[str]] = {}
    households: dict[str, float] = {}
    for overlap in overlaps:
        piece = f"{overlap.old}+{overlap.new}"
        if piece in households or not overlap.households >= 0:
            raise GeographyError(
                "the lookup between vintages has a pair twice or a negative number; use the published one"
            )
        households[piece] = overlap.households
        old.setdefault(overlap.old, set()).add(piece)
        new.setdefault(overlap.new, set()).add(piece)
    frozen = [{code: frozenset(pieces) for code, pieces in side.items()} for side in (old, new)]
    return Pieces(frozen[0], frozen[1], households)
