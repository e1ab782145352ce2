# SPDX-License-Identifier: Apache-2.0
"""Simulated homes beside real ones: ``make calibration`` prints both and says which criteria hold.

The real homes (622 Scottish in spring 2009, 1,744 Irish in 2009) are not shipped; without them this says so and stops.
Only summary figures are printed.
"""

import argparse
import dataclasses
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.features.class22 import class22
from skyglow_shared.models.features import contract, normalise
from skyglow_shared.study import Period
from skyglow_simulations.population import census, households, load, presence, weather
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.calibration_models import boosted_scores, logistic_scores
from skyglow_simulations.report.summary import auc

_Array = NDArray[np.float64]
SPRING_2009 = Period(datetime.date(2009, 3, 1), 92)
WEEK = Period(datetime.date(2009, 11, 2), 7)
SCOTTISH = "edrp-scotland-622.npz"
IRISH = "cer-class-features-labels-half.csv.gz"
_VACANT = 0.5  # a vacant-like day uses less than this share of the home's median day …
_FLAT = 2.0  # … and its largest half-hour is less than this many times the home's usual night
_SAMPLE_DAYS = 12  # of each home, for the classifier
#: Area under the curve in the Irish trial by topic, and how far ours may be from it.
TOPICS = {"Retired": 0.764, "Employment": 0.748, "Singles": 0.786, "Persons": 0.796, "NoKids": 0.738}
#: The answer that each topic is about, as the Irish file writes it.
POSITIVE = {"Retired": "Retired", "Employment": "Employed", "Singles": "Singles", "Persons": "3+", "NoKids": "NoKids"}
_WITHIN = 0.03
_MORE_FOR_A_WEEK = 3  # times the homes: a week is short, and the fewer the homes the more chance is in the figures
_GAP = 0.15  # standard deviations of the score: set here, for the same sign alone would pass a gap near none


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One line of the table: what is measured, ours, the real one, what is allowed, and whether it holds."""

    name: str
    ours: float
    real: float
    allowed: str
    holds: bool

    def __str__(self) -> str:
        verdict = "pass" if self.holds else "FAIL"
        return f"{self.name:<42}{self.ours:>9.3f}{self.real:>9.3f}  {self.allowed:<14}{verdict}"


@dataclasses.dataclass(frozen=True, slots=True)
class Homes:
    """Simulated homes: kWh [homes, days, 48], composition and size, and whether the first person, or anybody, works."""

    kwh: NDArray[np.float32]
    composition: NDArray[np.int8]
    size: NDArray[np.int8]
    employed: NDArray[np.bool_]
    works: NDArray[np.bool_]

    @property
    def answers(self) -> dict[str, NDArray[np.bool_]]:
        """What the homes would answer, by topic of the Irish trial."""
        return {
            "Retired": self.composition <= 1,
            "Employment": self.employed,
            "Singles": self.size == 1,
            "Persons": self.size >= 3,
            "NoKids": self.composition != 4,
        }


def simulate(period: Period, *, scale: float, seed: int) -> Homes:
    """Simulate Southampton's homes as of 2009: nobody works at home."""
    at_home, full_time, part_time = (p.PATTERN_NAMES.index(name) for name in ("at_home", "full_time", "part_time"))
    parts = []
    for area, plan in enumerate(households.plan_areas(census.load("E06000045"), scale=scale, seed=seed)):
        rng = households.random_of(seed, 1, area)
        homes = households.draw(plan, rng)
        pattern = np.where(homes.pattern == at_home, full_time, homes.pattern).astype(np.int8)
        homes = dataclasses.replace(homes, pattern=pattern)
        first = np.cumsum(homes.size) - homes.size
        kwh = load.simulate(homes, presence.simulate(homes, period, rng), period, rng, era=q.TRIAL_2009)
        parts.append((kwh, homes.composition, homes.size, np.isin(pattern[first], [full_time, part_time]), homes.works))
    return Homes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def against_scottish(path: Path, *, scale: float, seed: int) -> list[Check]:
    """Compare load with the Scottish homes'."""
    with np.load(path, allow_pickle=False) as file:
        real = file["kwh"].T.reshape(-1, SPRING_2009.days, 48)
    period = Period(SPRING_2009.start, SPRING_2009.days + 1)
    ours = on_greenwich_time(simulate(period, scale=scale, seed=seed).kwh, period)
    return compare_load(ours, real, seed)


