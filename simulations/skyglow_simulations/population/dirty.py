# SPDX-License-Identifier: Apache-2.0
"""Faults of raw files, each drawn at random and each written down, so that cleaning can be scored.

Faults of values (gaps, meters that repeat themselves, …) replace readings, and the list keeps what they replace: undone
in reverse order they leave the true readings. Faults of stamps and copies of rows leave the values alone.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.timeline import Timeline

#: In the order in which they are made. `shifted` is what misaligned stamps are in files without stamps.
VALUE_FAULTS: Final = ("gap", "stuck", "spike", "negative", "other_unit", "shifted", "swapped")
KINDS: Final = (*VALUE_FAULTS, "moved_stamp", "equal_duplicate", "conflicting_duplicate", "clock_change")
SCHEMA: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "kind": pl.String,
    "meter_id": pl.Int64,
    "other_meter_id": pl.Int64,
    "half_hour": pl.Int64,
    "half_hours": pl.Int64,
    "seconds": pl.Int64,
    "kwh": pl.List(pl.Float32),
}
_SPIKES = np.array([9.0, 20.0, 37.5, 400.0, 99999.0], np.float32)  # kWh; a home can use 9, and no rule finds it
_NEAR, _FAR = (60, 240), (360, 840)  # seconds by which stamps are off
_Line = NDArray[np.float32]
_Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How often a fault begins, as a share of meter-days; of pairs of meters for `swapped`, of meters for `moved`."""

    short_gap: float = 0.0
    long_gap: float = 0.0
    missing_day: float = 0.0
    stuck: float = 0.0
    spike: float = 0.0
    negative: float = 0.0
    other_unit: float = 0.0
    moved: float = 0.0
    swapped: float = 0.0
    equal_duplicate: float = 0.0
    conflicting_duplicate: float = 0.0


CLEAN: Final = Amounts()
#: What a study's simulated suppliers have: sources in `parameters`.
MILD: Final = Amounts(
    short_gap=p.SHORT_GAP,
    long_gap=p.LONG_GAP,
    missing_day=p.MISSING_DAY,
    spike=p.ABSURD_READING * 24,
    negative=p.ABSURD_READING * 24,
    equal_duplicate=p.EQUAL_DUPLICATE,
    conflicting_duplicate=p.CONFLICTING_DUPLICATE,
)
#: What ``--dirty`` makes: every fault, often enough to be scored (set here).
DIRTY: Final = Amounts(
    short_gap=0.03,
    long_gap=0.01,
    missing_day=0.01,
    stuck=0.003,
    spike=0.01,
    negative=0.01,
    other_unit=0.002,
    moved=0.02,
    swapped=0.01,
    equal_duplicate=0.005,
    conflicting_duplicate=0.003,
)


@dataclass(frozen=True, slots=True)
class Soiled:
    """Readings as a supplier's files give them.

    Attributes
    ----------
    meter_id : ndarray of int64, shape (homes,)
    timeline : Timeline
    kwh : ndarray of float32, shape (homes, half-hours)
        NaN where there is no reading.
    moved : ndarray of int64, shape (homes, half-hours)
        Seconds by which stamps are off.
    copied_home, copied_day : ndarray of int64, shape (copies,)
        Meter-days that are given once more.
    copied_kwh : ndarray of float32, shape (copies, 50)
        What the copy says.
    faults : DataFrame
        One row a fault, of `SCHEMA`; ``kwh`` is what readings were before (of a conflicting duplicate, what it says),
        ``half_hour`` counts from the period's first midnight.
    """

    meter_id: NDArray[np.int64]
    timeline: Timeline
    kwh: _Line
    moved: NDArray[np.int64]
    copied_home: _Places
    copied_day: _Places
    copied_kwh: _Line
    faults: pl.DataFrame


class Runs(NamedTuple):
    """Runs of half-hours of homes: three aligned columns."""

    home: _Places
    start: _Places
    length: _Places

    def spread(self) -> tuple[_Places, _Places, _Places]:
        """Run, home and half-hour of every reading of every run."""
        run = np.repeat(np.arange(len(self.home)), self.length)
        within = np.arange(len(run)) - (np.cumsum(self.length) - self.length)[run]
        return run, self.home[run], self.start[run] + within


