# SPDX-License-Identifier: Apache-2.0
"""A population by itself, of any areas, written as it is generated: memory does not grow with the country.

``reference``, ``truth`` and ``suppliers`` are as in a run's folder, but truth is in parts, to be read with a pattern:
``households-00000.parquet`` and so on. Every supplier's ``raw`` also has ``format.toml``, with which
``skyglow supplier load`` reads its files. ``population.json``, written last, says what was asked.
"""

import datetime
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from skyglow_shared.errors import RunError
from skyglow_shared.files import is_full, write_atomically
from skyglow_shared.study import Period
from skyglow_simulations.population import dirty, exports, frame, generate, households, survey
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census

_DONE = "population.json"
_TRUTH = ("households", "premises", "presence", "occupied", "faults")
MOST_WEEKS: Final = 52


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a population; the same request gives the same bytes.

    Attributes
    ----------
    start : date
        First day.
    weeks : int
        From 2 to 52.
    scale : float
        Share of each area's households, in (0, 1].
    seed : int
    drift : float
        How far areas have moved since the census: 0 not at all, 1 as `drift` says.
    dirty : bool
        Whether files have every fault; otherwise none.
    form : str
        Format of the files of readings.
    frame : str
        ``even`` or ``uneven``; see `frame.Amounts`.
    panel_fraction : float
        Share of all households that are surveyed.
    """

    start: datetime.date = datetime.date(2026, 3, 9)
    weeks: int = 4
    scale: float = 1.0
    seed: int = 1
    drift: float = 1.0
    dirty: bool = False
    form: str = "wide"
    frame: str = "uneven"
    panel_fraction: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be generated; RunError names the option."""
        if not 2 <= self.weeks <= MOST_WEEKS:
            raise RunError(f"--weeks must be from 2 to {MOST_WEEKS}: a period lies within a year; correct it")
        if not datetime.date(2000, 1, 1) <= self.start <= datetime.date(2099, 1, 1):
            raise RunError("--start must be a date from 2000 to 2098, such as 2026-03-09; correct it")
        for option, value in (("--scale", self.scale), ("--panel", self.panel_fraction)):
            if not 0 < value <= 1:
                raise RunError(f"{option} must be above 0 and at most 1; 0.1 is a good start")
        if self.seed < 0 or not 0 <= self.drift <= 10:
            raise RunError("--seed must be 0 or more and --drift from 0 to 10; correct them")
        if self.frame not in frame.FRAMES:
            raise RunError(f"--frame must be one of {', '.join(frame.FRAMES)}")
        exports.form_of(self.form, self.start)

    @property
    def period(self) -> Period:
        """The days of readings."""
        return Period(self.start, 7 * self.weeks)


def scale_for(census: Census, homes: int) -> float:
    """The share of every area's households that makes so many; RunError if there are not so many."""
    total = int(census.classes.sum())
    if not 0 < homes <= total:
        raise RunError(
            f"--homes must be from 1 to the {total} that the census counts there; name more areas, or fewer homes"
        )
    return homes / total


def write(
    census: Census,
    request: Request,
    out: Path,
    *,
    workers: int = 2,
    at_once: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a population of the census's areas to `out`.

    Parameters
    ----------
    census : Census
    request : Request
    out : Path
        Made if it is not there; must hold nothing.
    workers, at_once : int
        Processes, and how many chunks of areas each takes at a time; neither changes a byte.
    progress : callable
        Called with (areas done, areas).

    Raises
    ------
    RunError
        The folder holds something, there is no worker, or the disk is full (what was written is then removed).
    """
    if workers < 1 or at_once < 1:
        raise RunError("--workers must be 1 or more; correct it")
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty; choose another --out")
    try:
        _write(census, request, out, workers=workers, at_once=at_once, progress=progress)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        if not is_full(error):
            raise
        raise RunError(f"the disk of {out} is full; free some, or choose another --out. Nothing was kept") from None


def _write(
    census: Census, request: Request, out: Path, *, workers: int, at_once: int, progress: Callable[[int, int], None]
) -> None:
    form, gaps, suppliers = exports.form_of(request.form, request.start), frame.FRAMES[request.frame], out / "suppliers"
    for folder in ("reference", "truth", "parts", *(f"suppliers/{name}/raw" for name in p.SUPPLIERS)):
        (out / folder).mkdir(parents=True)
    for name in p.SUPPLIERS:
        write_atomically(suppliers / name / "raw" / "format.toml", exports.mapping_toml(form).encode())
    plans = households.plan_areas(
        census, scale=request.scale, seed=request.seed, drift=request.drift, building=request.drift > 0
    )
    pieces = generate.cut(
        census,
        plans,
        seed=request.seed,
        period=request.period,
        suppliers=suppliers,
        parts=out / "parts",
        form=request.form,
        dirt=dirty.DIRTY if request.dirty else dirty.CLEAN,
        gaps=gaps,
    )
    generate.run_chunks(pieces, workers, progress, len(plans), at_once=at_once)
    generate.write_reference(out, census, plans)
    for name in _TRUTH:
        for path in (out / "parts").glob(f"{name}-*"):
            path.rename(out / "truth" / path.name)
    shutil.rmtree(out / "parts")
    survey.write(
        suppliers,
        _groups(out / "truth", len(pieces)),
        seed=request.seed,
        period=request.period,
        fraction=request.panel_fraction,
        gaps=gaps,
    )
    said = {**asdict(request), "start": str(request.start), "areas": len(plans)}
    write_atomically(out / _DONE, json.dumps(said, indent=1).encode() + b"\n")


def _groups(truth: Path, count: int) -> Iterator[survey.Group]:
    for number in range(count):
        homes = pl.read_parquet(truth / f"households-{number:05d}.parquet")
        yield survey.Group(homes, np.load(truth / f"presence-{number:05d}.npy"))
