# SPDX-License-Identifier: Apache-2.0
"""A whole country at the office: 24.8 million homes' scores, then estimates, checks and a release for every area.

All 35,672 LSOAs of England and Wales, from the census tables where they lie in ../shared/data, else areas of the same
shape. Homes and their scores are made up and summed by area; what happens on the way from suppliers is other
benchmarks' subject. Timed are the steps at the office: levels made to agree, estimation with intervals, the release
rules, and the release's folder. Times are wall clock, with two processes; memory is the largest resident set, workers
added; growth is that of processor time, as the power of the number of areas that it goes with. Goals: five minutes, six
gibibytes, a power of at most 1.15.
"""

import datetime
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_server.draft import draft
from skyglow_server.estimation import AreaTable, checks, estimate
from skyglow_server.estimation.budget import split
from skyglow_server.estimation.hierarchy import Tree, agree
from skyglow_server.estimation.inputs import LEVELS, counts_trainers
from skyglow_server.estimation.results import Level
from skyglow_server.publication import Release, publish
from skyglow_server.sums import BlockSum
from skyglow_shared.models import presence
from skyglow_shared.study import Area, Study
from skyglow_shared.study import Supplier as RosterEntry
from skyglow_simulations.population import census
from skyglow_simulations.replicates import area_table, deviations

TABLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "census2021"
MINUTES, GIBIBYTES, POWER = 5.0, 6.0, 1.15
LSOAS, MSOAS, LADS = 35_672, 7_264, 331
_MEANS = np.array([0.39, -0.05, -0.30, -0.28, -0.36, -0.25])  # of scores by composition class
_SPREAD, _PANEL, _SUPPLIERS = 0.5, 0.025, 6

Array = NDArray[np.float64]


def country(districts: int) -> AreaTable:
    """The areas of the first districts of the country, by code."""
    table = area_table(census.load_areas((), TABLES)) if TABLES.is_dir() else _synthetic()
    lads = np.array(table.codes["LAD"])
    return table.part(np.isin(lads, np.unique(lads)[:districts]))


def _synthetic() -> AreaTable:
    rng = np.random.default_rng(0)
    msoa = np.sort(np.concatenate([np.arange(MSOAS), rng.integers(0, MSOAS, LSOAS - MSOAS)]))
    lad = np.sort(np.concatenate([np.arange(LADS), rng.integers(0, LADS, MSOAS - LADS)]))[msoa]
    codes: dict[Level, tuple[str, ...]] = {
        "LSOA": tuple(f"E01{number:06d}" for number in range(LSOAS)),
        "MSOA": tuple(f"E02{number:06d}" for number in msoa),
        "LAD": tuple(f"E07{number:06d}" for number in lad),
    }
    mix = rng.dirichlet(22 * np.array([0.13, 0.09, 0.17, 0.29, 0.26, 0.06]), LSOAS)
    counts = np.round(mix * np.maximum(rng.normal(695, 150, LSOAS), 300)[:, None]) + 1.0
    return AreaTable(codes, codes, counts.sum(axis=1), counts)


def study_of(areas: AreaTable, curves: tuple[Level, ...]) -> Study:
    """The built-in study for all these areas, with curves of these levels."""
    template = Path(str(resources.files("skyglow_simulations") / "studies" / "southampton.toml"))
    nested = [Area(*row) for row in zip(*(areas.codes[level] for level in ("LSOA", "MSOA", "LAD")), strict=True)]
    roster = [RosterEntry(name=f"s{number}", public_key=f"{number:064x}") for number in range(1, 1 + _SUPPLIERS)]
    made = draft(template, areas=nested, office_key="f" * 64, suppliers=roster)
    return msgspec.structs.replace(
        made,
        name="national",
        title="Homes all aged 66 and over, and when homes are occupied",
        occupancy=msgspec.structs.replace(made.occupancy, levels=curves),
    )


def made_up(areas: AreaTable, study: Study) -> tuple[dict[str, BlockSum], int]:
    """Score every home and sum by area and class; noise as the study says. (sums, homes)."""
    rng = np.random.default_rng(1)
    drift = rng.normal(0, 0.15, areas.counts.shape[0])
    weight = areas.counts * np.exp(np.outer(drift, [1, 1, 0, 0, 0, 0]))
    mix = weight / weight.sum(axis=1, keepdims=True)
    homes = np.array([rng.multinomial(int(n), q) for n, q in zip(areas.households, mix, strict=True)])
    totals, squares, panel = np.zeros_like(mix), np.zeros_like(mix), rng.binomial(homes, _PANEL)
    for start in range(0, len(homes), 1000):
        rows = homes[start : start + 1000]
        group = np.repeat(np.arange(rows.size), rows.ravel())
        kind = np.tile(np.arange(6), len(rows))[group]
        noise = rng.standard_normal(group.size, dtype=np.float32)
        score = np.clip(_MEANS[kind] + rng.normal(0, 0.02, rows.size)[group] + _SPREAD * noise, -1, 1)
        totals[start : start + 1000] = np.bincount(group, score, minlength=rows.size).reshape(rows.shape)
        squares[start : start + 1000] = np.bincount(group, score**2, minlength=rows.size).reshape(rows.shape)
    each = np.divide(totals, homes, out=np.zeros_like(totals), where=homes > 0)
    own = (panel * each + rng.normal(0, _SPREAD, panel.shape) * np.sqrt(panel)).sum(axis=0)
    seen = panel.sum(axis=0)
    basis = presence.load(study.occupancy.basis)
    curve = rng.normal(0, 0.02, (len(study.msoas), 2 * basis.components.shape[1] + 1))
    diary = np.zeros((1, 2 * (1 + basis.components.shape[1]) + 2))
    bound = next(block.l2_bound for block in study.blocks if block.source == "class_score")
    both = counts_trainers(study, "area_label", study.models[0].name)
    training = rng.binomial(homes, _PANEL)  # whose scores nobody asks for
    calibrated = np.stack([seen, own, seen * (squares.sum(axis=0) / homes.sum(axis=0))], axis=1)
    exact: Mapping[str, Array] = {
        "area_score": np.stack([homes.sum(axis=1), totals.sum(axis=1)], axis=1),
        "class_score": np.concatenate([calibrated, np.outer(bound * training.sum(axis=0), [1, 0, 0])]),
        "area_label": areas.totals("MSOA", (panel + both * training) @ np.array([[1, 1]] * 2 + [[1, -1]] * 4)),
        "area_profile": curve * areas.totals("MSOA", homes.sum(axis=1))[:, None],
        "diary_profile": diary,
    }
    blocks = [block for block in study.blocks if block.source in exact]
    sums = {}
    for block in blocks:
        deviation = deviations(study, block)
        values = exact[block.source] + rng.normal(0, deviation, exact[block.source].shape)
        sums[block.name] = BlockSum(values, deviation, _SUPPLIERS)
    return sums, int(homes.sum())