def soil(
    kwh: NDArray[np.float32],
    meter_id: NDArray[np.int64],
    timeline: Timeline,
    amounts: Amounts,
    rng: np.random.Generator,
    *,
    stamps: bool = False,
) -> Soiled:
    """Draw faults for the homes of a file.

    Parameters
    ----------
    kwh : ndarray of float32, shape (homes, days, 48)
        True readings by local clock slot.
    meter_id : ndarray of int64, shape (homes,)
    timeline : Timeline
    amounts : Amounts
    rng : numpy Generator
    stamps : bool
        Whether the file's rows have stamps, which can be off by minutes.
    """
    line = timeline.series(kwh)
    book = _Book(meter_id, [])
    for kind, runs in _value_runs(line, timeline, amounts, rng, stamps=stamps):
        _apply(kind, runs, line, book, rng)
    _swap(line, timeline, amounts.swapped, book, rng)
    moved = np.zeros(line.shape if stamps else (len(line), 1), np.int64)
    if stamps:
        _move(moved, timeline, amounts.moved, book, rng)
    home, day, copies = _copy(line, timeline, amounts, book, rng)
    for changed in np.flatnonzero(timeline.lengths != 48):
        run = Runs(
            np.zeros(1, np.int64), timeline.begins[changed : changed + 1], timeline.lengths[changed : changed + 1]
        )
        book.write("clock_change", run, meter=np.zeros(1, np.int64))
    empty = pl.DataFrame(schema=SCHEMA)
    return Soiled(meter_id, timeline, line, moved, home, day, copies, pl.concat([empty, *book.parts]))


class _Book(NamedTuple):
    """The list of faults as it grows."""

    meter_id: NDArray[np.int64]
    parts: list[pl.DataFrame]

    def write(
        self,
        kind: str,
        runs: Runs,
        *,
        kwh: _Line | None = None,
        seconds: _Places | None = None,
        meter: _Places | None = None,
        other: _Places | None = None,
    ) -> None:
        if not len(runs.home):
            return
        none = np.zeros(len(runs.home), np.int64)
        values = pl.Series([[]] * len(none), dtype=pl.List(pl.Float32))
        if kwh is not None:
            table = pl.DataFrame({"run": runs.spread()[0], "kwh": kwh})
            values = table.group_by("run", maintain_order=True).agg("kwh")["kwh"]
        columns = {
            "kind": [kind] * len(none),
            "meter_id": self.meter_id[runs.home] if meter is None else meter,
            "other_meter_id": none if other is None else self.meter_id[other],
            "half_hour": runs.start,
            "half_hours": runs.length,
            "seconds": none if seconds is None else seconds,
            "kwh": values,
        }
        self.parts.append(pl.DataFrame(columns, schema=SCHEMA))


def _value_runs(
    line: _Line, timeline: Timeline, amounts: Amounts, rng: np.random.Generator, *, stamps: bool
) -> list[tuple[str, Runs]]:
    """Where faults of values lie: all are drawn before the first is made."""
    homes, half_hours = line.shape
    days = len(timeline.lengths)

    def anywhere(share: float, shortest: int, longest: int) -> Runs:
        count = int(rng.binomial(homes * days, share))
        start = rng.integers(1, half_hours, count)
        length = np.minimum(rng.integers(shortest, longest + 1, count), half_hours - start)
        return Runs(rng.integers(0, max(homes, 1), count), start, length)

    def whole_days(share: float, most: int) -> Runs:
        count = int(rng.binomial(homes * days, share))
        first = rng.integers(0, days, count)
        last = np.minimum(first + rng.integers(1, most + 1, count), days) - 1
        begin = timeline.begins[first]
        return Runs(
            rng.integers(0, max(homes, 1), count), begin, timeline.begins[last] + timeline.lengths[last] - begin
        )

    gaps = [anywhere(amounts.short_gap, 1, 4), anywhere(amounts.long_gap, 6, 20), whole_days(amounts.missing_day, 1)]
    found = [
        ("gap", Runs(*(np.concatenate(columns) for columns in zip(*gaps, strict=True)))),
        ("stuck", anywhere(amounts.stuck, 50, 144)),
        ("spike", anywhere(amounts.spike, 1, 1)),
        ("negative", anywhere(amounts.negative, 1, 1)),
        ("other_unit", whole_days(amounts.other_unit, 5)),
    ]
    return found if stamps else [*found, ("shifted", whole_days(amounts.moved / max(days, 1), 7))]


