# SPDX-License-Identifier: Apache-2.0
"""Generate a whole simulated district: reference tables, truth, and every supplier's raw files.

Areas are generated in chunks, each from generators keyed by (seed, area), and each chunk is written as its own
readings file a supplier: the result is the same bytes whatever the number of workers, and memory does not grow with
the district.

What only a simulation knows is in `truth`: ``households.parquet``, a row a household (``supplier`` is an index in
`parameters.SUPPLIERS`, 6 = one that takes no part, -1 = no smart meter); ``presence.npy``, whether a metered home is
occupied, by day and half-hour, as bits, in the order of the metered rows; ``occupied.npy``, the mean share of homes
occupied [areas, weekday and weekend, 48]; and ``done``, written last.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.study import Period
from skyglow_simulations.population import census as census_tables
from skyglow_simulations.population import frame as frames
from skyglow_simulations.population import households, load, presence, raw
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census

Progress = Callable[[str, int, int], None]
_CHUNK_AREAS = 8
_DONE = "done"
_DRAW, _FRAME, _SURVEY, _DIRT = 1, 2, 3, 4  # labels of an area's generators


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What one worker needs to generate a few areas."""

    number: int
    plans: tuple[tuple[int, households.AreaPlan], ...]
    codes: tuple[str, ...]
    seed: int
    period: Period
    out: Path


def generate(
    census: Census,
    *,
    out: Path,
    period: Period,
    scale: float,
    seed: int,
    panel_fraction: float = 0.05,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Generate a district into `out`/{reference,truth,suppliers}; return at once if it is there already.

    Parameters
    ----------
    census : Census
    out : Path
        The run's folder.
    period : Period
        Days of readings.
    scale : float
        Share of each area's households, in (0, 1].
    seed : int
    panel_fraction : float
        Share of all households that are surveyed.
    workers : int
        Processes; does not change the result.
    progress : callable or None
        Called with ("population", areas done, areas).

    Raises
    ------
    RunError
        `scale` or `panel_fraction` is not in (0, 1], `seed` is negative, or there is no worker.
    """
    for name, value in (("scale", scale), ("panel_fraction", panel_fraction)):
        if not 0 < value <= 1:
            raise RunError(f"{name} must be above 0 and at most 1; 0.1 is a good start")
    if seed < 0 or workers < 1:
        raise RunError("the seed must be 0 or more and there must be a worker; correct the run's parameters")
    if (out / "truth" / _DONE).exists():
        return
    for folder in ("reference", "truth", "parts", *(f"suppliers/{name}/raw" for name in p.SUPPLIERS)):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
    plans = households.plan_areas(census, scale=scale, seed=seed)
    chunks = [
        _Chunk(number, tuple(enumerate(plans))[first : first + _CHUNK_AREAS], census_codes(census), seed, period, out)
        for number, first in enumerate(range(0, len(plans), _CHUNK_AREAS))
    ]
    _run(chunks, workers, partial(progress or _silent, "population"), len(plans))
    _collect(census, out, len(chunks))
    redraw_panel(out, seed=seed, period=period, panel_fraction=panel_fraction)
    write_atomically(out / "truth" / _DONE, b"")


def census_codes(census: Census) -> tuple[str, ...]:
    """The LSOA codes, in the order of every area index."""
    return tuple(area.lsoa for area in census.areas)


def redraw_panel(out: Path, *, seed: int, period: Period, panel_fraction: float = 0.05) -> None:
    """Draw the panel and its diaries anew, and rewrite every supplier's panel.csv and diaries.csv.

    The readings stay as they are: replicates of a study differ in who is surveyed.
    """
    homes = pl.read_parquet(out / "truth" / "households.parquet")
    rng = households.random_of(seed, _SURVEY)
    diary_days = np.where(presence.exists(period).all(axis=1), presence.day_types(period), -1)
    survey = frames.draw_survey(len(homes), diary_days, panel_fraction, rng)
    bits = np.load(out / "truth" / "presence.npy", mmap_mode="r")
    row = np.cumsum(homes["metered"].to_numpy()) - 1
    supplier, meter = homes["supplier"].to_numpy(), homes["meter_id"].to_numpy()
    composition = homes["composition"].to_numpy()
    known = homes["known_postcode"].to_numpy()
    for index, name in enumerate(p.SUPPLIERS):
        raw_folder = out / "suppliers" / name / "raw"
        asked = survey.panel & (supplier == index) & known
        raw.write_panel(raw_folder / "panel.csv", meter[asked], composition[asked])
        keeps = [np.flatnonzero(asked & (days >= 0)) for days in (survey.weekday, survey.weekend)]
        home, day = np.concatenate(keeps), np.concatenate([survey.weekday[keeps[0]], survey.weekend[keeps[1]]])
        days = unpack(bits, row[home], period.days)[np.arange(len(home)), day]
        raw.write_diaries(raw_folder / "diaries.csv", meter[home], day, days, period)


def unpack(bits: NDArray[np.uint8], rows: NDArray[np.int64], days: int) -> NDArray[np.uint8]:
    """Presence 0/1 [rows, days, 48] of rows of the packed truth."""
    return np.unpackbits(np.asarray(bits[rows]), axis=1).reshape(len(rows), days, presence.SLOTS)


def _run(chunks: list[_Chunk], workers: int, progress: Callable[[int, int], None], areas: int) -> None:
    progress(0, areas)
    if workers == 1:
        for chunk in chunks:
            _generate_chunk(chunk)
            progress(min((chunk.number + 1) * _CHUNK_AREAS, areas), areas)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_generate_chunk, chunks), start=1):
            progress(min(done * _CHUNK_AREAS, areas), areas)


def _generate_chunk(chunk: _Chunk) -> None:
    """Generate a few areas and write their part of every file."""
    kinds = presence.day_types(chunk.period)
    kwh, meters, suppliers, postcodes, rows, bits, occupied = [], [], [], [], [], [], []
    for area, plan in chunk.plans:
        rng = households.random_of(chunk.seed, _DRAW, area)
        homes = households.draw(plan, rng)
        at_home = presence.simulate(homes, chunk.period, rng)
        frame = frames.draw_frame(len(homes.size), area, households.random_of(chunk.seed, _FRAME, area))
        held = (frame.supplier >= 0) & (frame.supplier < frames.ABSENT)
        kwh.append(load.simulate(homes, at_home, kinds, rng)[held])
        meters.append(frame.meter_id[held])
        suppliers.append(frame.supplier[held])
        postcodes += [frames.postcode_text(area, int(number)) for number in frame.postcode[held]]
        packed = np.packbits(at_home.occupied[frame.metered].reshape(int(frame.metered.sum()), -1), axis=1)
        bits.append(packed)
        occupied.append(_mean_profile(at_home.occupied, kinds, presence.exists(chunk.period)))
        rows.append(_truth_rows(chunk.codes[area], homes, frame))
    _write_chunk(chunk, np.concatenate(kwh), np.concatenate(meters), np.concatenate(suppliers), postcodes)
    pl.concat(rows).write_parquet(chunk.out / "parts" / f"households-{chunk.number:03d}.parquet")
    np.save(chunk.out / "parts" / f"presence-{chunk.number:03d}.npy", np.concatenate(bits))
    np.save(chunk.out / "parts" / f"occupied-{chunk.number:03d}.npy", np.stack(occupied))


def _mean_profile(
    occupied: NDArray[np.bool_], kinds: NDArray[np.int64], there: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean occupied share [2, 48] over homes and days (weekdays, weekend days) of the half-hours that there were."""
    shares = occupied.mean(axis=0) * there  # [days, 48]
    return np.stack([shares[days].sum(axis=0) / there[days].sum(axis=0) for days in (kinds == 0, kinds > 0)])


def _truth_rows(code: str, homes: households.Households, frame: frames.Frame) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lsoa21cd": [code] * len(homes.size),
            "composition": homes.composition,
            "size": homes.size,
            "metered": frame.metered,
            "supplier": frame.supplier,
            "meter_id": frame.meter_id,
            "known_postcode": frame.postcode >= 0,
        }
    )


