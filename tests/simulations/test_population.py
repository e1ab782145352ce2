# SPDX-License-Identifier: Apache-2.0
"""A small simulated town: what its files hold, that it repeats, and that a spoilt start is noticed."""

import dataclasses
import datetime
import hashlib
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skyglow_shared.errors import RunError
from skyglow_shared.study import COMPOSITION_CLASSES, Period
from skyglow_simulations.population import census, dirty, exports, generate, households, presence
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.randoms import number_of
from skyglow_simulations.population.timeline import Timeline

PERIOD = Period(datetime.date(2026, 3, 9), 28)
SPRING = datetime.date(2026, 3, 29)
SCALE = 0.05
SLOTS = [f"hh{slot:02d}" for slot in range(1, 51)]


@pytest.fixture(scope="module")
def town() -> Census:
    """Twelve LSOAs of Southampton: two chunks."""
    whole = census.load("E06000045")
    rows = slice(0, 12)
    cut = {name: getattr(whole, name)[rows] for name in ("areas", "classes", "sizes", "employed")}
    return dataclasses.replace(whole, **cut)


@pytest.fixture(scope="module")
def run(town: Census, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    generate.generate(town, out=out, period=PERIOD, scale=SCALE, seed=5, panel_fraction=0.3, workers=1)
    return out


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(run: Path, supplier: str, name: str) -> pl.DataFrame:
    return pl.read_csv(run / "suppliers" / supplier / "raw" / name, schema_overrides={"meter_id": pl.String})


def readings(run: Path, supplier: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((run / "suppliers" / supplier).rglob("*.parquet"))])


def test_without_drift_every_area_has_its_census_homes(town: Census):
    plans = households.plan_areas(town, scale=1, seed=3, drift=0)
    assert np.abs(np.stack([plan.classes for plan in plans]) - town.classes).max() <= 1
    homes = [households.draw(plan, households.random_of(3, 1, area)) for area, plan in enumerate(plans)]
    drawn = np.stack([np.bincount(home.composition, minlength=6) for home in homes])
    assert np.array_equal(drawn, np.stack([plan.classes for plan in plans]))


def test_drift_moves_shares_at_three_levels_and_keeps_totals():
    whole = census.load("E06000045")
    moves = []
    for seed in range(12):
        now = np.stack([plan.classes for plan in households.plan_areas(whole, scale=1, seed=seed)])
        assert np.array_equal(now.sum(axis=1), whole.classes.sum(axis=1))
        before, after = (counts[:, :2].sum(axis=1) / counts.sum(axis=1) for counts in (whole.classes, now))
        moves.append(np.log(after / (1 - after)) - np.log(before / (1 - before)))
    move = np.array(moves)
    _, msoa = np.unique([area.msoa for area in whole.areas], return_inverse=True)
    within = move - np.stack([np.bincount(msoa, row)[msoa] / np.bincount(msoa)[msoa] for row in move])
    homes = np.bincount(msoa)[msoa]
    assert np.sqrt((within**2 * homes / np.maximum(homes - 1, 1)).mean()) == pytest.approx(0.20, abs=0.02)
    assert np.sqrt((move**2).mean()) == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("scale", [0.001, 0.1, 1.0])
def test_scale_takes_its_share_of_every_area(scale: float, town: Census):
    plans = households.plan_areas(town, scale=scale, seed=1)
    assert [plan.classes.sum() for plan in plans] == [
        max(20, round(total * scale)) for total in town.classes.sum(axis=1).tolist()
    ]


