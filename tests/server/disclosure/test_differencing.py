# SPDX-License-Identifier: Apache-2.0
"""Differencing attacks on two releases: each succeeds without the check and is caught by it."""

import numpy as np
import pytest

from skyglow_server.disclosure import Check, Footprint, Overlap, Tree, complete, pieces_of, published
from skyglow_server.disclosure.differencing import differencing
from skyglow_shared.errors import GeographyError

LEAST = 50
TOWN = {"M1": {"a": {"a"}, "b": {"b"}, "c": {"c"}}, "M2": {"d": {"d"}, "e": {"e"}, "f": {"f"}}}
HOMES = {"a": 30.0, "b": 300.0, "c": 500.0, "d": 400.0, "e": 600.0, "f": 450.0}


def without(town, area):
    return {msoa: {code: atoms for code, atoms in lsoas.items() if code != area} for msoa, lsoas in town.items()}


def released(footprint, homes, earlier=(), least=LEAST):
    """What is let out once every rule has been applied, and the record."""
    by_place = {(cell.level, cell.code): sum(homes[atom] for atom in cell.atoms) for cell in footprint.cells}
    first = [
        Check("least_homes", level, code, footprint.topic, count >= least, "")
        for (level, code), count in by_place.items()
    ]
    record = complete(first, [Tree(footprint, by_place, homes)], least, earlier)
    return published(footprint, record), record


def failed(record, rule):
    return {check.area_code for check in record if check.rule == rule and not check.passed}


def test_with_and_without_one_area(tree, spanned):
    """The district with a small area, then the same district without it: their difference is the small area."""
    first, _ = released(tree(TOWN, name="first"), HOMES)
    naive = tree(without(TOWN, "a"), name="second")
    assert spanned([first, naive], [frozenset("a")]), "the attack works where nobody looks"
    second, record = released(naive, HOMES, [first])
    assert failed(record, "differencing") >= {"M1", "D"}
    assert not spanned([first, second], [frozenset("a")])


def test_an_area_large_enough_may_be_left_out(tree):
    """The difference is the area's own figure, which is published anyway."""
    first, _ = released(tree(TOWN, name="first"), {**HOMES, "a": 200.0})
    _, record = released(tree(without(TOWN, "a"), name="second"), {**HOMES, "a": 200.0}, [first])
    assert failed(record, "differencing") == set()


@pytest.mark.parametrize(("homes_of_a", "seen"), [(30.0, True), (200.0, False)])
def test_an_area_that_this_study_knows_nothing_of(tree, homes_of_a, seen):
    """The second study has no count of the area that it left out; what the first let out says enough."""
    first, _ = released(tree(TOWN, name="first"), {**HOMES, "a": homes_of_a})
    known = {atom: count for atom, count in HOMES.items() if atom != "a"}
    _, record = released(tree(without(TOWN, "a"), name="second"), known, [first])
    assert ({"M1", "D"} <= failed(record, "differencing")) is seen


@pytest.fixture
def vintages():
    """2011: p, q, r. 2021: q was split into q1 and q2, and a street of 20 homes went from r to p."""
    overlaps = [
        Overlap("p", "p'", 600),
        Overlap("q", "q1", 900),
        Overlap("q", "q2", 30),
        Overlap("r", "r'", 700),
        Overlap("r", "p'", 20),
        Overlap("s", "s'", 650),
    ]
    return pieces_of(overlaps)


def test_two_vintages_of_lsoas(tree, vintages, spanned):
    old, new, homes = vintages
    before = tree({"M1": {code: {code} for code in "pqrs"}}, name="2011").refined(old)
    naive = tree({"M1": {code: {code} for code in new}}, name="2021").refined(new)
    first, _ = released(before, homes)
    street, part = frozenset({"r+p'"}), frozenset({"q+q2"})
    hidden = naive.without([("LSOA", "q2")])  # least_homes alone
    assert len(spanned([first, hidden], [street, part])) == 2, "the attack works where nobody looks"
    second, record = released(naive, homes, [first])
    assert failed(record, "differencing") >= {"p'", "r'", "q1"}
    assert not spanned([first, second], [street, part])


def test_what_was_withheld_here_and_published_there_is_seen(tree, spanned):
    """Half of an area was withheld beside the other; an earlier release let that other half out."""
    first = tree(TOWN, name="first", withheld=["a", "c", "M1", "M2", "D", "d", "e", "f"])
    here = tree(TOWN, withheld=["a", "b"])
    assert spanned([first, here], [frozenset("a")])
    found = differencing(here, [first], HOMES, LEAST)
    assert found
    second = here.without([(finding.level, finding.code) for finding in found])
    assert not spanned([first, second], [frozenset("a")])


def test_other_topics_do_not_meet(tree):
    first = tree(TOWN, name="first", topic="another")
    assert differencing(tree(without(TOWN, "a")), [first], HOMES, LEAST) == ()


def test_the_same_release_again_gives_nothing_away(tree):
    first, _ = released(tree(TOWN, name="first"), HOMES)
    second, _ = released(tree(TOWN), HOMES, [first])
    assert [cell.published for cell in second.cells] == [cell.published for cell in first.cells]


def test_no_reason_holds_a_count(tree):
    first, _ = released(tree(TOWN, name="first"), HOMES)
    _, record = released(tree(without(TOWN, "a")), HOMES, [first])
    reasons = " ".join(check.reason for check in record)
    assert "30" not in reasons


@pytest.mark.parametrize("seed", range(40))
def test_no_withheld_area_follows_from_two_releases(tree, spanned, seed):
    """Random pairs of trees over the same seven atoms, the second with an area left out or atoms regrouped."""
    rng = np.random.default_rng(seed)
    atoms = "abcdefg"
    homes = dict(zip(atoms, rng.integers(0, 120, len(atoms)).astype(float), strict=True))

    def draw(used):
        parts: dict[str, dict[str, set[str]]] = {}
        for atom in used:
            parts.setdefault(f"M{rng.integers(1, 4)}", {})[atom] = {atom}
        return parts

    first, _ = released(tree(draw(atoms), name="first"), homes)
    second, record = released(tree(draw(atoms[: len(atoms) - rng.integers(0, 2)])), homes, [first])
    small = {cell.atoms for cell in second.cells if sum(homes[atom] for atom in cell.atoms) < LEAST}
    assert all(check.passed or check.reason for check in record if check.rule != "least_homes")
    if any(cell.published for cell in second.cells):
        assert spanned([first, second], small) == []


def test_a_lookup_that_does_not_fit_is_refused(tree, vintages):
    old, _, _ = vintages
    with pytest.raises(GeographyError, match="lookup"):
        tree({"M1": {"z": {"z"}}}).refined(old)
    for pair in ([Overlap("p", "q", 1), Overlap("p", "q", 2)], [Overlap("p", "q", -1)]):
        with pytest.raises(GeographyError, match="lookup"):
            pieces_of(pair)


def test_a_footprint_is_what_was_let_out(tree):
    town = tree(TOWN)
    kept, _ = released(town, HOMES)
    assert isinstance(kept, Footprint)
    assert {cell.code for cell in kept.cells if not cell.published} == {"a", "b"}
