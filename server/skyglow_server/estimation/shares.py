# SPDX-License-Identifier: Apache-2.0
"""Shares of homes of a kind for every LSOA, MSOA and district, in agreement across levels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum, find
from skyglow_server.estimation.mixed import System
from skyglow_server.estimation.observations import Evidence, build, drift_of
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.posterior import Posterior, solve
from skyglow_server.estimation.results import Estimate, Level, estimate_of
from skyglow_shared.study import COMPOSITION_CLASSES, Model, Study

GROUP = "all"
Array = NDArray[np.float64]


def evidence_of(study: Study, model: Model, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Evidence:
    """Gather one model's sums; RunError if one is missing."""
    positive = np.array([name in model.positive_classes for name in COMPOSITION_CLASSES])
    scores, classes, labels = (
        find(study, sums, source, model.name) for source in ("area_score", "class_score", "area_label")
    )
    return Evidence(areas, positive, scores, classes, labels)


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


def share_estimates(
    evidence: Evidence, topic: str, planning: Planning, *, meters: bool = True, panel: bool = True
) -> tuple[Estimate, ...]:
    """Estimates for every area of every level; MSOAs and districts are household-weighted means of their LSOAs."""
    posterior, system = posterior_of(evidence, planning, meters=meters, panel=panel)
    return tuple(
        estimate
        for level in LEVELS
        for estimate in _level(
            evidence.areas, level, topic, posterior, posterior.parts(system, evidence.areas.weights(level))
        )
    )


def _level(
    areas: AreaTable, level: Level, topic: str, posterior: Posterior, parts: Mapping[str, Array]
) -> list[Estimate]:
    values = areas.weights(level) @ posterior.mean
    variances = sum(parts.values(), np.zeros_like(values))
    return [
        estimate_of(
            Estimate(*area, level, topic, GROUP),
            float(values[i]),
            float(variances[i]),
            {name: float(part[i]) for name, part in parts.items()},
        )
        for i, area in enumerate(areas.areas(level))
    ]


def census_estimates(evidence: Evidence, topic: str) -> tuple[Estimate, ...]:
    """The raw old census shares, without an interval: what is known without any meter or panel."""
    positives = evidence.areas.counts @ evidence.positive
    share = positives / evidence.areas.counts.sum(axis=1)
    return tuple(
        Estimate(*area, level, topic, GROUP, float(value), None, None, unclipped=float(value))
        for level in LEVELS
        for area, value in zip(evidence.areas.areas(level), evidence.areas.weights(level) @ share, strict=True)
    )
