# SPDX-License-Identifier: Apache-2.0
"""Complementary suppression in a tree of areas: no withheld figure may follow from those that are published.

A parent's figure is the sum of its children's. Nothing that is withheld can be worked out if, of every parent and its
children, none or at least two are withheld: take the equations as nodes between the withheld figures they hold. Each
figure is in at most two of them (as child and as parent), each equation holds at least two, and there are no cycles; so
through every withheld figure runs a path that ends at figures which are in one equation only, and along it one can add
and take away the same amount in turn without any equation noticing. Where the parent is published, what its withheld
children sum to is known, and what is published within them can be taken away from it: what is left must be for enough
homes too.
"""

from collections.abc import Iterable, Mapping

from skyglow_server.disclosure.footprint import Cell

Place = tuple[str, str]


def complementary(cells: Iterable[Cell], homes: Mapping[Place, float], least: float) -> tuple[Place, ...]:
    """Areas (level, code) that must be withheld beside those that are, in the order in which they are found.

    Parameters
    ----------
    cells : iterable of Cell
        All areas of a topic, as published or withheld by the other rules.
    homes : mapping of (level, code) to float
        Noised homes of every area; below zero counts as zero.
    least : float
        Least homes that the withheld children of a published parent must have together.

    Notes
    -----
    Withholds the child with the fewest homes, which costs the readers least. Each pass over the families is linear; a
    pass after the first can only be needed as many times as the tree has levels.
    """
    every = {(cell.level, cell.code): cell for cell in cells}
    hidden = {place for place, cell in every.items() if not cell.published}
    by_code = {cell.code: place for place, cell in every.items()}
    families: dict[Place, list[Place]] = {}
    for place, cell in every.items():
        if cell.parent in by_code:
            families.setdefault(by_code[cell.parent], []).append(place)
    order = sorted(families, key=lambda place: len(every[place].atoms))
    added: list[Place] = []
    while True:
        before = len(added)
        for parent in order:
            for place in _more(parent, families, hidden, homes, least):
                hidden.add(place)
                added.append(place)
        if len(added) == before:
            return tuple(added)


def _more(
    parent: Place,
    families: Mapping[Place, list[Place]],
    hidden: set[Place],
    homes: Mapping[Place, float],
    least: float,
) -> list[Place]:
    """What one family still has to withhold."""
    children = families[parent]
    withheld = [place for place in children if place in hidden]
    shown = sorted((place for place in children if place not in hidden), key=lambda place: (homes[place], place))
    if parent in hidden:
        return [] if withheld else shown[:1]
    left = [_left(place, families, hidden, homes) for place in withheld]
    needed: list[Place] = []
    while left and (len(left) < 2 or sum(left) < least):
        if not shown:
            return [*needed, parent]
        needed.append(shown.pop(0))
        left.append(max(homes[needed[-1]], 0.0))
    return needed


def _left(
    place: Place, families: Mapping[Place, list[Place]], hidden: set[Place], homes: Mapping[Place, float]
) -> float:
    """Homes of a withheld area that are in no published part of it."""
    parts = [part for part in families.get(place, ()) if part in hidden]
    if not parts:
        return max(homes[place], 0.0)
    return sum(_left(part, families, hidden, homes) for part in parts)
