# SPDX-License-Identifier: Apache-2.0
"""Measure how presence errs as models and the rule read it off meters: writes what `estimation.readers` knows.

    python tools/measure_readers.py --census FOLDER

Homes are simulated in five districts that are not among those that coverage is tested in: a port, a cathedral city, a
mill town, commuters' villages, farmland. All differences are from one fit over the areas of all of them. What a bound
on diaries takes from their mean is measured at the bound that each reader wants: by a model the study's own, by the
rule a long one, for the rule is far off in the mean and a short bound would cut off most of that. No home's data is
involved. All are in the same four weeks; some of the homes are then followed through a year each, for the seasons and
for weather as it is on average. A quarter of an hour on two cores; the folder is that of the full census tables.
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from seasons_of_readers import seasons

from skyglow_server.estimation.inputs import AreaTable
from skyglow_server.estimation.profiles import further_kinds_of, kinds_of
from skyglow_server.estimation.readers import INSTALLED, RULE, lack
from skyglow_shared.files import write_atomically
from skyglow_shared.layout import column_weights, held_bound
from skyglow_shared.models import presence
from skyglow_shared.privacy.release import clip_rows
from skyglow_shared.study import Study
from skyglow_simulations.experiment import drafted
from skyglow_simulations.population.census import Census
from skyglow_simulations.replicates import area_table
from skyglow_simulations.run import Parameters
from skyglow_simulations.stock import Stock, make

_SEED = 1
_DISTRICTS = ("E06000044", "E07000148", "E07000117", "E07000209", "E07000046")
_BOUND_BY_THE_RULE = 0.6
_YEAR_ROUND = 0.1  # share of homes followed through the year
_FILE = Path(__file__).parents[1] / "server/skyglow_server/estimation/readers.json"
_SIX = ("lsoa_deviation", "msoa_deviation", "season")
_DIGITS = {"axes": 5, "unread": 5, "courses": 3, "moved": 2, "lost": 2} | dict.fromkeys(_SIX, 6)

Array = NDArray[np.float64]


def main() -> int:
    """Write all constants; return an exit code."""
    parser = argparse.ArgumentParser(description="Measure how presence errs as it is read off meters.")
    parser.add_argument("--census", required=True, help="folder with the full census tables")
    parser.add_argument("--scale", type=float, default=1.0, help="share of every area's households")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--to", type=Path, default=_FILE, help="the file to write")
    options = parser.parse_args()
    drafts = [drafted(Parameters(district=district, census=options.census)) for district in _DISTRICTS]
    readers = {}
    for name, model in ((INSTALLED, INSTALLED), (RULE, "")):
        asked = [(census, _read_by(study, model)) for census, study in drafts]
        found = _constants([_place(census, study, options.scale, options.workers) for census, study in asked])
        known = seasons(asked, found["slope"], options.scale * _YEAR_ROUND, options.workers)
        found["unread"][0] += known.pop("weather")
        found |= known
        readers[name] = {key: value.round(_DIGITS.get(key, 4)).tolist() for key, value in found.items()}
    source = f"tools/measure_readers.py; simulated homes of {', '.join(_DISTRICTS)}, no home's data"
    study = drafts[0][1]
    start = study.period.start.isoformat()
    told = {"source": source, "basis": study.occupancy.basis, "start": start, "readers": readers}
    write_atomically(options.to, _laid_out(told).encode())
    return 0


def _laid_out(told: dict[str, object]) -> str:
    """JSON with one row of numbers a line."""
    text = json.dumps(told, indent=1)
    return re.sub(r"\[\s+([^][]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]", text) + "\n"


@dataclass(frozen=True, slots=True)
class _Place:
    """One district's homes and areas.

    `curve` [homes, 96] are shares of days occupied, `true` and `read` coefficients [homes, 2 K], `gap` and `held` those
    of a day's gap as it is and as it is held to the bound, which `lack`s so much; `short` [2 K] is what the bound on
    profiles takes from their mean for good, and `beyond` what it takes along an empty home's and gives back, where the
    mean of what it holds lies `along` that.
    """

    basis: presence.PresenceBasis
    curve: NDArray[np.floating]
    true: Array
    read: Array
    gap: Array
    held: Array
    bound: float
    lack: float
    short: Array
    beyond: float
    along: float
    area: NDArray[np.int64]
    composition: NDArray[np.int8]
    areas: AreaTable

    @property
    def kinds(self) -> Array:
        """What the old census says of the areas [areas, 7]."""
        return kinds_of(self.areas)

    @property
    def further_kinds(self) -> Array:
        """The same, and of how many people households are [areas, 11], less the place's mean."""
        kinds = further_kinds_of(self.areas)
        return kinds - np.average(kinds, axis=0, weights=self.homes)

    @property
    def homes(self) -> Array:
        """Of every area."""
        return np.bincount(self.area).astype(np.float64)

    def by_area(self, values: NDArray[np.floating]) -> Array:
        """Means of areas."""
        starts = (np.cumsum(self.homes) - self.homes).astype(np.int64)
        return np.add.reduceat(values, starts, axis=0, dtype=np.float64) / self.homes[:, None]

    def shown(self, read: Array) -> Array:
        """Curves [..., 96] of coefficients [..., 2 K]."""
        return self.basis.curve(read.reshape(len(read), *self.basis.empty.shape)).reshape(len(read), -1)

    def mean_kinds(self) -> Array:
        """What the old census says of the place [7]."""
        return np.average(self.kinds, axis=0, weights=self.homes)