def test_sizes_fit_composition_and_the_census(town: Census):
    sizes, people = np.zeros(9), 0
    for area, plan in enumerate(households.plan_areas(town, scale=1, seed=3, drift=0)):
        homes = households.draw(plan, households.random_of(3, 1, area))
        one = np.isin(homes.composition, [0, 2])
        assert (homes.size[one] == 1).all()
        assert (homes.size[~one] >= 2).all()
        assert np.array_equal(np.bincount(homes.home), homes.size)
        name = np.array(p.PATTERN_NAMES)[homes.pattern]
        first = np.cumsum(homes.size) - homes.size
        child = np.isin(name, ["school", "small_child"])
        assert not child[first].any()
        assert set(homes.composition[homes.home][child]) == {4}
        assert (np.bincount(homes.home, child)[homes.composition == 4] >= 1).all()
        assert set(name[homes.composition[homes.home] <= 1]) <= {"retired", "part_time"}
        sizes += np.bincount(homes.size, minlength=9)
        people += len(homes.home)
    assert np.abs(sizes[1:] / sizes.sum() - town.sizes.sum(axis=0) / town.sizes.sum()).max() < 0.01
    assert people / sizes.sum() == pytest.approx(2.3, abs=0.3)


def test_small_children_do_not_keep_a_home_occupied():
    count = 400
    worker, child = (p.PATTERN_NAMES.index(name) for name in ("full_time", "small_child"))
    alone = households.Households(
        composition=np.full(count, 4, np.int8),
        size=np.full(count, 2, np.int8),
        home=np.repeat(np.arange(count), 2),
        pattern=np.tile(np.array([worker, child], np.int8), count),
    )
    adults = dataclasses.replace(alone, pattern=np.full(2 * count, worker, np.int8))
    noon = [presence.simulate(homes, PERIOD, np.random.default_rng(2)).occupied for homes in (alone, adults)]
    lone, couple = (occupied[:, presence.day_types(PERIOD) == 0, 24:26].mean() for occupied in noon)
    assert lone < couple - 0.05


def test_the_same_bytes_whatever_the_workers(run: Path, town: Census, tmp_path: Path):
    arguments = {"period": PERIOD, "scale": SCALE, "panel_fraction": 0.3}
    generate.generate(town, out=tmp_path / "a", seed=5, workers=2, **arguments)
    assert hashes(tmp_path / "a") == hashes(run)
    generate.generate(town, out=tmp_path / "b", seed=6, workers=1, **arguments)
    other = hashes(tmp_path / "b")
    assert other.keys() == hashes(run).keys()
    assert other["truth/presence.npy"] != hashes(run)["truth/presence.npy"]


