# SPDX-License-Identifier: Apache-2.0
"""Generate a whole simulated district: reference tables, truth, and every supplier's raw files.

Areas are generated in chunks, each from generators keyed by (seed, area), and each chunk is written as its own
readings file a supplier: the result is the same bytes whatever the number of workers, and memory does not grow with
the district.

What only a simulation knows is in `truth`: ``households.parquet``, a row a household (``supplier`` is an index in
`parameters.SUPPLIERS`, 6 = one that takes no part, -1 = no smart meter); ``premises.parquet``, meters without a
household; ``faults.parquet``, what is wrong with the raw files; ``presence.npy``, whether a metered home is occupied,
by day and half-hour, as bits, in the order of the metered rows; ``occupied.npy``, the mean share of homes occupied
[areas, weekday and weekend, 48]; and ``done``, written last.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.study import Period
from skyglow_simulations.population import census as census_tables
from skyglow_simulations.population import chunks, dirty, frame, households, survey
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.chunks import Chunk
from skyglow_simulations.population.randoms import number_of
from skyglow_simulations.population.survey import unpack
from skyglow_simulations.processes import each

__all__ = ["CHUNK_AREAS", "census_codes", "cut", "generate", "redraw_panel", "run_chunks", "unpack", "write_reference"]

Progress = Callable[[str, int, int], None]
CHUNK_AREAS = 8
_DONE = "done"


def generate(
    census: Census,
    *,
    out: Path,
    period: Period,
    scale: float,
    seed: int,
    panel_fraction: float = 0.05,
    gaps: frame.Amounts = frame.EVEN,
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
    gaps : frame.Amounts
        By how much homes are not missing at random.
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
    pieces = cut(
        census,
        plans,
        seed=seed,
        period=period,
        suppliers=out / "suppliers",
        parts=out / "parts",
        form="wide",
        dirt=dirty.MILD,
        gaps=gaps,
    )
    run_chunks(pieces, workers, partial(progress or _silent, "population"), len(plans))
    _collect(out, len(pieces))
    write_reference(out, census, plans)
    shutil.rmtree(out / "parts")
    redraw_panel(out, seed=seed, period=period, panel_fraction=panel_fraction, gaps=gaps)
    write_atomically(out / "truth" / _DONE, b"")


def census_codes(census: Census) -> tuple[str, ...]:
    """The LSOA codes, in the order of every area index."""
    return tuple(area.lsoa for area in census.areas)


def redraw_panel(
    out: Path, *, seed: int, period: Period, panel_fraction: float = 0.05, gaps: frame.Amounts = frame.EVEN
) -> None:
    """Draw the panel and its diaries anew, and rewrite every supplier's panel.csv and diaries.csv.

    The readings stay as they are: replicates of a study differ in who is surveyed.
    """
    homes = pl.read_parquet(out / "truth" / "households.parquet")
    bits = np.load(out / "truth" / "presence.npy", mmap_mode="r")
    group = survey.Group(homes, bits)
    survey.write(out / "suppliers", [group], seed=seed, period=period, fraction=panel_fraction, gaps=gaps)


def cut(
    census: Census,
    plans: Sequence[households.AreaPlan],
    *,
    seed: int,
    period: Period,
    suppliers: Path,
    parts: Path,
    form: str,
    dirt: dirty.Amounts,
    gaps: frame.Amounts,
) -> list[Chunk]:
    """Cut areas into chunks of `CHUNK_AREAS`."""
    frame.check_market()
    pieces = []
    for number, first in enumerate(range(0, len(plans), CHUNK_AREAS)):
        part = slice(first, first + CHUNK_AREAS)
        lsoas = tuple(area.lsoa for area in census.areas[part])
        districts = tuple(area.lad for area in census.areas[part])
        chosen = tuple(plans[part])
        pieces.append(Chunk(number, chosen, lsoas, districts, seed, period, suppliers, parts, form, dirt, gaps))
    return pieces


def run_chunks(
    pieces: Sequence[Chunk], workers: int, progress: Callable[[int, int], None], areas: int, *, at_once: int = 1
) -> None:
    """Generate chunks in this process or in several; `at_once` is how many a worker takes at a time."""
    progress(0, areas)
    done = 0
    for made in each(chunks.generate, pieces, workers, at_once=at_once):
        done += made
        progress(done, areas)


def write_reference(out: Path, census: Census, plans: Sequence[households.AreaPlan]) -> None:
    """Join the suppliers' lists of meters, and write what everybody has: areas, postcodes, boundaries."""
    for name in p.SUPPLIERS:
        _append(sorted((out / "parts").glob(f"meters-{name}-*.csv")), out / "suppliers" / name / "raw" / "meters.csv")
    today = [int(plan.classes.sum()) for plan in plans]
    write_atomically(out / "reference" / "postcodes.csv", "".join(_postcodes(census, today)).encode())
    census_tables.write_areas(census, today, out / "reference" / "areas.csv")
    if census.boundaries is not None:
        write_atomically(out / "reference" / "msoa.geojson", json.dumps(census.boundaries).encode())


def _postcodes(census: Census, today: Sequence[int]) -> Iterator[str]:
    yield "pcds,lsoa21cd\n"
    for code, homes in zip(census_codes(census), today, strict=True):
        for number in range((homes - 1) // p.HOMES_PER_POSTCODE + 1):
            yield f"{frame.postcode_text(number_of(code), number)},{code}\n"


def _append(tables: Sequence[Path], path: Path) -> None:
    """One table of several with the same header line."""
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            content = table.read_bytes()
            file.write(content if number == 0 else content[content.index(b"\n") + 1 :])


def _collect(out: Path, count: int) -> None:
    """Join the chunks' parts into the district's files of truth."""
    parts, truth = out / "parts", out / "truth"
    for name in ("households", "premises"):
        tables = [pl.read_parquet(parts / f"{name}-{number:05d}.parquet") for number in range(count)]
        pl.concat(tables).write_parquet(truth / f"{name}.parquet")
    faults = [
        pl.read_parquet(file).with_columns(pl.lit(name).alias("supplier"), pl.lit(file.stem[-5:]).alias("file"))
        for name in p.SUPPLIERS
        for file in sorted(parts.glob(f"faults-{name}-*.parquet"))
    ]
    pl.concat(faults).write_parquet(truth / "faults.parquet")
    for name in ("presence", "occupied"):
        arrays = [np.load(parts / f"{name}-{number:05d}.npy") for number in range(count)]
        np.save(truth / f"{name}.npy", np.concatenate(arrays))


def _silent(phase: str, done: int, total: int) -> None:
    del phase, done, total