def _read_by(study: Study, model: str) -> Study:
    return msgspec.structs.replace(study, occupancy=msgspec.structs.replace(study.occupancy, model=model))


def _place(census: Census, study: Study, scale: float, workers: int) -> _Place:
    stock: Stock = make(census, study, seed=_SEED, copies=1, scale=scale, workers=workers)
    basis = presence.load(study.occupancy.basis)
    block = next(block for block in study.blocks if block.source == "diary_profile")
    if not study.occupancy.model:
        block = msgspec.structs.replace(block, l2_bound=_BOUND_BY_THE_RULE)
    homes = len(stock.size)
    true, read, gap = (
        np.asarray(values, np.float64).reshape(homes, -1)
        for values in (basis.project(stock.curve), stock.profile, stock.diary)
    )
    bound, (short, beyond, along) = held_bound(block), _sent(study, read, basis)
    return _Place(
        basis=basis,
        curve=stock.curve.reshape(homes, -1),
        true=true,
        read=read,
        gap=gap,
        held=clip_rows(gap, bound),
        bound=bound,
        lack=lack(basis, block.l2_bound),
        short=short,
        beyond=beyond,
        along=along,
        area=stock.area,
        composition=stock.composition,
        areas=area_table(census),
    )


def _sent(study: Study, read: Array, basis: presence.PresenceBasis) -> tuple[Array, float, float]:
    """What the bound on profiles takes from their mean and does not give back [2 K], and what it does, as it is told.

    Both for each unit the bound lacks; and where the mean of what is held lies along an empty home's profile.
    """
    block = next(block for block in study.blocks if block.source == "area_profile")
    along, weights = basis.towards_empty.ravel(), column_weights(study, block)
    held = clip_rows(read, held_bound(block))
    sent = clip_rows(np.column_stack([held, (read - held) @ along]) * weights, block.l2_bound) / weights
    short = read.mean(axis=0) - sent[:, :-1].mean(axis=0) - sent[:, -1].mean() * along
    lacks = lack(basis, block.l2_bound)
    return np.asarray(short / lacks), float(sent[:, -1].mean() / lacks), float(sent[:, :-1].mean(axis=0) @ along)


