# SPDX-License-Identifier: Apache-2.0
"""A population of 10 thousand, 100 thousand and 1 million households for four weeks: time, and memory that stays flat.

Each is written by `skyglow simulate population` in processes of its own, two workers, to a folder that is removed. The
million are ten Southamptons under codes that no area has, so that no further tables are needed. `--quick` leaves the
million out. Time includes start-up, the survey and every file.
"""

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

_WEEKS = 4
_GOAL_SECONDS = 60.0  # for 100 thousand households, on two cores
_FLAT = 1.4  # at most so much more memory for ten times the households
_COPIES = 10
_FREE = 36_000  # LSOA and MSOA numbers from here on are in use nowhere
_EXTRACT = "E06000045"


@dataclass(frozen=True, slots=True)
class Taken:
    """What one population took: seconds of wall clock and of all processors, and MiB of all its processes at once."""

    wall: float
    cpu: float
    mib: float


def tables(folder: Path, copies: int) -> None:
    """Write the shipped extract's tables so many times over, each copy's areas with numbers of their own."""
    source = Path(str(resources.files("skyglow_simulations") / "extract" / _EXTRACT))
    codes: dict[tuple[int, str], str] = {}
    for path in sorted(source.glob("*.csv")):
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for copy in range(copies):
            writer.writerows([_other(value, copy, codes) for value in row] for row in rows)
        (folder / path.name).write_text(text.getvalue(), encoding="utf-8")


def _other(value: str, copy: int, codes: dict[tuple[int, str], str]) -> str:
    if value[:3] not in {"E01", "E02"} or len(value) != 9:
        return value
    return codes.setdefault((copy, value), f"{value[:3]}{_FREE + len(codes):06d}")


def _areas(census: Path, homes: int) -> list[str]:
    """The first areas that have so many households between them."""
    with (census / "ts003-lsoa.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    found: list[str] = []
    total = 0
    for row in rows:
        if total >= homes:
            break
        found.append(row[2])
        total += int(row[3])
    return found


def population(homes: int, census: Path) -> Taken:
    """Write one, and measure it from outside."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["simulate", "population", "--census", str(census), "--homes", str(homes), "--weeks", str(_WEEKS)]
        words += ["--lsoas", ",".join(_areas(census, homes))]
        command = [
            sys.executable,
            "-m",
            "skyglow_shared.command",
            *words,
            "--workers",
            "2",
            "--quiet",
            "--out",
            scratch,
        ]
        begun, before = time.perf_counter(), os.times()
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
            peak = 0.0
            while process.poll() is None:
                peak = max(peak, _mib(process.pid))
                time.sleep(0.1)
        wall, after = time.perf_counter() - begun, os.times()
        if process.returncode:
            raise SystemExit(f"`skyglow simulate population` ended with {process.returncode}")
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Taken(wall, cpu, peak)


def _mib(pid: int) -> float:
    """Memory of a process and all below it, pages that several share counted once (proportional set size)."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            continue  # it has just ended
    return total / 1024


def measure(quick: bool) -> Iterator[Result]:
    """Each size, one after the other."""
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
    folder = Path(tempfile.mkdtemp())
    try:
        tables(folder, 1 if quick else _COPIES)
        taken: dict[int, Taken] = {}
        for homes in (sizes[1], sizes[0], *sizes[2:]):
            taken[homes] = one = population(homes, folder)
            rate = homes * _WEEKS / one.cpu
            if homes == sizes[1]:
                yield Result(
                    f"{homes:,} households for {_WEEKS} weeks on two cores",
                    one.wall,
                    "seconds",
                    f"under {_GOAL_SECONDS:.0f} seconds",
                    _GOAL_SECONDS / one.wall,
                    goal=1.0,
                )
            yield Result(f"{homes:,} households", rate, "household-weeks per CPU-second", "of one in a second", rate)
        for small, large in pairwise(sizes):
            yield Result(
                f"memory of {large:,} households",
                taken[large].mib,
                "MiB at most",
                f"that of {small:,}",
                taken[large].mib / taken[small].mib,
                at_most=_FLAT,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(__doc__ or "", measure)
