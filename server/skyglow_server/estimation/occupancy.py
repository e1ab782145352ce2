# SPDX-License-Identifier: Apache-2.0
"""Shares of homes occupied by half-hour of the day, weekday and weekend, for every area of the levels a study names.

A rule or model on the meter gives every home coefficients z on a few public components. Their noised sums by MSOA say
how areas differ (`profiles`), the diaries how far all meters are off (`diaries`)::

    D_a = B Z_a + r + b (Z_a - Z),    curve_a(s) = mean(s) + √48 Σ_k D_ak φ_k(s) + γ_0(s) + x_a γ(s) + η_a(s)

B, by coefficient, is how much the truth goes with profiles, γ_0 and γ what is not read of places as usual and of what
kinds of homes x_a an area has more: known of what reads them (`readers`). r is what this study's diaries say that is
not known, b likewise of B's first. η is what meters do not show: of a share p of homes occupied it has variance
p (1 - p) (u(s)²/N + v² + w²), of which homes there happen to be, of what a LSOA has to itself, and of all areas alike;
and |x_a|² ν² γ(s)², as kinds of homes may do somewhat else than is known. The variance of a slot is the sum over
coefficients of 48 φ_k(s)² Var D_ak, or over the reader's axes where it is of areas' means, and that; of what sets Z_a
apart and no sum shows, only the part that is true (`Reader.own`) counts. As r comes from one of several priors, it is
as large as the 95 % in the middle of the mixture are wide (`multiples.width`). MSOAs and districts are means of their
LSOAs weighted by households, so levels agree. No sum is of an LSOA's own homes: its curve is what its MSOA's sum and
the kinds of homes it has lead to expect, and its interval holds how far LSOAs differ beyond that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.diaries import DiaryModel, diary_model
from skyglow_server.estimation.inputs import AreaTable, BlockSum, find
from skyglow_server.estimation.multiples import width
from skyglow_server.estimation.planning import Planning
from skyglow_server.estimation.profiles import AreaMeans, area_means, kinds_of
from skyglow_server.estimation.readers import Reader, lack, reader_of
from skyglow_server.estimation.results import Estimate, Level, with_intervals
from skyglow_shared.models import presence
from skyglow_shared.models.presence import SLOTS, PresenceBasis
from skyglow_shared.study import Study

TOPIC = "occupancy"
DAY_TYPES = ("weekday", "weekend")
GROUPS = tuple(f"{day} {slot // 2:02d}:{slot % 2 * 30:02d}" for day in DAY_TYPES for slot in range(SLOTS))

_LEAST_SPREAD = 0.02 * 0.98  # of p (1 - p)

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
    reader = reader_of(study)
    model_name = next(block.model for block in study.blocks if block.source == "area_score")
    scores, profiles = find(study, sums, "area_score", model_name), find(study, sums, "area_profile")
    lacks = {block.source: lack(basis, block.l2_bound) for block in study.blocks}
    means, overall = area_means(
        areas, scores, profiles, basis, lack=lacks["area_profile"], reader=reader, planning=planning
    )
    kinds = kinds_of(areas)
    kinds = kinds - reader.usual[: kinds.shape[1]]
    everywhere = areas.households @ kinds / areas.households.sum()
    known = reader.gap_at(overall, basis.difference(reader.unread_at(everywhere)))
    diaries = diary_model(
        find(study, sums, "diary_profile"), lacks["diary_profile"], overall, known, reader=reader, planning=planning
    )
    places = _Places(areas, kinds, overall)
    return tuple(
        estimate
        for level in (study.occupancy.levels if levels is None else levels)
        for estimate in _curves(
            places, level, means[level], diaries=diaries, basis=basis, reader=reader, planning=planning
        )
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """The areas; by how much LSOAs have more of each kind of homes than is usual [A, 6 or 7]; and Z [2, K]."""

    areas: AreaTable
    kinds: Array
    overall: Array


def _unseen(areas: AreaTable, level: Level, reader: Reader, planning: Planning) -> Array:
    """Variance [areas, 96] of what meters do not show of the areas of a level, in units of p (1 - p)."""
    homes = areas.households
    whole = areas.totals(level, homes)
    own = areas.totals(level, homes**2) / whole**2 * reader.unseen_by_area**2 + planning.unseen_everywhere**2
    return np.asarray(np.outer(1 / whole, reader.unseen.ravel() ** 2) + own[:, None])


def _curves(
    places: _Places,
    level: Level,
    means: AreaMeans,
    *,
    diaries: DiaryModel,
    basis: PresenceBasis,
    reader: Reader,
    planning: Planning,
) -> Iterator[Estimate]:
    """Estimates of all areas of a level."""
    areas, homes = places.areas, places.areas.households
    kinds = areas.totals(level, homes[:, None] * places.kinds) / areas.totals(level, homes)[:, None]
    offset = means.mean - places.overall
    steeper = diaries.slope - float(reader.slope[0, 0])
    shown = basis.curve(reader.slope * means.mean + diaries.shift + steeper * offset)
    values = (shown + reader.unread_at(kinds)).reshape(len(offset), -1)
    coefficients = {
        **{name: np.broadcast_to(part, offset.shape) for name, part in diaries.parts.items()},
        "slope": (diaries.slope_variance + planning.slope_area_deviation**2) * offset**2,
    }
    units = np.eye(basis.empty.size).reshape(-1, *basis.empty.shape)
    alone = (basis.curve(units) - basis.mean).reshape(len(units), -1)  # of each coefficient on each slot
    axes = reader.directions.reshape(-1, *basis.empty.shape)
    moved = ((reader.slope + steeper) * axes).reshape(len(alone), -1) @ alone
    parts = {name: part.reshape(len(offset), -1) @ alone**2 for name, part in coefficients.items()}
    parts["privacy noise of areas"] = means.noise @ moved**2
    parts["homes without a meter"] = means.frame @ moved**2
    parts["area model"] = means.model @ (moved * np.repeat(reader.own, SLOTS)) ** 2
    empty = (reader.slope * basis.towards_empty).ravel() @ alone
    parts["bound on profiles"] = np.outer(means.beyond, empty**2)
    spread = np.clip(values * (1 - values), _LEAST_SPREAD, None)
    otherwise = planning.unread_deviation**2 * np.square(reader.unread[1:]).mean(axis=0).ravel()
    apart = np.square(kinds).sum(axis=1)
    parts["what meters do not show"] = _unseen(areas, level, reader, planning) * spread + np.outer(apart, otherwise)
    return with_intervals(areas.areas(level), level, TOPIC, values, _as_wide(parts, diaries, alone), groups=GROUPS)


def _as_wide(parts: dict[str, Array], diaries: DiaryModel, alone: Array) -> dict[str, Array]:
    """Variances by source, all in proportion, that make normal intervals as wide as those of the mixture."""
    off, variance = (values.reshape(len(diaries.weight), -1) for values in (diaries.off, diaries.variance))
    whole = sum(parts.values(), np.zeros(1))
    others = np.maximum(whole - diaries.weight @ (variance + off**2) @ alone**2, 0.0)
    wide = width(diaries.weight[:, None, None], (off @ alone)[:, None], (variance @ alone**2)[:, None] + others)
    return {name: part * wide**2 / whole for name, part in parts.items()}
