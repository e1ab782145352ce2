# SPDX-License-Identifier: Apache-2.0
"""The whole record of checks of a release: every rule, in the order in which one needs another.

First the rules on each area by itself; then differencing against earlier releases; then complementary suppression. What
either of the last two withholds may call for more, so they take turns until nothing changes: each turn withholds at
least one figure, so it ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skyglow_server.disclosure.complementary import complementary
from skyglow_server.disclosure.differencing import differencing
from skyglow_server.disclosure.footprint import Footprint
from skyglow_server.disclosure.rules import COMPLEMENTARY, DIFFERENCING, Check

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Tree:
    """One topic's areas with what the rules on several areas look at.

    Attributes
    ----------
    footprint : Footprint
        Every area of the topic, as if all were published.
    homes : mapping of (level, code) to float
        Noised number of metered homes, or the public number of all homes if that is less.
    atoms : mapping of str to float
        The same by atom.
    """

    footprint: Footprint
    homes: Mapping[Place, float]
    atoms: Mapping[str, float]


def complete(
    record: Sequence[Check], trees: Iterable[Tree], least: int, earlier: Sequence[Footprint] = ()
) -> tuple[Check, ...]:
    """The record with the rules on several areas added, one check an area and rule.

    Parameters
    ----------
    record : sequence of Check
        The rules on each area by itself.
    trees : iterable of Tree
        One a topic.
    least : int
        Least homes of anything that can be worked out.
    earlier : sequence of Footprint
        All earlier releases, in the trees' atoms.
    """
    return (*record, *(check for tree in trees for check in _several(record, tree, least, earlier)))


def _several(record: Sequence[Check], tree: Tree, least: int, earlier: Sequence[Footprint]) -> Iterable[Check]:
    topic = tree.footprint.topic
    primary = _withheld(record, topic)
    alike = [release for release in earlier if release.topic == topic]
    hidden, why = dict.fromkeys(primary, ""), {COMPLEMENTARY: dict[Place, str](), DIFFERENCING: dict[Place, str]()}
    while True:
        before = len(hidden)
        shown = tree.footprint.without(hidden)
        for finding in differencing(shown, alike, tree.atoms, least):
            hidden[finding.level, finding.code] = ""
            why[DIFFERENCING][finding.level, finding.code] = finding.reason
        shown = tree.footprint.without(hidden)
        for place in complementary(shown.cells, tree.homes, least):
            hidden[place] = ""
            why[COMPLEMENTARY][place] = "withheld so that another withheld figure cannot be worked out"
        if len(hidden) == before:
            break
    passed = {
        COMPLEMENTARY: "no withheld figure follows from the published ones",
        DIFFERENCING: f"compared with {len(alike)} earlier releases of the topic",
    }
    for rule, reasons in why.items():
        for cell in tree.footprint.cells:
            reason = reasons.get((cell.level, cell.code))
            yield Check(rule, cell.level, cell.code, topic, reason is None, reason or passed[rule])


def published(footprint: Footprint, record: Iterable[Check]) -> Footprint:
    """A footprint as the record of checks lets it out: what a later release is checked against."""
    return footprint.without(_withheld(record, footprint.topic))


def _withheld(record: Iterable[Check], topic: str) -> set[Place]:
    """Areas of which all of a topic's figures are withheld; a check of one figure withholds no area."""
    whole = (check for check in record if check.topic == topic and not check.group)
    return {(check.level, check.area_code) for check in whole if not check.passed}