def _apply(kind: str, runs: Runs, line: _Line, book: _Book, rng: np.random.Generator) -> None:
    """Write a fault's values over readings, and down in the book what they were."""
    if kind == "stuck":
        runs = Runs(*(column[line[runs.home, runs.start - 1] > 0] for column in runs))
    elif kind in {"spike", "negative"}:
        runs = Runs(*(column[np.isfinite(line[runs.home, runs.start])] for column in runs))
    run, home, half_hour = runs.spread()
    before = line[home, half_hour]
    book.write(kind, runs, kwh=before)
    if kind == "gap":
        after = np.full(len(before), np.nan, np.float32)
    elif kind == "stuck":
        after = line[runs.home, runs.start - 1][run]
    elif kind == "spike":
        after = rng.choice(_SPIKES, len(before))
    elif kind == "negative":
        after = -np.maximum(np.abs(before), np.float32(0.05))
    elif kind == "other_unit":
        after = np.round(before * np.float32(1000))
    else:  # shifted: the first reading of the run is lost
        after = np.where(half_hour == runs.start[run], np.float32(np.nan), np.roll(before, 1))
    line[home, half_hour] = after


def _swap(line: _Line, timeline: Timeline, share: float, book: _Book, rng: np.random.Generator) -> None:
    """Give the readings of two meters to each other, from some day until the end."""
    pairs = rng.permutation(len(line))[: len(line) // 2 * 2].reshape(2, -1)
    pairs = pairs[:, rng.random(pairs.shape[1]) < share]
    start = timeline.begins[rng.integers(0, len(timeline.begins), pairs.shape[1])]
    runs = Runs(pairs[0], start, line.shape[1] - start)
    book.write("swapped", runs, other=pairs[1])
    for one, other, begin in zip(*pairs.tolist(), start.tolist(), strict=True):
        line[[one, other], begin:] = line[[other, one], begin:]


def _move(moved: _Places, timeline: Timeline, share: float, book: _Book, rng: np.random.Generator) -> None:
    """Put some meters' clocks wrong, from some day on for up to a fortnight."""
    home = np.flatnonzero(rng.random(len(moved)) < share)
    first = rng.integers(0, len(timeline.begins), len(home))
    last = np.minimum(first + rng.integers(0, 14, len(home)), len(timeline.begins) - 1)
    start = timeline.begins[first]
    runs = Runs(home, start, timeline.begins[last] + timeline.lengths[last] - start)
    near, far = rng.integers(*_NEAR, len(home)), rng.integers(*_FAR, len(home))
    seconds = np.where(rng.random(len(home)) < 0.5, near, far) * rng.choice([-1, 1], len(home))
    book.write("moved_stamp", runs, seconds=seconds)
    run, rows, half_hour = runs.spread()
    moved[rows, half_hour] = seconds[run]


def _copy(
    line: _Line, timeline: Timeline, amounts: Amounts, book: _Book, rng: np.random.Generator
) -> tuple[_Places, _Places, _Line]:
    """Choose meter-days that are given twice; what the second says."""
    days = len(timeline.lengths)
    draw = rng.random(len(line) * days)
    equal = np.flatnonzero(draw < amounts.equal_duplicate)
    other = np.flatnonzero(draw >= 1 - amounts.conflicting_duplicate)
    place = np.concatenate([equal, other])
    runs = Runs(place // days, timeline.begins[place % days], timeline.lengths[place % days])
    run, home, half_hour = runs.spread()
    said = line[home, half_hour]
    wrong = run >= len(equal)
    said[wrong] = np.round(said[wrong] * np.float32(1.5) + np.float32(0.01), 3)
    book.write("equal_duplicate", Runs(*(column[: len(equal)] for column in runs)))
    book.write("conflicting_duplicate", Runs(*(column[len(equal) :] for column in runs)), kwh=said[wrong])
    copies = np.full((len(place), 50), np.nan, np.float32)
    copies[run, timeline.number[half_hour]] = said
    return runs.home, place % days, copies