def on_greenwich_time(kwh: NDArray[np.float32], period: Period) -> NDArray[np.float32]:
    """Readings by the local clock [homes, days, 48] as meters that never change their clocks would stamp them.

    The last day is left out: its end is not known.
    """
    dates = [period.start + datetime.timedelta(days=day) for day in range(period.days)]
    ahead = np.repeat([weather.summer_time(date) for date in dates], 48)
    place = np.arange(ahead.size - 48)
    place += 2 * ahead[place + 2 * ahead[place]]  # an hour ahead of Greenwich, the local stamp is two half-hours later
    return kwh.reshape(len(kwh), -1)[:, place].reshape(len(kwh), -1, 48)


def compare_load(ours: NDArray[np.float32], real: NDArray[np.float32], seed: int) -> list[Check]:
    """Compare homes of one shape, [homes, days, 48]; days are those of `SPRING_2009`."""
    checks = []
    for name, mine, theirs, kind, allowed in _moments(ours, real):
        if kind == "share":
            checks.append(Check(name, mine, theirs, f"±{allowed:.0%}", abs(mine / theirs - 1) <= allowed))
        elif kind == "gap":
            checks.append(Check(name, mine, theirs, f"±{allowed}", abs(mine - theirs) <= allowed))
        else:
            holds = theirs / allowed <= mine <= theirs * allowed
            checks.append(Check(name, mine, theirs, f"factor {allowed}", holds))
    score = told_apart(ours, real, seed)
    return [*checks, Check("told from real by day, AUC", score, 0.5, "at most 0.90", score <= 0.90)]


