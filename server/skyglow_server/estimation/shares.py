# SPDX-License-Identifier: Apache-2.0
"""Shares of homes of a kind for every LSOA, MSOA and district, in agreement across levels."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.benchmark import Totals, benchmarked
from skyglow_server.estimation.evidence import Evidence, drift_of, overall_mix
from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum, Part, counts_trainers, find, trained_counts
from skyglow_server.estimation.mixed import System
from skyglow_server.estimation.observations import build
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.posterior import Posterior, solve
from skyglow_server.estimation.results import Estimate, with_intervals, without_intervals
from skyglow_server.estimation.strata import ROUGH, positive_strata, stratified
from skyglow_shared.layout import trains
from skyglow_shared.study import Model, Study

Array = NDArray[np.float64]


def evidence_of(study: Study, model: Model, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Evidence:
    """Gather one model's sums; RunError if one is missing."""
    scores, classes, labels = (
        find(study, sums, source, model.name) for source in ("area_score", "class_score", "area_label")
    )
    return Evidence(
        stratified(areas, model),
        positive_strata(model),
        scores,
        classes,
        labels,
        trained=trained_counts(study, sums, model.name),
        rough=ROUGH[model.question],
        apart=study.panel_apart,
        labels_of_all=counts_trainers(study, "area_label", model.name),
        halved=trains(study),
    )


def posterior_of(
    evidence: Evidence, planning: Planning, *, meters: bool = True, panel: bool = True
) -> tuple[Posterior, System]:
    """Fit the joint model, its error variances linearised at the old census.

    Linearising at a first fit instead would let the noise in the scores choose the loadings of the class means' shared
    error; the estimates then lean to one side by several points (Peelle's pertinent puzzle).
    """
    drift = drift_of(evidence)
    system = build(evidence, drift.share, planning, meters=meters, panel=panel)
    return solve(system, drift, planning), system


def districts(evidence: Evidence) -> tuple[Evidence, ...]:
    """The evidence on each district by itself, all with the class sums of the whole study.

    A district's areas share their drift, and little of what one district's homes say is about another's; so a study of
    many districts is estimated one by one, in time and memory linear in their number.
    """
    lads, msoas_lad = evidence.areas.places("LAD"), evidence.areas.places("LAD", of="MSOA")
    if not lads.any():
        return (evidence,)
    mix = overall_mix(evidence)
    return tuple(
        replace(
            evidence,
            areas=evidence.areas.part(lads == lad),
            scores=_rows(evidence.scores, lads == lad),
            labels=_rows(evidence.labels, msoas_lad == lad),
            mix=mix,
        )
        for lad in range(int(lads.max()) + 1)
    )


def _rows(block: BlockSum, keep: NDArray[np.bool_]) -> Part:
    return Part(block.values[keep], block.deviation, block.shares)


def share_estimates(
    evidence: Evidence,
    topic: str,
    planning: Planning,
    *,
    meters: bool = True,
    panel: bool = True,
    totals: Totals | None = None,
    workers: int = 1,
) -> tuple[Estimate, ...]:
    """Estimates for every area of every level; MSOAs and districts are household-weighted means of their LSOAs.

    Parameters
    ----------
    evidence : Evidence
    topic : str
    planning : Planning
    meters, panel : bool
        Which of the data to use.
    totals : Totals, optional
        Official totals to agree with (`benchmark`); those of other topics are not looked at.
    workers : int
        Processes; of use from two districts on.

    Raises
    ------
    DataError
        A total is further from the study's own figure than the errors of both allow.
    """
    one = partial(_district, topic=topic, planning=planning, meters=meters, panel=panel, totals=totals or {})
    parts = districts(evidence)
    if workers > 1 and len(parts) > 1:
        largest_first = sorted(parts, key=lambda part: -len(part.areas.households))
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(one, largest_first))
    else:
        found = [one(part) for part in parts]
    every = [item for items in found for item in items]
    return tuple(sorted(every, key=lambda item: (LEVELS.index(item.level), item.area_code)))


def _district(
    evidence: Evidence, topic: str, planning: Planning, *, meters: bool, panel: bool, totals: Totals
) -> list[Estimate]:
    posterior, system = posterior_of(evidence, planning, meters=meters, panel=panel)
    posterior = benchmarked(posterior, evidence.areas, topic, totals)
    found: list[Estimate] = []
    for level in LEVELS:
        areas, rows = evidence.areas.areas(level), evidence.areas.weights(level)
        parts = {name: part[:, None] for name, part in posterior.parts(system, rows).items()}
        found.extend(with_intervals(areas, level, topic, (rows @ posterior.mean)[:, None], parts))
    return found


def census_estimates(evidence: Evidence, topic: str) -> tuple[Estimate, ...]:
    """The raw old census shares, without an interval: what is known without any meter or panel."""
    areas = evidence.areas
    found: list[Estimate] = []
    share = areas.counts @ evidence.positive / areas.counts.sum(axis=1)
    for level in LEVELS:
        values = areas.totals(level, share * areas.households) / areas.totals(level, areas.households)
        found.extend(without_intervals(areas.areas(level), level, topic, values))
    return tuple(found)