def test_truth_of_each_area_is_what_its_homes_did(run: Path, town: Census):
    homes = pl.read_parquet(run / "truth" / "households.parquet")
    bits = np.load(run / "truth" / "presence.npy")
    assert bits.shape == (homes["metered"].sum(), 28 * 48 // 8)
    home_days = generate.unpack(bits, np.arange(len(bits)), 28)
    occupied = np.load(run / "truth" / "occupied.npy")
    assert occupied.shape == (12, 2, 48)
    kinds, there = presence.day_types(PERIOD), presence.exists(PERIOD)
    row = {area.lsoa: index for index, area in enumerate(town.areas)}
    lsoa = np.array([row[code] for code in homes["lsoa21cd"]])
    metered = lsoa[homes["metered"].to_numpy()]
    gap = []
    for area in range(12):
        own = home_days[metered == area]
        for kind, days in enumerate((kinds == 0, kinds > 0)):
            mean = (own[:, days] * there[days]).sum(axis=(0, 1)) / (there[days].sum(axis=0) * len(own))
            gap.append(mean - occupied[area, kind])
    assert np.abs(np.mean(gap)) < 0.02
    assert np.abs(gap).max() < 0.25  # the metered are most of an area's twenty-odd homes
    plan = households.plan_areas(town, scale=SCALE, seed=5)[7]
    rng = households.random_of(5, 1, number_of(town.areas[7].lsoa))
    again = presence.simulate(households.draw(plan, rng), PERIOD, rng).occupied
    assert np.allclose(again[:, kinds == 0].mean(axis=(0, 1)), occupied[7, 0])
    assert np.allclose(again[:, kinds > 0].mean(axis=(0, 1))[4:], occupied[7, 1, 4:])
    skipped = (kinds > 0) & there[:, 2]  # clocks go forward over these two half-hours on one Sunday
    assert np.allclose(again[:, skipped].mean(axis=(0, 1))[2:4], occupied[7, 1, 2:4])
    assert np.array_equal(again[homes["metered"].to_numpy()[lsoa == 7]], home_days[metered == 7])


def test_frame_and_postcodes(run: Path, town: Census):
    homes = pl.read_parquet(run / "truth" / "households.parquet")
    assert homes["metered"].mean() == pytest.approx(0.8, abs=0.07)
    lookup = dict(pl.read_csv(run / "reference" / "postcodes.csv").rows())
    assert set(lookup.values()) == {area.lsoa for area in town.areas}
    seen: list[str] = []
    for index, name in enumerate(p.SUPPLIERS):
        meters = table(run, name, "meters.csv")
        assert meters.columns == ["meter_id", "postcode"]
        assert meters["meter_id"].str.contains(r"^\d{13}$").all()
        own = homes.filter(pl.col("supplier") == index).select(pl.col("meter_id").cast(pl.String), "lsoa21cd")
        joined = meters.join(own, on="meter_id", how="inner")
        assert len(joined) == len(meters) == len(own)
        known = joined.filter(pl.col("postcode") != "ZZ99 9ZZ")
        assert [lookup[code] for code in known["postcode"]] == known["lsoa21cd"].to_list()
        seen += meters["meter_id"].to_list()
    assert len(set(seen)) == len(seen)
    shares = homes.filter(pl.col("metered"))["supplier"].value_counts(normalize=True)
    expected = np.array([*p.SUPPLIERS.values(), p.NOT_PARTICIPATING])
    assert np.abs(shares.sort("supplier")["proportion"].to_numpy() - expected / expected.sum()).max() < 0.07


def test_readings_are_settlement_days_with_few_faults(run: Path):
    every = pl.concat([readings(run, name) for name in p.SUPPLIERS])
    assert every.columns == ["meter_id", "date", *SLOTS]
    assert every.dtypes == [pl.String, pl.Date] + [pl.Float32] * 50
    present = every.group_by("date").agg(pl.col(SLOTS).count()).sort("date")
    spring = np.array([date == SPRING for date in present["date"]])
    counts = present.select(SLOTS).to_numpy()
    assert (counts[:, 48:] == 0).all()
    assert (counts[spring, 46:48] == 0).all()
    assert (counts[~spring, :48] > 0).all()
    assert (counts[spring, :46] > 0).all()
    normal = every.filter(pl.col("date") != SPRING).select(SLOTS[:48])
    missing = normal.select(pl.all().null_count()).sum_horizontal().item() / normal.height / 48
    days = every.select("meter_id", "date").n_unique() / (every["meter_id"].n_unique() * 28)
    assert 0.001 < missing < 0.006
    assert 0.985 < days < 0.999
    doubles = every.filter(pl.struct("meter_id", "date").is_duplicated())
    assert 0 < doubles.height < 0.004 * every.height


def test_absurd_readings_and_both_clock_changes(tmp_path: Path):
    kwh = np.tile(np.arange(48, dtype=np.float32) / 100, (40, 7, 1))
    meters = np.arange(40) + 10**12

    def written(period: Period, amounts: dirty.Amounts) -> pl.DataFrame:
        timeline = Timeline.of(period)
        soiled = dirty.soil(kwh, meters, timeline, amounts, np.random.default_rng(1))
        exports.write(tmp_path / "r", "wide", meters, soiled, timeline)
        return pl.read_parquet(tmp_path / "r.parquet")

    for start, sunday, rows in (
        (datetime.date(2026, 3, 23), SPRING, [*range(2), *range(4, 48)]),
        (datetime.date(2026, 10, 19), datetime.date(2026, 10, 25), [*range(4), *range(2, 48)]),
    ):
        day = written(Period(start, 7), dirty.CLEAN).filter(pl.col("date") == sunday).select(SLOTS).to_numpy()
        assert np.allclose(day[0, : len(rows)], np.array(rows) / 100)
        assert np.isnan(day[:, len(rows) :]).all()
    values = written(PERIOD_OF_A_WEEK, dirty.Amounts(spike=0.24, negative=0.24)).select(SLOTS[:48]).to_numpy()
    assert values.max() == 99999.0
    assert values.min() < 0
    assert ((values < 0) | (values > 1)).mean() == pytest.approx(0.01, abs=0.004)


PERIOD_OF_A_WEEK = Period(datetime.date(2026, 3, 9), 7)


def test_panel_and_diaries_say_what_is_true(run: Path):
    homes = pl.read_parquet(run / "truth" / "households.parquet").with_columns(pl.col("meter_id").cast(pl.String))
    homes = homes.with_columns(row=pl.col("metered").cum_sum() - 1)
    bits = np.load(run / "truth" / "presence.npy")
    panel, kept = 0, 0
    for index, name in enumerate(p.SUPPLIERS):
        asked = table(run, name, "panel.csv").join(homes, on="meter_id", how="left", suffix="_true")
        assert (asked["supplier"] == index).all()
        assert asked["composition"].to_list() == [COMPOSITION_CLASSES[kind] for kind in asked["composition_true"]]
        diaries = table(run, name, "diaries.csv").join(homes, on="meter_id", how="left")
        assert diaries.columns[: 2 + 48] == ["meter_id", "date", *SLOTS[:48]]
        assert set(diaries["meter_id"]) <= set(asked["meter_id"])
        days = [(datetime.date.fromisoformat(date) - PERIOD.start).days for date in diaries["date"]]
        true = generate.unpack(bits, diaries["row"].to_numpy(), 28)[np.arange(len(days)), days]
        assert np.array_equal(diaries.select(SLOTS[:48]).to_numpy(), true)
        assert str(SPRING) not in diaries["date"].to_list()
        panel, kept = panel + len(asked), kept + diaries["meter_id"].n_unique()
    held = homes.filter(pl.col("supplier").is_between(0, len(p.SUPPLIERS) - 1)).height
    assert panel / held == pytest.approx(0.3, abs=0.06)
    assert kept / panel == pytest.approx(p.DIARY_SHARE, abs=0.15)


def test_redrawing_the_panel_leaves_the_readings(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    before = hashes(run)
    generate.redraw_panel(tmp_path / "run", seed=77, period=PERIOD, panel_fraction=0.3)
    after = hashes(tmp_path / "run")
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert {Path(name).name for name in changed} == {"panel.csv", "diaries.csv"}
    generate.redraw_panel(tmp_path / "run", seed=5, period=PERIOD, panel_fraction=0.3)
    assert hashes(tmp_path / "run") == before


def test_a_run_cut_short_starts_again_and_a_whole_one_stays(run: Path, town: Census, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    out, arguments = tmp_path / "run", {"period": PERIOD, "scale": SCALE, "panel_fraction": 0.3, "workers": 1}
    stamp = (out / "truth" / "households.parquet").stat().st_mtime_ns
    generate.generate(town, out=out, seed=5, **arguments)
    assert (out / "truth" / "households.parquet").stat().st_mtime_ns == stamp
    (out / "truth" / "done").unlink()
    (out / "truth" / "households.parquet").write_bytes(b"half")
    (out / "suppliers" / "north" / "raw" / "readings-099.parquet").write_bytes(b"left over")
    seen: list[tuple[str, int, int]] = []
    generate.generate(town, out=out, seed=5, progress=lambda *step: seen.append(step), **arguments)
    assert hashes(out) == hashes(run)
    assert (seen[0], seen[-1]) == (("population", 0, 12), ("population", 12, 12))


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 0.0}, {"scale": 1.5}, {"scale": float("nan")}, {"panel_fraction": 0.0}, {"seed": -1}, {"workers": 0}],
)
def test_impossible_parameters_are_refused_before_anything_is_written(wrong: dict, town: Census, tmp_path: Path):
    arguments = {"period": PERIOD, "scale": 0.1, "seed": 1, "workers": 1} | wrong
    with pytest.raises(RunError):
        generate.generate(town, out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()
