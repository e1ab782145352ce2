# SPDX-License-Identifier: Apache-2.0
"""Shares of homes occupied by half-hour of the day, weekday and weekend, for every area of the levels a study names.

A rule or model on the meter gives every home coefficients z on a few public components. Their noised sums by MSOA say
how areas differ (`profiles`), the diaries how far all meters are off (`diaries`)::

    D_a = ρ + Z + c b (Z_a - Z) + η_a,    curve_a(s) = mean(s) + √48 Σ_k D_ak φ_k(s)

b is how much the truth goes with profiles from home to home, c how much more it does from area to area, a planning
constant: a model draws what all homes of an area have in common towards the homes that it was made of. Variance of a
coefficient: that of ρ (shared by all areas) + c² b² Var Z_a + Var (c b) (Z_a - Z)² + Var η; of a slot: that of Σ_k,
48 φ_k(s)² Var D_ak, + what the components cannot express. MSOAs and districts are household-weighted means of
their LSOAs, so levels agree. No sum is of an LSOA's own homes: its curve is what its MSOA's sum and the kinds of homes
it has lead to expect, and its interval holds how far LSOAs differ beyond that.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.diaries import DiaryModel, diary_model
from skyglow_server.estimation.inputs import AreaTable, BlockSum, find
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.profiles import AreaMeans, area_means
from skyglow_server.estimation.results import Estimate, Level, with_intervals
from skyglow_shared.models import presence
from skyglow_shared.models.presence import SLOTS, PresenceBasis
from skyglow_shared.study import Study

TOPIC = "occupancy"
DAY_TYPES = ("weekday", "weekend")
GROUPS = tuple(f"{day} {slot // 2:02d}:{slot % 2 * 30:02d}" for day in DAY_TYPES for slot in range(SLOTS))

Array = NDArray[np.float64]


def occupancy_estimates(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    planning: Planning,
    levels: Sequence[Level] | None = None,
) -> tuple[Estimate, ...]:
    """Estimates of all 96 groups for every area of the study's levels, or of `levels`; RunError if a sum is missing."""
    basis = presence.load(study.occupancy.basis)
    if study.presence_model is not None:
        planning = planning.for_trained()
    elif not study.occupancy.model:
        planning = planning.for_rule()
    model_name = next(block.model for block in study.blocks if block.source == "area_score")
    scores, profiles = find(study, sums, "area_score", model_name), find(study, sums, "area_profile")
    means, overall = area_means(areas, scores, profiles, basis, planning)
    diaries = diary_model(
        find(study, sums, "diary_profile"),
        next(block.l2_bound for block in study.blocks if block.source == "diary_profile"),
        overall,
        basis,
        planning,
    )
    return tuple(
        estimate
        for level in (study.occupancy.levels if levels is None else levels)
        for estimate in _curves(areas, level, means[level], overall, diaries=diaries, basis=basis, planning=planning)
    )


def _squares(areas: AreaTable, level: Level) -> Array:
    """Sums of squares of LSOAs' weights in the areas of a level."""
    return areas.totals(level, areas.households**2) / areas.totals(level, areas.households) ** 2


def _curves(
    areas: AreaTable,
    level: Level,
    means: AreaMeans,
    overall: Array,
    *,
    diaries: DiaryModel,
    basis: PresenceBasis,
    planning: Planning,
) -> Iterator[Estimate]:
    """Estimates of all areas of a level."""
    offset = means.mean - overall
    slope, slope_variance = planning.slope_between * diaries.slope, planning.slope_between**2 * diaries.slope_variance
    values = basis.curve(diaries.gap + overall + slope * offset).reshape(len(offset), -1)
    own = planning.by_component(planning.presence_area_deviation, offset.shape[2]) ** 2
    coefficient_parts = {
        **{name: np.broadcast_to(part, offset.shape) for name, part in diaries.parts.items()},
        "privacy noise of areas": slope**2 * means.noise,
        "homes without a meter": slope**2 * means.frame,
        "slope": (slope_variance + planning.slope_area_deviation**2) * offset**2,
        "area model": slope**2 * means.model
        + _squares(areas, level)[:, None, None] * np.broadcast_to(own, offset.shape),
    }
    power = SLOTS * np.square(basis.components)
    parts = {
        name: np.einsum("mtk,tks->mts", part, power).reshape(len(offset), -1)
        for name, part in coefficient_parts.items()
    }
    parts["beyond the components"] = np.full(values.shape, planning.presence_slot_deviation**2)
    return with_intervals(areas.areas(level), level, TOPIC, values, parts, groups=GROUPS)
