# SPDX-License-Identifier: Apache-2.0
"""What a supplier's cleaning finds of faults that are known: recall and precision, fault by fault.

    python -m skyglow_simulations.population.scoring

Simulated homes are soiled, written in a format, loaded as a supplier loads them, and held against the list of faults.
"""

import argparse
import datetime
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings import IngestReport, Store, ingest
from skyglow_client.readings.cleaning import READING_RULES, SERIES_RULES
from skyglow_client.readings.formats import FORMATS
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_shared.study import Period
from skyglow_simulations.population import census, dirty, exports, households, load, presence, raw
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.population.timeline import Timeline

#: Which faults a rule of cleaning is right to mark.
RIGHTLY: Mapping[str, tuple[str, ...]] = {
    "negative": ("negative",),
    "impossible": ("spike", "other_unit"),
    "other_unit": ("other_unit",),
    "stuck": ("stuck",),
}
_KEY = b"a key for scoring"
_AREAS, _SEED = 3, 1
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Score:
    """How cleaning does on one kind of fault.

    Attributes
    ----------
    kind : str
    readings : int
        How many readings have it.
    recall : float
        Share of them that do not reach the store as they were given: made missing, filled or set right.
    precision : float
        Of the readings that the rule for this kind marks, the share with a fault it may mark; NaN without such a rule.
    """

    kind: str
    readings: int
    recall: float
    precision: float


def score(soiled: dirty.Soiled, cleaned: NDArray[np.float32], report: IngestReport, *, by_day: bool) -> list[Score]:
    """Hold a store against the list of faults.

    Parameters
    ----------
    soiled : Soiled
    cleaned : ndarray of float32, shape (homes, half-hours)
        The store's readings as lines; NaN where a day is masked.
    report : IngestReport
    by_day : bool
        Whether a row of the format is a day, so that whole days are compared and not readings.
    """
    given = np.isclose(cleaned, soiled.kwh, rtol=0, atol=5e-4)
    meters = {int(meter): row for row, meter in enumerate(soiled.meter_id)}
    precisions = _precisions(soiled, meters)
    scores = []
    for kind in dirty.VALUE_FAULTS:
        where = _where(kind, soiled.faults, meters, soiled.kwh.shape)
        if kind in {
            "gap",
            "shifted",
            "swapped",
        }:  # what is missing can't be left as it was; no rule looks for the others
            where &= np.isfinite(soiled.kwh) if kind != "gap" else np.isnan(soiled.kwh)
        if where.any():
            scores.append(Score(kind, int(where.sum()), 1 - float(given[where].mean()), precisions.get(kind, np.nan)))
    return scores + _counted(soiled, report, by_day=by_day)


def _counted(soiled: dirty.Soiled, report: IngestReport, *, by_day: bool) -> list[Score]:
    """Faults of stamps and copies, which cleaning counts."""
    counts, copies = report.counts, np.isfinite(soiled.copied_kwh).sum(axis=1)
    kinds = soiled.faults.filter(pl.col("kind").str.ends_with("duplicate"))["kind"].to_list()
    wrong = np.array([kind == "conflicting_duplicate" for kind in kinds], dtype=bool)
    each = (copies > 0).astype(int) if by_day else copies
    injected = {"equal_duplicate": int(each[~wrong].sum()), "conflicting_duplicate": int(each[wrong].sum())}
    found = {
        "equal_duplicate": counts["readings_repeated"] + counts["rows_repeated"],
        "conflicting_duplicate": counts["readings_conflicting"] + counts["days_conflicting"],
    }
    if soiled.moved.shape[1] > 1:
        off = soiled.moved[np.isfinite(soiled.kwh)]
        injected["moved_stamp"] = int((off != 0).sum())
        found["moved_stamp"] = counts["stamps_moved"] + counts["stamps_between"]
    return [
        Score(kind, number, min(found[kind] / number, 1.0), min(number / max(found[kind], 1), 1.0))
        for kind, number in injected.items()
        if number
    ]


def _where(kind: str, faults: pl.DataFrame, meters: Mapping[int, int], shape: tuple[int, ...]) -> _Mask:
    """Readings with a kind of fault, as a mask of lines: where they are after rows were shifted and meters swapped."""
    mask = np.zeros(shape, np.bool_)
    for name in (kind, "shifted", "swapped"):
        for fault in faults.filter(pl.col("kind") == name).iter_rows(named=True):
            run = slice(fault["half_hour"], fault["half_hour"] + fault["half_hours"])
            rows = [meters[meter] for meter in (fault["meter_id"], fault["other_meter_id"]) if meter]
            if name == kind:
                mask[rows, run] = True
            elif name == "shifted":
                mask[rows[0], run] = np.concatenate([[False], mask[rows[0], run][:-1]])
            else:
                mask[rows, run] = mask[rows[::-1], run]
    return mask