def _constants(places: list[_Place]) -> dict[str, Array]:
    """Every constant of a `Reader`, in its shape."""
    gap = np.mean([(one.true - one.read).mean(axis=0) for one in places], axis=0)
    slope = np.mean([_slopes(one) for one in places], axis=0)
    usual = np.mean([one.mean_kinds() for one in places], axis=0)
    taken = np.array([(one.gap - one.held).mean(axis=0) / one.lack for one in places])
    apart = np.array([(one.true - one.read).mean(axis=0) for one in places]) - gap
    moved = taken - taken.mean(axis=0)
    left = [_left(one, slope) for one in places]
    unseen, by_area = _unseen(places, left, slope, usual)
    axes = _axes(places)
    found = {
        "gap": gap,
        "slope": slope,
        "unread": _unread(places, left, usual),
        "unseen": unseen,
        "profile_deviation": np.sqrt(np.mean([one.read.var(axis=0) for one in places], axis=0)),
        "diary_deviation": np.sqrt(np.mean([one.gap.var(axis=0) for one in places], axis=0)),
        "short": np.mean([one.short for one in places], axis=0),
        "cut": taken.mean(axis=0),
        "axes": axes,
        "kinds": _effects(places, 7),
        "kinds_and_sizes": _effects(places),
    }
    by_lsoa, by_msoa = _between(places, axes)
    shares = {
        "usual": usual,
        "unseen_by_area": by_area,
        "lsoa_deviation": by_lsoa,
        "msoa_deviation": by_msoa,
        "own": _own(places, left, slope, usual),
        "moved": np.array((apart * moved).sum() / (apart * apart).sum()),
        "lost": np.mean([_lost(one) for one in places]),
    }
    farther, beyond = np.polyfit([one.along for one in places], [one.beyond for one in places], 1)
    shares["beyond"] = np.array([beyond, farther])
    return {name: np.asarray(value).reshape(*value.shape[:-1], 2, -1) for name, value in found.items()} | shares


def _axes(places: list[_Place]) -> Array:
    """Principal axes of how homes of one kind differ in what is read [2 K, 2 K], the longest first."""
    alike = [one.read[one.composition == kind] for one in places for kind in np.unique(one.composition)]
    covariance = np.average([np.cov(read.T) for read in alike], axis=0, weights=[len(read) for read in alike])
    variance, directions = np.linalg.eigh(covariance)
    return np.asarray((directions * np.sqrt(variance)).T[::-1])


def _effects(places: list[_Place], number: int = 11) -> Array:
    """How much what is read goes with what kinds of homes areas have [number, 2 K], from area to area of a district."""
    kinds = np.concatenate([one.further_kinds[:, :number] for one in places])
    read = np.concatenate([one.by_area(one.read) - one.read.mean(axis=0) for one in places])
    return _fitted(kinds, read, np.concatenate([one.homes for one in places]))


def _fitted(design: Array, values: Array, homes: Array) -> Array:
    """Least squares weighted by homes; as shares of kinds add up to one, of all that fit the smallest."""
    weight = np.sqrt(homes)[:, None]
    return np.asarray(np.linalg.lstsq(design * weight, values * weight)[0])


def _left(place: _Place, slope: Array) -> Array:
    """What is not read of areas [areas, 96]: their share of homes occupied less the curve of `slope` times the read."""
    return place.by_area(place.curve) - place.shown(slope * place.by_area(place.read))


def _design(place: _Place, usual: Array) -> Array:
    """A one, and by how much areas have more of each kind of homes than is usual [areas, 8]."""
    return np.column_stack([np.ones(len(place.kinds)), place.kinds - usual])


def _unread(places: list[_Place], left: list[Array], usual: Array) -> Array:
    """What is not read of places with the usual kinds of homes, and for each unit more of each kind [8, 96]."""
    design = np.concatenate([_design(one, usual) for one in places])
    return _fitted(design, np.concatenate(left), np.concatenate([one.homes for one in places]))


def _unseen(places: list[_Place], left: list[Array], slope: Array, usual: Array) -> tuple[Array, Array]:
    """Sds in units of sqrt(p (1 - p)): of one home by half-hour [96], and of an area beyond its homes.

    The second is of districts that what is known was not fitted to, each in turn left out.
    """
    by_home, by_area = [], []
    for number, place in enumerate(places):
        share = place.curve.mean(axis=0, dtype=np.float64)
        units = share * (1 - share)
        own = np.var(place.curve - place.shown(slope * place.read), axis=0)
        excess = np.square(_unread_apart(places, left, usual, number)) - own / place.homes[:, None]
        by_home.append(own / units)
        by_area.append(np.average(excess / units, axis=0, weights=place.homes).mean())
    return np.sqrt(np.mean(by_home, axis=0)), np.sqrt(max(np.mean(by_area), 0.0))


