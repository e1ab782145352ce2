# SPDX-License-Identifier: Apache-2.0
"""A release: all that would be published of a study, and all that an output checker needs to decide whether it is."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from skyglow_server.disclosure.rules import Check
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.official import Compared
from skyglow_server.estimation.results import Estimate
from skyglow_shared.study import Study

#: The public table of who has a smart meter and who answers.
SELECTION = "selection.csv"


@dataclass(frozen=True)
class Release:
    """What a release is made of: noised, public or disclosed figures only.

    Attributes
    ----------
    study : Study
    estimates : tuple of Estimate
        After every disclosure rule: withheld ones hold no number.
    use : tuple of Estimate
        Electricity use, where the study asks for it; likewise.
    compared : tuple of Compared
        The study's own shares beside official ones, where the office holds any; likewise.
    checks : tuple of Check
        The record of every rule applied.
    made : date
        The day on which the release was made; the only thing in it that differs when it is made again.
    producer, contact : str
        Who is responsible for the figures, and how to reach them.
    designation : str
        Such as "official statistics in development". Empty unless the producer sets one: figures carry none by
        themselves.
    simulated : bool
        The homes are made up; every document says so.
    boundaries : GeoJSON FeatureCollection or None
        Areas of one level with a property that holds their GSS code, on the British National Grid.
    ledger_heads : mapping of str to str
        Head of each supplier's ledger at the end of the study, as far as it is known.
    ledger_entries : mapping of str to int
        How many entries a ledger had then, where its supplier said so and nobody looked into it.
    charged : mapping of str to float
        Epsilon that each supplier's ledger was charged for the study: known in a simulation alone, as an office sees no
        ledger.
    inputs : mapping of str to str
        SHA-256 by name of the public tables that the figures were made with.
    versions : mapping of str to str
        Software by name.
    """

    study: Study
    estimates: tuple[Estimate, ...]
    checks: tuple[Check, ...]
    made: datetime.date
    producer: str
    contact: str = ""
    designation: str = ""
    simulated: bool = False
    boundaries: Mapping[str, Any] | None = None
    use: tuple[Estimate, ...] = ()
    compared: tuple[Compared, ...] = ()
    ledger_heads: Mapping[str, str] = field(default_factory=dict)
    ledger_entries: Mapping[str, int] = field(default_factory=dict)
    charged: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def tables(self) -> Mapping[tuple[str, str], tuple[Estimate, ...]]:
        """Estimates by (topic, level): topics as estimated, districts first, areas by code, groups in their order."""
        return _tables(self.estimates)

    @cached_property
    def use_tables(self) -> Mapping[tuple[str, str], tuple[Estimate, ...]]:
        """Electricity use, likewise."""
        return _tables(self.use)

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics in the order of the estimates."""
        return tuple(dict.fromkeys(topic for topic, _ in self.tables))

    def of_topic(self, topic: str) -> list[Estimate]:
        """Estimates of a topic, all levels."""
        return [item for (name, _), items in self.tables.items() if name == topic for item in items]

    @property
    def selected(self) -> bool:
        """Whether shares were put right by known chances of having a smart meter and of answering."""
        return SELECTION in self.inputs

    @property
    def banner(self) -> str:
        """What every document says first: designation, or that figures are made up."""
        if self.simulated:
            return "Simulated figures: the homes are made up. For trying out the method only."
        return f"{self.designation[:1].upper()}{self.designation[1:]}." if self.designation else ""


def _tables(estimates: tuple[Estimate, ...]) -> dict[tuple[str, str], tuple[Estimate, ...]]:
    found: dict[tuple[str, str], list[Estimate]] = {}
    for item in estimates:
        found.setdefault((item.topic, item.level), []).append(item)
    order = {topic: place for place, topic in enumerate(dict.fromkeys(item.topic for item in estimates))}
    keys = sorted(found, key=lambda key: (order[key[0]], -LEVELS.index(key[1])))
    return {key: tuple(sorted(found[key], key=lambda item: item.area_code)) for key in keys}