def _precisions(soiled: dirty.Soiled, meters: Mapping[int, int]) -> dict[str, float]:
    """Of what each rule marks, the share it is right to; by the first kind that the rule looks for."""
    line, found = soiled.kwh.copy(), {}
    clock = soiled.timeline.clock(line)
    for rule in (*READING_RULES, *SERIES_RULES):
        flat = clock.reshape(-1, 48) if rule in READING_RULES else clock.reshape(len(clock), -1)
        marks = rule.marks(flat)
        flat[marks] = np.nan  # later rules do not see them
        if rule.name in RIGHTLY and marks.any():
            masks = [_where(kind, soiled.faults, meters, line.shape) for kind in RIGHTLY[rule.name]]
            right = soiled.timeline.clock(np.any(masks, axis=0).astype(np.float32)).reshape(marks.shape) == 1
            found[RIGHTLY[rule.name][0]] = float(right[marks].mean())
    return found


def measure(
    form: str, *, start: datetime.date, days: int, amounts: dirty.Amounts, areas: int, seed: int
) -> list[Score]:
    """Simulate homes, soil, write, load and score them."""
    period = Period(start, days)
    timeline, truth = Timeline.of(period), homes_of(period, areas, seed)
    meters = 10**12 + np.arange(len(truth)) * 7919
    rng = random_of(seed, number_of("E01000001"))
    soiled = dirty.soil(truth, meters, timeline, amounts, rng, stamps=form in exports.STAMPED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "raw").mkdir()
        exports.write(folder / "raw" / "readings-00000", form, meters, soiled, timeline)
        raw.write_meters(folder / "raw" / "meters.csv", meters, ["ZA10 1AA"] * len(meters))
        (folder / "postcodes.csv").write_text("pcds,lsoa21cd\nZA10 1AA,E01000001\n")
        report = ingest(
            folder / "raw",
            folder / "store",
            start=start,
            days=days,
            postcodes=folder / "postcodes.csv",
            pseudonym_key=_KEY,
            form=exports.form_of(form, start),
        )
        cleaned = _in_order(Store.open(folder / "store"), meters, timeline)
    return score(soiled, cleaned, report, by_day=form in {"wide", "wide-csv"})


def _in_order(store: Store, meters: NDArray[np.int64], timeline: Timeline) -> NDArray[np.float32]:
    """The store's readings as lines in the order of the meters; NaN for homes that were left out."""
    place = {row.tobytes(): number for number, row in enumerate(store.pseudonyms)}
    cleaned = np.full((len(meters), len(timeline.day)), np.nan, np.float32)
    for row, pseudonym in enumerate(pseudonyms_of(meters.astype(str), _KEY)):
        if pseudonym.tobytes() in place:
            cleaned[row] = timeline.series(store.kwh[place[pseudonym.tobytes()]][None])[0]
    return cleaned


def homes_of(period: Period, areas: int, seed: int) -> NDArray[np.float32]:
    """True readings [homes, days, 48] of the first areas of Southampton."""
    town, found = census.load("E06000045"), []
    for plan, area in list(zip(households.plan_areas(town, scale=0.3, seed=seed), town.areas, strict=True))[:areas]:
        rng = random_of(seed, number_of(area.lsoa))
        homes = households.draw(plan, rng)
        found.append(load.simulate(homes, presence.simulate(homes, period, rng), period, rng))
    return np.concatenate(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table a format."""
    parser = argparse.ArgumentParser(prog="python -m skyglow_simulations.population.scoring")
    parser.add_argument("--format", choices=tuple(FORMATS), action="append")
    parser.add_argument("--seed", type=int, default=_SEED)
    options = parser.parse_args(arguments)
    start = datetime.date(2026, 3, 9)
    for form in options.format or ("wide", "long"):
        rows = measure(form, start=start, days=28, amounts=dirty.DIRTY, areas=_AREAS, seed=options.seed)
        sys.stdout.write(f"{form:<24}{'readings':>10}{'recall':>9}{'precision':>11}\n")
        for row in rows:
            precision = "–" if np.isnan(row.precision) else f"{row.precision:.3f}"
            sys.stdout.write(f"  {row.kind:<22}{row.readings:>10,}{row.recall:>9.3f}{precision:>11}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
