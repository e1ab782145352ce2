# SPDX-License-Identifier: Apache-2.0
"""Complementary suppression against linear algebra: what is published never gives away what few homes share."""

from itertools import combinations

import numpy as np
import pytest

from skyglow_server.disclosure import Check, Tree, complete
from skyglow_server.disclosure.complementary import complementary

TOWN = {"M1": {"a": {"a"}, "b": {"b"}, "c": {"c"}}, "M2": {"d": {"d"}, "e": {"e"}}}
HOMES = {"a": 20.0, "b": 300.0, "c": 500.0, "d": 400.0, "e": 600.0}


def places(footprint, homes=HOMES):
    return {(cell.level, cell.code): sum(homes[atom] for atom in cell.atoms) for cell in footprint.cells}


def test_the_smallest_sibling_goes_with_a_withheld_area(tree):
    town = tree(TOWN, withheld="a")
    assert complementary(town.cells, places(town), 50) == (("LSOA", "b"),)


def test_nothing_goes_where_nothing_is_withheld(tree):
    town = tree(TOWN)
    assert complementary(town.cells, places(town), 50) == ()


def test_an_only_child_takes_its_parent_along(tree):
    town = tree({"M1": {"a": {"a"}}, "M2": {"d": {"d"}, "e": {"e"}}}, withheld="a")
    assert set(complementary(town.cells, places(town), 50)) == {("MSOA", "M1"), ("MSOA", "M2"), ("LSOA", "d")}


def test_a_withheld_parent_takes_a_child_along(tree):
    town = tree(TOWN, withheld=["M1"])
    assert ("LSOA", "a") in complementary(town.cells, places(town), 50)


def test_what_withheld_areas_sum_to_is_for_enough_homes(tree):
    homes = {**HOMES, "b": 25.0}
    town = tree(TOWN, withheld="ab")
    assert complementary(town.cells, places(town, homes), 50) == (("LSOA", "c"),)
    assert complementary(town.cells, places(town, homes), 45) == ()


def test_negative_noised_counts_count_as_none(tree):
    homes = {**HOMES, "a": -40.0, "b": 55.0}
    town = tree(TOWN, withheld="a")
    assert complementary(town.cells, places(town, homes), 50) == (("LSOA", "b"),)
    assert set(complementary(town.cells, places(town, homes), 60)) == {("LSOA", "b"), ("LSOA", "c")}


@pytest.mark.parametrize("seed", range(40))
def test_no_small_set_of_homes_follows_from_what_is_published(tree, spanned, seed):
    """Every set of atoms with few homes, over random trees of seven LSOAs, by rank."""
    rng = np.random.default_rng(seed)
    atoms = "abcdefg"
    homes = dict(zip(atoms, rng.integers(0, 120, len(atoms)).astype(float), strict=True))
    parts: dict[str, dict[str, set[str]]] = {}
    for atom in atoms:
        parts.setdefault(f"M{rng.integers(1, 4)}", {})[atom] = {atom}
    town = tree(parts)
    record = [
        Check("least_homes", level, code, "t", count >= 50, "") for (level, code), count in places(town, homes).items()
    ]
    record = complete(record, [Tree(town, places(town, homes), homes)], 50)
    shown = town.without([(check.level, check.area_code) for check in record if not check.passed])
    if not any(cell.published for cell in shown.cells):
        return
    small = [
        frozenset(held)
        for size in range(1, len(atoms) + 1)
        for held in combinations(atoms, size)
        if sum(homes[atom] for atom in held) < 50
    ]
    assert spanned([shown], small) == []
