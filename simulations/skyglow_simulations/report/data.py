# SPDX-License-Identifier: Apache-2.0
"""What a report shows, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skyglow_server.estimation import Estimate
from skyglow_shared.study import Study
from skyglow_simulations.report import wording
from skyglow_simulations.report.summary import Truth


@dataclass(frozen=True, slots=True)
class Sent:
    """What every supplier sent in one phase.

    Attributes
    ----------
    phase : str
    shares : int
        Messages a supplier.
    numbers : int
        Noised numbers in each.
    noise : mapping of str to float
        Standard deviation of one supplier's noise, by block.
    sent_bytes : mapping of str to int
        By supplier, all messages together.
    """

    phase: str
    shares: int
    numbers: int
    noise: Mapping[str, float]
    sent_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report is made of.

    Attributes
    ----------
    study : Study
    summary : mapping
        As in summary.json.
    estimates : sequence of Estimate
    truth : mapping or None
        By (area_code, topic, group); None = not a simulation.
    methods : mapping of str to str
        What reports call each method of `summary["methods"]`, and "skyglow" for ours.
    boundaries : dict or None
        GeoJSON of the MSOAs in metres of a national grid; None = no map.
    public_curve : sequence of float
        Public mean share occupied by the 96 half-hours.
    sent : sequence of Sent
    versions : mapping of str to str
    use : sequence of Estimate
        Electricity use, where the study asks for it.
    households : mapping of str to float
        Public number of households by area code, to say shares as numbers of homes; those of an area may be missing.
    """

    study: Study
    summary: Mapping[str, Any]
    estimates: Sequence[Estimate]
    truth: Truth | None
    methods: Mapping[str, str]
    boundaries: Mapping[str, Any] | None
    public_curve: Sequence[float]
    sent: Sequence[Sent]
    versions: Mapping[str, str]
    use: Sequence[Estimate] = ()
    households: Mapping[str, float] = field(default_factory=dict)

    @property
    def levels(self) -> dict[str, str]:
        """What kind of areas each level has, in words, smallest first."""
        return wording.levels(float(self.summary.get("scale", 1.0)))

    def pick(self, topic: str, level: str) -> list[Estimate]:
        """Estimates of one topic and level, in their own order."""
        return [item for item in self.estimates if (item.topic, item.level) == (topic, level)]

    def true(self, item: Estimate) -> float | None:
        """The truth of an estimate, if there is one."""
        return None if self.truth is None else self.truth.get((item.area_code, item.topic, item.group))
