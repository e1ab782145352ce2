# SPDX-License-Identifier: Apache-2.0
"""Simulated homes that stand ready: what a study needs of each, made once and used in many drawn districts.

To simulate readings takes most of a drawn study's time, and a home's readings depend on its people and on chance, not
on which study it is in. So a district's homes are simulated once or twice over, and every replicate fills its areas,
whose composition has drifted anew, with homes of the stock: each area takes those of one stock area that is like it in
employment and size of households, class by class, and of the next where that has too few. What a stock area has in
common (how much is used there) its homes bring along. An area that is like few others has homes of its own copies:
those of others would be at work more, or less, than its public tables say.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from skyglow_client.features.class22 import class22
from skyglow_client.features.presence import presence_rule
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.readings.gaps import fill_gaps
from skyglow_shared.errors import RunError
from skyglow_shared.models import features, network, presence, temporal
from skyglow_shared.study import COMPOSITION_CLASSES, Study
from skyglow_simulations.population import frame, households, load
from skyglow_simulations.population import presence as at_home
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.households import AreaPlan
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.processes import each

_DRAW = 7  # label of a stock area's generator
_COPIES, _ALIKE = 2, 8  # fewest and most stock areas that an area's homes may come from
_NEAR = np.array([0.01, 0.1])  # how far from it, at most, others may be: share in employment, people a household
_HOMES_AT_ONCE = 50

_ANOTHER = "{path} holds homes that were made for another study; delete it, or choose another folder"

Array = NDArray[np.float32]
Rows = tuple[dict[int, NDArray[np.int64]], ...]  # of homes, by class and stock area


@dataclass(frozen=True, slots=True)
class Stock:
    """Homes in the order of their areas.

    Attributes
    ----------
    area : ndarray of int64, shape (homes,)
        Which stock area each is of.
    composition, size, works : ndarray of int8, shape (homes,)
        Class, people, and 1 where anybody is in paid work.
    x : ndarray of float32, shape (homes, features)
        Normalised features of the study's first model.
    profile : ndarray of float32, shape (homes, 2, K)
        Coefficients of the presence profile, by the study's installed model or the rule.
    diary : ndarray of float32, shape (homes, 2, K)
        Coefficients of true presence less that of the meter, on one weekday and one weekend day.
    curve : ndarray of float32, shape (homes, 2, 48)
        True share of weekdays and weekend days with somebody home.
    likeness : ndarray of float32, shape (areas, 2)
        Of each stock area: share in employment and people a household.
    made_for : ndarray of str, shape ()
        What it was made for, as `made_for`.
    """

    area: NDArray[np.int64]
    composition: NDArray[np.int8]
    size: NDArray[np.int8]
    works: NDArray[np.int8]
    x: Array
    profile: Array
    diary: Array
    curve: Array
    likeness: Array
    made_for: NDArray[np.str_]

    @classmethod
    def read(cls, path: Path) -> "Stock":
        """Read one that `load_or_make` kept; RunError if an older release did."""
        with np.load(path) as kept:
            if not {field.name for field in fields(cls)} <= set(kept):
                raise RunError(_ANOTHER.format(path=path))
            return cls(**{field.name: kept[field.name] for field in fields(cls)})

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        temporary = path.with_name(f".{path.name}.npz")
        np.savez(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})
        temporary.replace(path)

    def pick(self, plan: AreaPlan, rows: Rows, rng: np.random.Generator) -> NDArray[np.int64]:
        """Homes for an area of a plan, by class; `rows` are the stock's by area and class."""
        sizes = (plan.size_given_class * plan.classes[:, None]).sum(axis=0)
        wanted = np.array([plan.employed, sizes @ np.arange(1, sizes.size + 1) / max(sizes.sum(), 1)])
        apart = np.abs((self.likeness - wanted) / _NEAR).max(axis=1)
        alike = np.argsort(apart, kind="stable")
        many = int(np.clip((apart <= 1).sum(), _COPIES, _ALIKE))
        first = rng.permutation(alike[:many])
        return np.concatenate(
            [
                _first(rows[kind], np.concatenate([first, alike[many:]]), int(count), rng)
                for kind, count in enumerate(plan.classes)
            ]
        )

    def answers(self, home: NDArray[np.int64]) -> dict[str, NDArray[np.int8]]:
        """What homes, by row, would answer truly, by question: index in `QUESTIONS`."""
        sizes = self.size[home] - np.int8(1)
        return {"composition": self.composition[home], "household_size": sizes, "paid_work": self.works[home]}

    def rows(self) -> Rows:
        """Rows of homes by class and stock area."""
        found = []
        for kind in range(len(COMPOSITION_CLASSES)):
            own = np.flatnonzero(self.composition == kind)
            codes, starts = np.unique(self.area[own], return_index=True)
            found.append(dict(zip(codes.tolist(), np.split(own, starts[1:]), strict=True)))
        return tuple(found)


