# SPDX-License-Identifier: Apache-2.0
"""A study's own figures beside the official ones, before they are made to agree (`benchmark`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skyglow_server.disclosure.rules import Check, disclose
from skyglow_server.estimation.benchmark import Totals, counted
from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum
from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.results import QUANTILE, Estimate
from skyglow_server.estimation.shares import evidence_of, share_estimates
from skyglow_shared.study import Study


@dataclass(frozen=True, slots=True)
class Compared:
    """One area's figure twice.

    Attributes
    ----------
    own : Estimate
        As the study alone gives it; without numbers where it is withheld.
    official, error : float
        Official share of households, and its standard error.
    """

    own: Estimate
    official: float
    error: float

    @property
    def difference(self) -> float | None:
        """The study's own figure less the official one; None where it is withheld."""
        return None if self.own.unclipped is None else self.own.unclipped - self.official

    @property
    def agrees(self) -> bool | None:
        """Whether the difference is within the 95 % interval around zero that both errors leave it; None likewise."""
        if self.difference is None or self.own.deviation is None:
            return None
        return bool(abs(self.difference) <= QUANTILE * np.hypot(self.own.deviation, self.error))


def compare_official(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    totals: Totals,
    record: Sequence[Check],
    *,
    planning: Planning = PLANNING,
) -> tuple[Compared, ...]:
    """Every official total beside the study's own figure: by topic, districts first, then by code.

    Parameters
    ----------
    study, areas, sums
        As `topics.estimate` takes them.
    totals : Totals
        Official totals that it found no fault with.
    record : sequence of Check
        What is withheld from the release is withheld here.
    planning : Planning
        As it takes it.
    """
    households = dict(zip(*counted(areas), strict=True))
    found: list[Compared] = []
    for model in study.models:
        of_topic = {code: total for (topic, code), total in totals.items() if topic == model.name}
        if not of_topic:
            continue
        own = disclose(share_estimates(evidence_of(study, model, areas, sums), model.name, planning), record)
        for item in sorted(own, key=lambda item: (-LEVELS.index(item.level), item.area_code)):
            if total := of_topic.get(item.area_code):
                homes = float(households[item.area_code])
                found.append(Compared(item, total.homes / homes, total.deviation / homes))
    return tuple(found)
