# SPDX-License-Identifier: Apache-2.0
"""Trees of areas by hand."""

import numpy as np
import pytest

from skyglow_server.disclosure import Cell, Footprint


@pytest.fixture
def tree():
    """Makes a footprint: district of MSOAs of LSOAs, {msoa: {lsoa: atoms}}; without the areas in `withheld`."""

    def make(msoas, *, name="new", withheld=(), topic="t"):
        cells = []
        for msoa, lsoas in msoas.items():
            cells.extend(Cell("LSOA", lsoa, msoa, frozenset(atoms), True) for lsoa, atoms in lsoas.items())
            cells.append(Cell("MSOA", msoa, "D", frozenset().union(*lsoas.values()), True))
        cells.append(Cell("LAD", "D", "", frozenset().union(*(cell.atoms for cell in cells)), True))
        hidden = [(cell.level, cell.code) for cell in cells if cell.code in withheld]
        return Footprint(name, topic, tuple(cells)).without(hidden)

    return make


@pytest.fixture
def spanned():
    """Says which sets of atoms follow by subtraction and addition from what releases publish."""

    def judge(releases, wanted):
        atoms = sorted({atom for release in releases for cell in release.cells for atom in cell.atoms})

        def row(held):
            return [float(atom in held) for atom in atoms]

        shown = np.array([row(cell.atoms) for release in releases for cell in release.cells if cell.published])
        rank = np.linalg.matrix_rank(shown)
        return [held for held in wanted if np.linalg.matrix_rank(np.vstack([shown, row(held)])) == rank]

    return judge