def levels_agree(areas: AreaTable, sums: Mapping[str, BlockSum]) -> None:
    """Measure metered homes at every level, with the budget split for LSOAs and MSOAs, and make the levels agree."""
    steps: list[NDArray[np.intp]] = [np.zeros(len(set(areas.codes["LAD"])), dtype=np.intp)]
    places: dict[str, Mapping[str, int]] = {}
    start = 1
    nested: tuple[tuple[Level, Level], ...] = (("LAD", "LAD"), ("MSOA", "LAD"), ("LSOA", "MSOA"))
    for level, above in nested:
        nesting = dict(sorted(zip(areas.codes[level], areas.codes[above], strict=True)))
        places[level] = {code: start + number for number, code in enumerate(nesting)}
        if level != above:
            steps.append(np.array([places[above][parent] for parent in nesting.values()]))
        start += len(nesting)
    tree = Tree.of(np.concatenate([np.array([-1]), *steps]))
    counted = sums["area_scores"].values[:, 0]
    exact = np.concatenate([[counted.sum()], *(areas.totals(level, counted) for level in reversed(LEVELS))])
    shares = split(tree, {3: 1.0, 2: 1.0})
    variance = (100.0 / shares)[tree.depth]
    found = agree(tree, exact + np.random.default_rng(2).normal(0, np.sqrt(variance)), variance)
    inner = np.unique(tree.parent[1:])
    added = np.bincount(tree.parent[1:], found.value[1:], minlength=exact.size)
    if not np.allclose(added[inner], found.value[inner]):
        raise SystemExit("levels do not agree")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one country took: seconds by step, processor seconds in all, and its size."""

    steps: Mapping[str, float]
    processor: float
    homes: int
    areas: int


@contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of a step."""
    begun = time.perf_counter()
    yield
    steps[name] = time.perf_counter() - begun


def processor() -> float:
    """Processor seconds of this process and of its workers that have ended."""
    return sum(os.times()[:4])


def office(districts: int, folder: Path, curves: tuple[Level, ...] = ("MSOA", "LAD")) -> Turn:
    """Everything that the office does."""
    areas = country(districts)
    study = study_of(areas, curves)
    sums, homes = made_up(areas, study)
    steps: dict[str, float] = {}
    begun = processor()
    with timed(steps, "hierarchy"):
        levels_agree(areas, sums)
    with timed(steps, "checks"):
        record = checks(study, areas, sums)
    with timed(steps, "estimation and intervals"):
        estimates = estimate(study, areas, sums, record=record, workers=2)
    with timed(steps, "publication"):
        made = datetime.date(2026, 4, 5)
        publish(folder / "release", Release(study, estimates, record, made, "benchmark", simulated=True))
    published = sum(item.status == "published" for item in estimates) / len(estimates)
    if published < 0.95:
        raise SystemExit(f"only {published:.0%} of the figures are published; the sums do not fit the study")
    return Turn(steps, processor() - begun, homes, len(study.areas))


def measure(quick: bool) -> Sequence[Result]:
    """A tenth of the districts, and unless quick all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        found = [office(districts, Path(scratch)) for districts in ((33,) if quick else (33, LADS + 1))]
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    gibibytes = (usage[0] + 2 * usage[1]) / 2**20
    results = []
    for turn in reversed(found):
        minutes = sum(turn.steps.values()) / 60
        name = f"office's time for {turn.areas:,} LSOAs and {turn.homes / 1e6:.1f} million homes"
        results.append(Result(name, minutes, "minutes", "the goal", MINUTES / minutes, 1.0))
        results += [Result(f"  {step}", seconds, "s", "a second", 1 / seconds) for step, seconds in turn.steps.items()]
        results.append(Result("  processor time", turn.processor, "s", "a second", 1 / turn.processor))
    results.append(Result("memory", gibibytes, "GiB", "the goal", GIBIBYTES / gibibytes, 1.0))
    if not quick:
        small, large = found
        power = math.log(large.processor / small.processor) / math.log(large.areas / small.areas)
        results.append(Result("power of the areas that time grows with", power, "", "the goal", POWER / power, 1.0))
    return results


if __name__ == "__main__":
    run(__doc__ or "", measure)
