# SPDX-License-Identifier: Apache-2.0
"""What a reader with every earlier release at hand can work out by subtraction.

Three ways, the first two in time linear in the number of atoms, the third in the number of districts:

pair
    An area of the new release and one of an earlier release differ by few homes: E.g. the district with and without one
    area, or an LSOA before and after a street moved to its neighbour.
remainder
    An area of one release, less all the areas of the other that lie within it, leaves few homes: e.g. a 2011 LSOA that
    was split, when all but one of its parts were published.
algebra
    An area or atom of few homes is a sum of published areas of all releases, with any factors (`algebra`).

Sums of several atoms that are no area, have few homes and follow neither from a pair nor from a remainder are not
searched for; the noise in every sum protects there too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skyglow_server.disclosure.algebra import given_away
from skyglow_server.disclosure.footprint import Cell, Footprint


@dataclass(frozen=True, slots=True)
class Finding:
    """An area (level, code) of the new release that must be withheld, and why; no exact count is in the reason."""

    level: str
    code: str
    reason: str


def differencing(
    new: Footprint,
    earlier: Sequence[Footprint],
    homes: Mapping[str, float],
    least: float,
) -> tuple[Finding, ...]:
    """Every area of a new release that, with an earlier one, would give away a figure for few homes.

    Parameters
    ----------
    new : Footprint
        What is about to be published.
    earlier : sequence of Footprint
        All that was ever published of the same topic, in the same atoms.
    homes : mapping of str to float
        Public or noised number of homes by atom; below zero counts as zero. An atom of an earlier release alone counts
        as enough homes if that release let its own figure out, else as none.
    least : float
        Least homes of a difference.
    """
    alike = [old for old in earlier if old.topic == new.topic]
    homes = {**_assumed(alike, least), **homes}
    found: dict[tuple[str, str], str] = {}
    for old in alike:
        for cell, reason in [*_pairs(new, old, homes, least), *_remainders(new, old, homes, least)]:
            found.setdefault((cell.level, cell.code), reason)
    if alike:
        for cell, known in given_away(new.without(found), alike, _small(new, alike, homes, least)):
            found.setdefault((cell.level, cell.code), f"with earlier releases it would give {known} away")
    return tuple(Finding(*place, reason) for place, reason in found.items())


def _assumed(earlier: Sequence[Footprint], least: float) -> dict[str, float]:
    """Homes of earlier releases' atoms by what those releases let out of them."""
    cells = [cell for release in earlier for cell in release.cells]
    shown = {atom for cell in cells if cell.published and len(cell.atoms) == 1 for atom in cell.atoms}
    return {atom: least if atom in shown else 0.0 for cell in cells for atom in cell.atoms}


def _small(
    new: Footprint, earlier: Sequence[Footprint], homes: Mapping[str, float], least: float
) -> dict[frozenset[str], str]:
    """Every area and every atom of fewer than the least homes, with a name for it."""
    known = {atom for cell in new.cells for atom in cell.atoms}
    found = {frozenset([atom]): "a part of an area" for atom in sorted(known) if homes[atom] < least}
    for release in (*earlier, new):
        for cell in release.cells:
            if cell.atoms <= known and not cell.published and _size(cell.atoms, homes) < least:
                found[cell.atoms] = cell.code
    return found


def _size(atoms: Iterable[str], homes: Mapping[str, float]) -> float:
    return sum(max(homes[atom], 0.0) for atom in atoms)


def _overlapping(new: Footprint, old: Footprint) -> dict[tuple[int, int], int]:
    """How many atoms a published cell of the one has in common with a published cell of the other, by their places."""
    index: dict[str, list[int]] = {}
    for place, cell in enumerate(old.cells):
        for atom in cell.atoms if cell.published else ():
            index.setdefault(atom, []).append(place)
    common: dict[tuple[int, int], int] = {}
    for place, cell in enumerate(new.cells):
        for atom in cell.atoms if cell.published else ():
            for other in index.get(atom, ()):
                common[place, other] = common.get((place, other), 0) + 1
    return common


def _pairs(new: Footprint, old: Footprint, homes: Mapping[str, float], least: float) -> Iterable[tuple[Cell, str]]:
    totals = [[_size(cell.atoms, homes) for cell in side.cells] for side in (new, old)]
    for place, other in _overlapping(new, old):
        mine, theirs = new.cells[place], old.cells[other]
        if abs(totals[0][place] - totals[1][other]) >= least or mine.atoms == theirs.atoms:
            continue
        if _size(mine.atoms ^ theirs.atoms, homes) < least:
            yield mine, f"differs from {theirs.code} of release {old.name} by fewer than {least:g} homes"


def _remainders(new: Footprint, old: Footprint, homes: Mapping[str, float], least: float) -> Iterable[tuple[Cell, str]]:
    common = _overlapping(new, old)
    for cell, within in _within(common, new.cells, old.cells):
        rest = cell.atoms.difference(*(part.atoms for part in within))
        if rest and _size(rest, homes) < least:
            yield cell, f"less its parts in release {old.name} it leaves fewer than {least:g} homes"
    turned = {(other, place): count for (place, other), count in common.items()}
    for cell, within in _within(turned, old.cells, new.cells):
        rest = cell.atoms.difference(*(part.atoms for part in within))
        if rest and _size(rest, homes) < least:
            smallest = min(within, key=lambda part: (_size(part.atoms, homes), part.code))
            yield smallest, f"with its neighbours it leaves fewer than {least:g} homes of {cell.code} of {old.name}"


def _within(
    common: Mapping[tuple[int, int], int], outer: Sequence[Cell], inner: Sequence[Cell]
) -> Iterable[tuple[Cell, list[Cell]]]:
    """Every outer cell with the largest published inner cells that lie wholly within it."""
    inside: dict[int, dict[str, Cell]] = {}
    for (place, other), count in common.items():
        if count == len(inner[other].atoms):
            inside.setdefault(place, {})[inner[other].code] = inner[other]
    for place, cells in inside.items():
        yield outer[place], [cell for cell in cells.values() if cell.parent not in cells]
