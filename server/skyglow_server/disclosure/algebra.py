# SPDX-License-Identifier: Apache-2.0
"""Whether an area's figure is a linear combination of published ones, by linear algebra, district by district.

Each published area is a row of ones over the atoms that it holds. A target follows from the rows if it lies in their
span. Rows are put together in blocks that share atoms; areas above districts would join every block to every other and
are left out: what they add is caught as a pair or a remainder.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skyglow_server.disclosure.footprint import Cell, Footprint

_MOST_ATOMS = 1500  # twice the LSOAs of the largest district, for pieces of two vintages
_ZERO = 1e-6

Array = NDArray[np.float64]


def given_away(
    new: Footprint, earlier: Sequence[Footprint], targets: Mapping[frozenset[str], str]
) -> Iterable[tuple[Cell, str]]:
    """Areas of the new release to withhold so that no target follows from it and earlier releases together.

    Parameters
    ----------
    new : Footprint
    earlier : sequence of Footprint
    targets : mapping of frozenset of str to str
        Sets of atoms that must not become known, and what to call each.

    Yields
    ------
    cell : Cell
        The area that weighs most in the combination that gives a target away.
    name : str
        The target's.

    Notes
    -----
    A target that follows from earlier releases alone is past help and is passed over.
    """
    old = [cell for release in earlier for cell in _rows(release)]
    for wanted, own, theirs in _blocks(targets, _rows(new), old):
        atoms = set().union(*(cell.atoms for cell in (*own, *theirs)))
        place = {atom: number for number, atom in enumerate(sorted(atoms))}
        before, row = _matrix(theirs, place), _matrix(own, place)
        for target in wanted:
            aim = _vector(target, place)
            if _combination(before, aim) is not None:
                continue
            while (factors := _combination(np.concatenate([before, row]), aim)) is not None:
                weight = np.abs(factors[len(before) :])
                heaviest = int(np.argmax(np.round(weight, 6) - 1e-9 * row.sum(axis=1)))
                yield own.pop(heaviest), targets[target]
                row = np.delete(row, heaviest, axis=0)


def _rows(release: Footprint) -> list[Cell]:
    return [cell for cell in release.cells if cell.published and len(cell.atoms) <= _MOST_ATOMS]


def _blocks(
    targets: Iterable[frozenset[str]], own: Sequence[Cell], old: Sequence[Cell]
) -> Iterable[tuple[list[frozenset[str]], list[Cell], list[Cell]]]:
    """Targets that areas cover, with the areas that share atoms with them, directly or by others."""
    root: dict[str, str] = {}

    def find(atom: str) -> str:
        while root[atom] != atom:
            root[atom] = root[root[atom]]
            atom = root[atom]
        return atom

    for cell in (*own, *old):
        first, *others = cell.atoms
        top = find(root.setdefault(first, first))
        for atom in others:
            root[find(root.setdefault(atom, atom))] = top
    wanted: dict[str, list[frozenset[str]]] = {}
    for target in targets:
        roots = {find(atom) if atom in root else "" for atom in target}
        if len(roots) == 1 and "" not in roots:
            wanted.setdefault(roots.pop(), []).append(target)
    sides: tuple[dict[str, list[Cell]], dict[str, list[Cell]]] = ({}, {})
    for side, cells in zip(sides, (own, old), strict=True):
        for cell in cells:
            side.setdefault(find(next(iter(cell.atoms))), []).append(cell)
    return [(aims, sides[0].get(top, []), sides[1].get(top, [])) for top, aims in wanted.items()]


def _matrix(cells: Sequence[Cell], place: Mapping[str, int]) -> Array:
    return np.array([_vector(cell.atoms, place) for cell in cells]).reshape(len(cells), len(place))


def _vector(atoms: Iterable[str], place: Mapping[str, int]) -> Array:
    vector = np.zeros(len(place))
    vector[[place[atom] for atom in atoms]] = 1.0
    return vector


def _combination(rows: Array, aim: Array) -> Array | None:
    """Factors of the shortest combination of rows that is the aim; None if there is none."""
    if not len(rows):
        return None
    factors: Array = np.linalg.lstsq(rows.T, aim, rcond=None)[0].astype(np.float64)
    return factors if np.abs(rows.T @ factors - aim).max() < _ZERO else None