def _first(
    by_area: dict[int, NDArray[np.int64]], order: NDArray[np.intp], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """So many homes, none twice, from areas in order; again from the start where all of them have too few."""
    found: list[NDArray[np.int64]] = []
    while count > 0:
        for area in order.tolist():
            homes = rng.permutation(by_area.get(area, np.zeros(0, np.int64)))[:count]
            found.append(homes)
            count -= len(homes)
            if count == 0:
                break
        if not any(len(homes) for homes in by_area.values()):
            raise RunError("the stock has no home of a class that an area needs; make it of more areas")
    return np.concatenate([np.zeros(0, np.int64), *found])


def make(
    census: Census, study: Study, *, seed: int, copies: int = _COPIES, scale: float = 1.0, workers: int = 1
) -> Stock:
    """Simulate a district's homes `copies` times over, each with a drift of its own."""
    jobs = [
        (1000 * seed + copy, place, plan, area.lsoa)
        for copy in range(copies)
        for place, (plan, area) in enumerate(
            zip(households.plan_areas(census, scale=scale, seed=1000 * seed + copy), census.areas, strict=True)
        )
    ]
    parts = list(each(partial(_area, study), jobs, workers, at_once=4))
    sizes = [len(part["composition"]) for part in parts]
    likeness = [(job[2].employed, part["size"].mean()) for job, part in zip(jobs, parts, strict=True)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    area = np.repeat(np.arange(len(parts)), sizes)
    key = np.array(made_for(census, study, seed))
    return Stock(area=area, likeness=np.array(likeness, np.float32), made_for=key, **columns)


def made_for(census: Census, study: Study, seed: int) -> str:
    """A digest of all that a stock's homes depend on beside the release of skyglow."""
    model, asked = study.models[0], study.occupancy
    weeks = (study.period.start.isoformat(), study.period.days, study.feature_week.isoformat(), study.feature_weeks)
    basis = presence.load(asked.basis).digest
    what = ([area.lsoa for area in census.areas], seed, *weeks, model.features_digest, basis, asked.model)
    return hashlib.sha256(repr(what).encode()).hexdigest()


def load_or_make(path: Path, census: Census, study: Study, *, seed: int, workers: int) -> Stock:
    """The stock kept in a file, or a new one, then kept there.

    Raises
    ------
    RunError
        The one that is kept was made for other areas, weeks, features or another seed.
    """
    if path.exists():
        kept = Stock.read(path)
        if str(kept.made_for) != made_for(census, study, seed):
            raise RunError(_ANOTHER.format(path=path))
        return kept
    made = make(census, study, seed=seed, workers=workers)
    made.write(path)
    return made


@dataclass(frozen=True, slots=True)
class Lived:
    """Homes of one area, when they were occupied, and what their supplier sees of it.

    Attributes
    ----------
    homes : Households
    occupied : ndarray of bool, shape (homes, days, 48)
    readings : ndarray of float32, shape (homes, days, 48)
        kWh, without gaps.
    read : ndarray of float32, shape (homes, days, 48)
        Chances that somebody is home, by the study's model of presence, or what the rule says.
    """

    homes: households.Households
    occupied: NDArray[np.bool_]
    readings: Array
    read: Array


def live(study: Study, plan: AreaPlan, rng: np.random.Generator) -> Lived:
    """Simulate an area's homes over a study's period, and read their meters as a supplier does."""
    homes, period, name = households.draw(plan, rng), study.period, study.occupancy.model
    there = at_home.simulate(homes, period, rng)
    kwh = load.simulate(homes, there, period, rng)
    readings = np.where(at_home.exists(period), kwh, np.float32(np.nan))
    fill_gaps(readings, at_home.day_types(period) == 0)  # the hour that the day on which clocks go forward lacks
    read = _chances(readings, study, name) if name else presence_rule(readings).astype(np.float32)
    return Lived(homes, there.occupied, readings, read)


def _area(study: Study, job: tuple[int, int, AreaPlan, str]) -> dict[str, NDArray[np.generic]]:
    """One stock area's homes."""
    seed, _, plan, code = job
    rng, period = random_of(seed, _DRAW, number_of(code)), study.period
    lived, basis = live(study, plan, rng), presence.load(study.occupancy.basis)
    first = (study.feature_week - period.start).days
    weeks = [class22(lived.readings[:, day : day + 7]) for day in range(first, first + 7 * study.feature_weeks, 7)]
    x, _ = features.averaged(features.contract(study.models[0].features), weeks)
    kinds, one = frame.diary_days(period), np.arange(len(lived.homes.size))
    days = [rng.choice(np.flatnonzero(kind), len(one)) for kind in (kinds == 0, kinds > 0)]
    gap = np.stack([lived.occupied[one, day].astype(np.float32) - lived.read[one, day] for day in days], axis=1)
    weekend = at_home.day_types(period) > 0
    curve = at_home.by_day_type(lived.occupied, weekend, at_home.exists(period))
    profile = np.stack([lived.read[:, own].mean(axis=1) for own in (~weekend, weekend)], axis=1)
    return {
        "composition": lived.homes.composition,
        "size": lived.homes.size,
        "works": lived.homes.works.astype(np.int8),
        "x": x.astype(np.float32),
        "profile": basis.project(profile).astype(np.float32),
        "diary": basis.difference(gap).astype(np.float32),
        "curve": curve.astype(np.float32),
    }


def _chances(kwh: Array, study: Study, name: str) -> Array:
    """Chances that somebody is home by an installed model, many homes at once; as `occupied.chances`, to 10⁻⁵."""
    days, model = kwh.shape[1], temporal.load(name)
    shape = temporal.network(days, model.channels)
    layers = network.parts(shape, model.weights, torch.float32)
    found = np.empty(kwh.shape, np.float32)
    for first in range(0, len(kwh), _HOMES_AT_ONCE):
        part = slice(first, first + _HOMES_AT_ONCE)
        values = torch.from_numpy(half_hours(kwh[part], study.period.start)[0]).flatten(1, 2)
        for number, (layer, (weight, bias)) in enumerate(zip(shape.layers, layers, strict=True)):
            values = network.forward(layer, weight, bias, network.surrounded(layer, values))
            values = values.clamp_min(0.0) if number < len(layers) - 1 else torch.sigmoid(values)
        found[part] = values.reshape(-1, days, at_home.SLOTS).numpy()
    return found
