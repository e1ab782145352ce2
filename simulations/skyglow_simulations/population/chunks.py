# SPDX-License-Identifier: Apache-2.0
"""A few areas at a time: from their plans to files, in any process and any order.

Everything random is keyed by the seed and the area, so that a chunk's files are the same bytes wherever it is made.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_shared.study import Period
from skyglow_simulations.population import dirty, exports, frame, households, load, premises, presence, raw
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.population.timeline import Timeline

_DRAW, _FRAME, _DIRT, _PREMISES = 1, 2, 4, 6  # labels of an area's generators; 0, 3 and 5 are used elsewhere


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one worker needs to generate a few areas.

    Attributes
    ----------
    number : int
        In the names of its files.
    plans : tuple of AreaPlan
    codes, districts : tuple of str
        Of each plan's LSOA.
    seed : int
    period : Period
    suppliers : Path
        Where ``<name>/raw/readings-<number>`` goes.
    parts : Path
        Where everything else goes, a file a kind and chunk.
    form : str
        Format of the files of readings.
    dirt : dirty.Amounts
    gaps : frame.Amounts
    """

    number: int
    plans: tuple[households.AreaPlan, ...]
    codes: tuple[str, ...]
    districts: tuple[str, ...]
    seed: int
    period: Period
    suppliers: Path
    parts: Path
    form: str
    dirt: dirty.Amounts
    gaps: frame.Amounts


class Held(NamedTuple):
    """Aligned: meters of suppliers that take part, with the days a supplier has them; `last` is not included."""

    meter: NDArray[np.int64]
    supplier: NDArray[np.int8]
    postcode: NDArray[np.str_]
    listed: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    kwh: NDArray[np.float32]


def generate(chunk: Chunk) -> int:
    """Generate a chunk's areas and write its part of every file; how many areas it had."""
    kinds, there = presence.day_types(chunk.period), presence.exists(chunk.period)
    held, rows, bits, occupied, others = [], [], [], [], []
    for plan, code, district in zip(chunk.plans, chunk.codes, chunk.districts, strict=True):
        area = number_of(code)
        rng = random_of(chunk.seed, _DRAW, area)
        homes = households.draw(plan, rng)
        at_home = presence.simulate(homes, chunk.period, rng)
        kwh = load.simulate(homes, at_home, chunk.period, rng)
        market = frame.market_of(chunk.seed, number_of(district), chunk.gaps)
        drawn = frame.draw_frame(
            homes, area, chunk.period.days, market, chunk.gaps, random_of(chunk.seed, _FRAME, area)
        )
        _add_neighbours(kwh, drawn.behind)
        other = premises.draw_premises(kwh, area, kinds, market, chunk.gaps, random_of(chunk.seed, _PREMISES, area))
        held += [*_held(area, drawn, kwh), _held_others(area, other, chunk.period.days)]
        packed = at_home.occupied[drawn.metered].reshape(int(drawn.metered.sum()), -1)
        bits.append(np.packbits(packed, axis=1))
        occupied.append(presence.by_day_type(at_home.occupied.mean(axis=0), kinds > 0, there))
        rows.append(_truth_rows(code, homes, drawn))
        others.append(_other_rows(code, other))
    _write_readings(chunk, Held(*(np.concatenate(column) for column in zip(*held, strict=True))))
    pl.concat(rows).write_parquet(chunk.parts / f"households-{chunk.number:05d}.parquet")
    pl.concat(others).write_parquet(chunk.parts / f"premises-{chunk.number:05d}.parquet")
    np.save(chunk.parts / f"presence-{chunk.number:05d}.npy", np.concatenate(bits))
    np.save(chunk.parts / f"occupied-{chunk.number:05d}.npy", np.stack(occupied))
    return len(chunk.plans)


def _add_neighbours(kwh: NDArray[np.float32], behind: NDArray[np.int64]) -> None:
    """Let a meter count what those who live behind it use too."""
    for home in np.flatnonzero(behind >= 0):
        kwh[behind[home]] = np.round(kwh[behind[home]] + kwh[home], 3)


def _held(area: int, drawn: frame.Frame, kwh: NDArray[np.float32]) -> list[Held]:
    """Homes with the supplier they have now, and those that changed with the one they had."""
    found = []
    for supplier, changed in ((drawn.supplier, False), (drawn.former, True)):
        rows = np.flatnonzero((supplier >= 0) & (supplier < frame.ABSENT))
        days = np.full(len(rows), kwh.shape[1])
        switch = drawn.switch_day[rows]
        found.append(
            Held(
                drawn.meter_id[rows],
                supplier[rows],
                np.array([frame.postcode_text(area, int(number)) for number in drawn.postcode[rows]], dtype="U8"),
                np.full(len(rows), not changed),
                np.zeros_like(switch) if changed else switch,
                switch if changed else days,
                kwh[rows],
            )
        )
    return found


def _held_others(area: int, other: premises.Premises, days: int) -> Held:
    rows = np.flatnonzero(other.supplier < frame.ABSENT)
    return Held(
        other.meter_id[rows],
        other.supplier[rows],
        np.array([frame.postcode_text(area, int(number)) for number in other.postcode[rows]], dtype="U8"),
        np.ones(len(rows), np.bool_),
        np.zeros(len(rows), np.int64),
        np.full(len(rows), days),
        other.kwh[rows],
    )


def _write_readings(chunk: Chunk, held: Held) -> None:
    timeline = Timeline.of(chunk.period)
    day = np.arange(chunk.period.days)
    for index, name in enumerate(p.SUPPLIERS):
        rows = np.flatnonzero(held.supplier == index)
        kwh = held.kwh[rows]
        outside = (day < held.first[rows, None]) | (day >= held.last[rows, None])
        if outside.any():
            kwh[outside] = np.nan
        rng = random_of(chunk.seed, _DIRT, chunk.number, index)
        soiled = dirty.soil(kwh, held.meter[rows], timeline, chunk.dirt, rng, stamps=chunk.form in exports.STAMPED)
        stem = chunk.suppliers / name / "raw" / f"readings-{chunk.number:05d}"
        exports.write(stem, chunk.form, held.meter[rows], soiled, timeline)
        soiled.faults.write_parquet(chunk.parts / f"faults-{name}-{chunk.number:05d}.parquet")
        listed = rows[held.listed[rows]]  # a supplier's list is of its customers on the last day
        raw.write_meters(
            chunk.parts / f"meters-{name}-{chunk.number:05d}.csv", held.meter[listed], held.postcode[listed].tolist()
        )


def _truth_rows(code: str, homes: households.Households, drawn: frame.Frame) -> pl.DataFrame:
    behind = np.where(drawn.behind >= 0, drawn.meter_id[drawn.behind], 0)
    return pl.DataFrame(
        {
            "lsoa21cd": [code] * len(homes.size),
            "composition": homes.composition,
            "size": homes.size,
            "works": homes.works.astype(np.int8),
            "metered": drawn.metered,
            "supplier": drawn.supplier,
            "former_supplier": drawn.former,
            "switch_day": drawn.switch_day,
            "meter_id": drawn.meter_id,
            "behind_meter_id": behind,
            "known_postcode": drawn.postcode >= 0,
        }
    )


def _other_rows(code: str, other: premises.Premises) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lsoa21cd": pl.Series([code] * len(other.kind), dtype=pl.String),
            "kind": pl.Series([premises.KINDS[kind] for kind in other.kind], dtype=pl.String),
            "supplier": other.supplier,
            "meter_id": other.meter_id,
        }
    )