def _unread_apart(places: list[_Place], left: list[Array], usual: Array, number: int) -> Array:
    """What sets a place's areas apart in what is not read, beside what the others say of kinds of homes [areas, 96]."""
    place = places[number]
    known = _unread(places[:number] + places[number + 1 :], left[:number] + left[number + 1 :], usual)
    apart = left[number] - _design(place, usual) @ known
    return np.asarray(apart - np.average(apart, axis=0, weights=place.homes))


def _read_apart(places: list[_Place], number: int) -> Array:
    """The same in what is read [areas, 2 K]."""
    place = places[number]
    effects = _effects(places[:number] + places[number + 1 :])
    return np.asarray(place.by_area(place.read) - place.read.mean(axis=0) - place.further_kinds @ effects)


def _between(places: list[_Place], axes: Array) -> tuple[Array, Array]:
    """Sds along the axes [2 K] of LSOAs of a MSOA, and of MSOAs, beside their kinds of homes and which homes they have.

    By the moments of both levels, of districts that what kinds of homes do was not fitted to, each in turn left out. As
    so few MSOAs tell little of a short axis, half of each of their variances is what it would be if it went with the
    axis' length; LSOAs near each other are taken to be alike by a third at least, and none to be all alike.
    """
    lengths = np.linalg.norm(axes, axis=1)
    moments = []
    for number, place in enumerate(places):
        own, homes = _read_apart(places, number) @ (axes / lengths[:, None]).T, place.homes
        to_msoa, whole = place.areas.weights("MSOA"), place.areas.totals("MSOA", homes)
        shared = np.average(np.square(to_msoa).sum(axis=1), weights=whole)
        chance = np.average(np.square(to_msoa) @ (1 / homes), weights=whole)
        lsoa = np.average(own**2, axis=0, weights=homes) / lengths**2 - 1 / homes.mean()
        msoa = np.average((to_msoa @ own) ** 2, axis=0, weights=whole) / lengths**2 - chance
        moments.append([(lsoa - msoa) / (1 - shared), (msoa - shared * lsoa) / (1 - shared)])
    lsoa, msoa = np.mean(moments, axis=0)
    lsoas = lengths * np.sqrt(np.maximum(lsoa, lsoa.mean() / 10))
    msoas = lengths * np.sqrt(np.maximum((msoa + msoa.mean()) / 2, 0.0))
    return lsoas, np.maximum(msoas, lsoas / 3)


def _own(places: list[_Place], left: list[Array], slope: Array, usual: Array) -> Array:
    """How much the truth goes with what sets areas apart beside their kinds of homes, weekday and weekend [2].

    As a share of how it goes with what is read from home to home, in districts that nothing was fitted to.
    """
    products = np.zeros((2, 2))
    for number, place in enumerate(places):
        shown = place.shown(slope * _read_apart(places, number)) - place.basis.mean.ravel()
        apart = _unread_apart(places, left, usual, number)
        for row, values in enumerate((shown * apart, shown * shown)):
            products[row] += np.average(values, axis=0, weights=place.homes).reshape(2, -1).sum(axis=1)
    return np.asarray(1 + products[0] / products[1])


def _lost(place: _Place) -> float:
    """Share that the bound takes, for each unit it lacks, of a shift that all gaps have in common; mean over them."""
    shifts = 0.005 * np.eye(place.gap.shape[1])
    left = [
        (clip_rows(place.gap + shift, place.bound) - clip_rows(place.gap - shift, place.bound)).mean(axis=0)
        @ shift
        / (2 * shift @ shift)
        for shift in shifts
    ]
    return float((1 - np.mean(left)) / place.lack)


def _slopes(place: _Place) -> Array:
    """How much the truth goes with what is read from home to home, by coefficient."""
    read, true = place.read - place.read.mean(axis=0), place.true - place.true.mean(axis=0)
    return np.asarray((read * true).sum(axis=0) / (read * read).sum(axis=0))


if __name__ == "__main__":
    sys.exit(main())