def _write_chunk(
    chunk: _Chunk,
    kwh: NDArray[np.float32],
    meters: NDArray[np.int64],
    suppliers: NDArray[np.int8],
    postcodes: list[str],
) -> None:
    for index, name in enumerate(p.SUPPLIERS):
        held = np.flatnonzero(suppliers == index)
        rng = households.random_of(chunk.seed, _DIRT, chunk.number, index)
        folder = chunk.out / "suppliers" / name / "raw"
        raw.write_readings(folder / f"readings-{chunk.number:03d}.parquet", meters[held], kwh[held], chunk.period, rng)
        part = chunk.out / "parts" / f"meters-{name}-{chunk.number:03d}.csv"
        raw.write_meters(part, meters[held], [postcodes[row] for row in held])


def _collect(census: Census, out: Path, chunks: int) -> None:
    """Join the chunks' parts into the district's files."""
    parts = out / "parts"
    for name in p.SUPPLIERS:
        files = [parts / f"meters-{name}-{number:03d}.csv" for number in range(chunks)]
        table = pl.concat([pl.read_csv(file, schema_overrides={"meter_id": pl.String}) for file in files])
        table.write_csv(out / "suppliers" / name / "raw" / "meters.csv")
    tables = [pl.read_parquet(parts / f"households-{number:03d}.parquet") for number in range(chunks)]
    homes = pl.concat(tables)
    homes.write_parquet(out / "truth" / "households.parquet")
    for name in ("presence", "occupied"):
        arrays = [np.load(parts / f"{name}-{number:03d}.npy") for number in range(chunks)]
        np.save(out / "truth" / f"{name}.npy", np.concatenate(arrays))
    counts = homes.group_by("lsoa21cd").len()
    homes_by_code = dict(zip(counts["lsoa21cd"], counts["len"], strict=True))
    lines = ["pcds,lsoa21cd"]
    for area, code in enumerate(census_codes(census)):
        last = (homes_by_code[code] - 1) // p.HOMES_PER_POSTCODE
        lines += [f"{frames.postcode_text(area, number)},{code}" for number in range(last + 1)]
    write_atomically(out / "reference" / "postcodes.csv", ("\n".join(lines) + "\n").encode())
    today = [homes_by_code[code] for code in census_codes(census)]
    census_tables.write_areas(census, today, out / "reference" / "areas.csv")
    if census.boundaries is not None:
        write_atomically(out / "reference" / "msoa.geojson", json.dumps(census.boundaries).encode())
    shutil.rmtree(parts)


def _silent(phase: str, done: int, total: int) -> None:
    del phase, done, total
