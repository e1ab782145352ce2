# SPDX-License-Identifier: Apache-2.0
"""Shares of homes occupied by half-hour of the day, weekday and weekend, for every MSOA and district.

A presence rule on the meter gives every home coefficients z on a few public components; their noised sums by MSOA
over noised counts of homes give Z_a, shrunk between areas by empirical Bayes (Z_a ~ N(Z, ω²), ω² by moments).
Diaries turn the rule's coefficients into presence::

    D_a = D + b (Z_a - Z) + η_a,    curve_a(s) = mean(s) + √48 Σ_k D_ak φ_k(s)

Variance of a coefficient: that of D (shared by all areas) + b² Var Z_a + Var b (Z_a - Z)² + Var η; of a slot: that
of Σ_k, 48 φ_k(s)² Var D_ak, + what the components cannot express. Districts are household-weighted means of their
MSOAs, so levels agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.diaries import DiaryModel, diary_model
from skyglow_server.estimation.inputs import AreaTable, BlockSum, find
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.results import Estimate, Level, estimate_of
from skyglow_shared.models import presence
from skyglow_shared.models.presence import SLOTS, PresenceBasis
from skyglow_shared.study import Study

TOPIC = "occupancy"
DAY_TYPES = ("weekday", "weekend")
GROUPS = tuple(f"{day} {slot // 2:02d}:{slot % 2 * 30:02d}" for day in DAY_TYPES for slot in range(SLOTS))

Array = NDArray[np.float64]
_LEAST_NOISES = 3.0  # below so many noise sds of homes, an area's own profile is not looked at


@dataclass(frozen=True, slots=True)
class RuleMeans:
    """Mean rule coefficients by MSOA [M, 2, K], their variances, and their household-weighted mean [2, K]."""

    mean: Array
    variance: Array
    overall: Array


def occupancy_estimates(
    study: Study, areas: AreaTable, sums: Mapping[str, BlockSum], planning: Planning
) -> tuple[Estimate, ...]:
    """Estimates of all 96 groups for every MSOA and district; RunError if a sum is missing."""
    basis = presence.load(study.occupancy.basis)
    model_name = next(block.model for phase in study.phases for block in phase.blocks if block.source == "area_score")
    scores, profiles = find(study, sums, "area_score", model_name), find(study, sums, "area_profile")
    rules = rule_means(areas, scores, profiles, basis, planning)
    diaries = diary_model(find(study, sums, "diary_profile"), rules.overall, basis, planning)
    msoas, households = areas.areas("MSOA"), areas.totals("MSOA", areas.households)
    lad_of = dict(zip(areas.codes["MSOA"], areas.codes["LAD"], strict=True))
    lads, place = np.unique([lad_of[code] for code, _ in msoas], return_inverse=True)
    share = households / np.bincount(place, households)[place]
    every = _Means(msoas, "MSOA", rules.mean, rules.variance, np.ones(len(msoas)))
    whole = _Means(
        areas.areas("LAD"),
        "LAD",
        _added(place, share, rules.mean, len(lads)),
        _added(place, share**2, rules.variance, len(lads)),
        np.asarray(np.bincount(place, share**2), dtype=np.float64),
    )
    return tuple(
        estimate
        for means in (every, whole)
        for estimate in _curves(means, rules.overall, diaries=diaries, basis=basis, planning=planning)
    )


@dataclass(frozen=True, slots=True)
class _Means:
    """Weighted means of MSOAs' rule coefficients [m, 2, K], their variances, and the weights' sums of squares [m]."""

    areas: tuple[tuple[str, str], ...]
    level: Level
    mean: Array
    variance: Array
    squares: Array


def _added(place: NDArray[np.intp], weight: Array, values: Array, size: int) -> Array:
    """Weighted sums of rows by place."""
    total = np.zeros((size, *values.shape[1:]))
    np.add.at(total, place, weight[:, None, None] * values)
    return total


def rule_means(
    areas: AreaTable, scores: BlockSum, profiles: BlockSum, basis: PresenceBasis, planning: Planning
) -> RuleMeans:
    """Z_a of every MSOA from noised sums and counts, shrunk to their mean where noise makes them uncertain."""
    households = areas.totals("MSOA", areas.households)
    homes = areas.totals("MSOA", scores.values[:, 0])
    lsoas = areas.totals("MSOA", np.ones(len(areas.households)))
    known = homes > _LEAST_NOISES * scores.deviation[0] * np.sqrt(lsoas)
    metered = np.where(known, np.minimum(homes, households), 1.0)[:, None, None]
    components = basis.components.shape[1]
    raw = np.where(known[:, None, None], profiles.values.reshape(-1, 2, components) / metered, 0.0)
    between_homes = planning.diary_variance(basis.mean, components) * planning.rule_variance_ratio
    frame = between_homes * np.maximum(1 / metered - 1 / households[:, None, None], 0.0)
    error = profiles.deviation[0] ** 2 / metered**2 + frame
    weight = np.where(known, households, 0.0)[:, None, None] / max(float(households[known].sum()), 1.0)
    centre = (weight * raw).sum(axis=0)
    free = max(int(known.sum()) - 1, 1)
    scatter = np.where(known[:, None, None], (raw - centre) ** 2, 0.0).sum(axis=0) / free
    typical = np.where(known[:, None, None], error, 0.0).sum(axis=0) / max(int(known.sum()), 1)
    between = np.maximum(scatter - typical, 0.1 * typical)
    trust = np.where(known[:, None, None], between / (between + error), 0.0)
    mean = centre + trust * (raw - centre)
    share = (households / households.sum())[:, None, None]
    return RuleMeans(mean, (1 - trust) * between, (share * mean).sum(axis=0))


def _curves(
    means: _Means, overall: Array, *, diaries: DiaryModel, basis: PresenceBasis, planning: Planning
) -> list[Estimate]:
    """Estimates of areas that are weighted means of MSOAs."""
    offset = means.mean - overall
    values = basis.curve(diaries.level + diaries.slope * offset).reshape(len(offset), -1)
    model_deviation = planning.by_component(planning.presence_area_deviation, offset.shape[2])
    coefficient_parts = {
        **{name: np.broadcast_to(part, offset.shape) for name, part in diaries.parts.items()},
        "rule means of areas": diaries.slope**2 * means.variance,
        "slope": (diaries.slope_variance + planning.slope_area_deviation**2) * offset**2,
        "area model": means.squares[:, None, None] * np.broadcast_to(model_deviation**2, offset.shape),
    }
    power = SLOTS * np.square(basis.components)
    parts = {
        name: np.einsum("mtk,tks->mts", part, power).reshape(len(offset), -1)
        for name, part in coefficient_parts.items()
    }
    parts["beyond the components"] = np.full(values.shape, planning.presence_slot_deviation**2)
    variance = sum(parts.values(), np.zeros_like(values))
    return [
        estimate_of(
            Estimate(*area, means.level, TOPIC, group),
            float(values[i, j]),
            float(variance[i, j]),
            {name: float(part[i, j]) for name, part in parts.items()},
        )
        for i, area in enumerate(means.areas)
        for j, group in enumerate(GROUPS)
    ]
