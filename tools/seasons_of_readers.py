# SPDX-License-Identifier: Apache-2.0
"""How what is not read of presence moves through the year: the part of `measure_readers` that follows homes."""

import datetime
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.readers import WEEKS
from skyglow_shared.models import presence
from skyglow_shared.models.presence import SLOTS
from skyglow_shared.study import Period, Study
from skyglow_simulations.population import households
from skyglow_simulations.population import presence as at_home
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.households import AreaPlan
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.processes import each
from skyglow_simulations.stock import live

_SEED = 1
_COURSES = 4
_YEARS = range(2021, 2026)

Array = NDArray[np.float64]


def seasons(drafts: list[tuple[Census, Study]], slope: Array, scale: float, workers: int) -> dict[str, Array]:
    """`season` and `courses` of a `Reader`, and by how much what is not read is higher in weather as it is on average.

    Every district is in a year of its own, four weeks at a time as a study would have them, from about the first day of
    the study's period. ``weather`` [2, 48] is how much more is not read there than in the period, of the same homes.
    """
    moved, weather = [], []
    for (census, study), year in zip(drafts, _YEARS, strict=True):
        first = study.period.start.replace(year=year)
        monday = first - datetime.timedelta(days=(first.weekday() + 3) % 7 - 3)
        starts = [monday + datetime.timedelta(weeks=week) for week in range(0, WEEKS, 4)]
        plans = households.plan_areas(census, scale=scale, seed=_SEED)
        jobs = list(zip(plans, (area.lsoa for area in census.areas), strict=True))
        left = np.array([_left(_from(study, day), jobs, slope, workers) for day in (study.period.start, *starts)])
        weather.append(left[1].mean(axis=0) - left[0].mean(axis=0))
        moved.append(left[1:] - left[1:].mean(axis=0))  # all have the same chances: so what is chance goes
    rows, lengths, courses = np.linalg.svd(np.mean(moved, axis=0).reshape(WEEKS, -1), full_matrices=False)
    season, size = rows[:, :_COURSES] * lengths[:_COURSES], np.sqrt(2 * SLOTS)
    courses = courses[:_COURSES].reshape(-1, 2, SLOTS) * size
    return {
        "season": (season - season[:4].mean(axis=0)) / size,
        "courses": courses,
        "weather": np.mean(weather, axis=0),
    }


def _from(study: Study, start: datetime.date) -> Study:
    """The study in four weeks from a day on."""
    return msgspec.structs.replace(study, period=Period(start, 28))


def _left(study: Study, jobs: list[tuple[AreaPlan, str]], slope: Array, workers: int) -> Array:
    """What is not read of a district's areas by week and half-hour [4, 2, 48]."""
    parts = list(each(partial(_week_by_week, study), jobs, workers, at_once=4))
    occupied, read = np.average(parts, axis=0, weights=[plan.classes.sum() for plan, _ in jobs])
    basis = presence.load(study.occupancy.basis)
    return np.asarray(occupied - basis.curve(slope * basis.project(read)))


def _week_by_week(study: Study, job: tuple[AreaPlan, str]) -> Array:
    """An area's mean share of homes occupied, and of what is read, by week and half-hour [2, 4, 2, 48]."""
    plan, code = job
    lived = live(study, plan, random_of(_SEED, number_of(code)))
    weekend, there = at_home.day_types(study.period) > 0, at_home.exists(study.period)
    occupied, read = (values.mean(axis=0, dtype=np.float64) for values in (lived.occupied, lived.read))
    always, weeks = np.ones_like(there), [slice(day, day + 7) for day in range(0, study.period.days, 7)]
    return np.array(
        [
            [at_home.by_day_type(occupied[own], weekend[own], there[own]) for own in weeks],
            [at_home.by_day_type(read[own], weekend[own], always[own]) for own in weeks],
        ]
    )