def told_apart(ours: NDArray[np.float32], real: NDArray[np.float32], seed: int) -> float:
    """Area under the curve of boosted trees that tell simulated from real days, of homes not trained on."""
    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(ours))[: len(real)]
    x, y, trains = [], [], []
    for simulated, homes in ((False, real), (True, ours[picked])):
        day = rng.integers(0, homes.shape[1], (len(homes), _SAMPLE_DAYS))
        x.append(_day_features(homes[np.arange(len(homes))[:, None], day].reshape(-1, 48)))
        y.append(np.full(len(homes) * _SAMPLE_DAYS, simulated))
        trains.append(np.repeat(rng.permutation(len(homes)) < len(homes) // 2, _SAMPLE_DAYS))
    table, label, train = np.concatenate(x), np.concatenate(y), np.concatenate(trains)
    scores = boosted_scores(table[train], label[train], table[~train])
    return float(auc(scores, label[~train].astype(float)))


def irish(path: Path) -> tuple[_Array, dict[str, NDArray[np.bool_]]]:
    """Read the Irish homes: a week's features ``[homes, 22]``, NaN where unknown, and answers ``[homes]`` by topic."""
    table = pl.read_csv(path)
    features = table.select(pl.col(table.columns[:22]).fill_nan(None)).to_numpy().astype(float)
    return features, {topic: table[topic].to_numpy() == positive for topic, positive in POSITIVE.items()}


def against_irish(path: Path, *, scale: float, seed: int) -> list[Check]:
    """Compare how well a logistic model on one week's 22 features does, and how its scores differ by composition."""
    features, real = irish(path)
    features = np.where(np.isnan(features), np.nanmedian(features, axis=0), features)
    homes = simulate(WEEK, scale=min(1.0, _MORE_FOR_A_WEEK * scale), seed=seed)
    x, usable = normalise(contract("class22-v1"), class22(homes.kwh.astype(float)))
    x, ours = x[usable], {topic: answer[usable] for topic, answer in homes.answers.items()}
    checks, scores = [], {}
    for topic, value in TOPICS.items():
        scores[topic] = logistic_scores(x, ours[topic]), logistic_scores(features, real[topic])
        areas = [
            auc(score, label.astype(float))
            for score, label in zip(scores[topic], (ours[topic], real[topic]), strict=True)
        ]
        holds = abs(areas[0] - value) <= _WITHIN
        checks.append(Check(f"{topic}, AUC", areas[0], areas[1], f"{value} ±{_WITHIN}", holds))
    for kind in (True, False):
        gaps = []
        for score, retired, single in (
            (scores["Retired"][0], ours["Retired"], ours["Singles"]),
            (scores["Retired"][1], real["Retired"], real["Singles"]),
        ):
            mean = [float(score[(retired == kind) & (single == alone)].mean()) for alone in (True, False)]
            gaps.append((mean[0] - mean[1]) / float(score.std()))
        name = f"score, single less others, {'retired' if kind else 'not retired'}"
        checks.append(Check(name, gaps[0], gaps[1], f"±{_GAP} (sd)", abs(gaps[0] - gaps[1]) <= _GAP))
    return checks


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 when a criterion fails, 0 otherwise or when there is no real home to compare with."""
    parser = argparse.ArgumentParser(prog="calibration", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=Path("..") / "shared" / "data" / "real", help="folder of real homes"
    )
    parser.add_argument("--scale", type=float, default=0.06, help="share of Southampton's homes to simulate")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args(arguments)
    checks: list[Check] = []
    for file, compare in ((SCOTTISH, against_scottish), (IRISH, against_irish)):
        if not (options.data / file).is_file():
            print(f"skipped: there is no {file} in the folder of real homes; name it with --data DIR")
            continue
        print(f"{file:<42}{'ours':>9}{'real':>9}  allowed")
        found = compare(options.data / file, scale=options.scale, seed=options.seed)
        print(*found, "", sep="\n", flush=True)
        checks += found
    failed = sum(not check.holds for check in checks)
    if checks:
        print(f"{len(checks) - failed} of {len(checks)} criteria hold")
    return int(failed > 0)


def _moments(ours: NDArray[np.float32], real: NDArray[np.float32]) -> list[tuple[str, float, float, str, float]]:
    """Name, ours, real, kind of allowance and allowance."""
    mine, theirs = _summary(ours), _summary(real)
    rows = []
    for name, (kind, allowed) in _ALLOWED.items():
        rows.append((name, mine[name], theirs[name], kind, allowed))
    weekdays = presence.day_types(SPRING_2009) == 0
    for name, days in (("weekday", weekdays), ("weekend", ~weekdays)):
        ratio = ours[:, days].mean(axis=(0, 1)) / real[:, days].mean(axis=(0, 1))
        worst = int(np.abs(ratio - 1).argmax())
        rows.append((f"{name} profile, worst ratio (at {worst / 2:04.1f} h)", float(ratio[worst]), 1.0, "share", 0.15))
    return rows


_ALLOWED = {
    "daily kWh, mean": ("share", 0.10),
    "daily kWh, p5 of homes": ("share", 0.10),
    "daily kWh, p95 of homes": ("share", 0.10),
    "sd of log daily kWh, between homes": ("gap", 0.05),
    "sd of log daily kWh, within homes": ("gap", 0.05),
    "autocorrelation, one half-hour": ("gap", 0.05),
    "autocorrelation, one day": ("gap", 0.05),
    "zero readings": ("factor", 1.5),
    "vacant-like days": ("factor", 1.5),
}


def _summary(kwh: NDArray[np.float32]) -> dict[str, float]:
    daily = kwh.sum(axis=2, dtype=float)
    log = np.log(np.maximum(daily, 0.1))
    level = daily.mean(axis=1)
    night = np.median(kwh[:, :, 4:10], axis=(1, 2))[:, None]
    quiet = kwh.max(axis=2) < _FLAT * np.maximum(night, 0.02)
    vacant = quiet & (daily < _VACANT * np.median(daily, axis=1)[:, None])
    values = (
        daily.mean(),
        *np.percentile(level, [5, 95]),
        log.mean(axis=1).std(),
        log.std(axis=1).mean(),
        _autocorrelation(kwh, 1),
        _autocorrelation(kwh, 48),
        (kwh == 0).mean(),
        vacant.mean(),
    )
    return {name: float(value) for name, value in zip(_ALLOWED, values, strict=True)}


def _autocorrelation(kwh: NDArray[np.float32], lag: int) -> float:
    """Mean over homes of the correlation of a reading with the one `lag` half-hours before."""
    flat = kwh.reshape(len(kwh), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return float(((flat[:, lag:] * flat[:, :-lag]).mean(axis=1) / np.maximum(flat.var(axis=1), 1e-9)).mean())


def _day_features(days: NDArray[np.float32]) -> _Array:
    """Profile of a day and what varies within it, [days, features]."""
    steps = np.abs(np.diff(days, axis=1))
    ordered = np.sort(days, axis=1)
    level = np.maximum(days.mean(axis=1, keepdims=True), 1e-4)
    centred = days - level
    spread = np.maximum(centred.var(axis=1), 1e-9)
    lags = [(centred[:, lag:] * centred[:, :-lag]).mean(axis=1) / spread for lag in (1, 2, 3)]
    within = [level[:, 0], days.std(axis=1) / level[:, 0], steps.mean(axis=1) / level[:, 0], steps.max(axis=1), *lags]
    return np.column_stack([days, ordered[:, [0, 3, 12, 24, 36, 44, 47]], np.sort(steps, axis=1)[:, ::9], *within])


if __name__ == "__main__":
    sys.exit(main())
