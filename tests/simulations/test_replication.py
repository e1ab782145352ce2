# SPDX-License-Identifier: Apache-2.0
"""Drawn studies: homes are those of the stock, sums those of the homes, and the judgement of coverage can fail."""

import re
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_client.learning import occupied
from skyglow_client.learning.contributions import labels
from skyglow_client.readings import calendar
from skyglow_client.readings.gaps import fill_gaps
from skyglow_shared.models import temporal
from skyglow_shared.models.presence import load as basis_load
from skyglow_simulations import coverage_table, replication, stock
from skyglow_simulations.experiment import begin
from skyglow_simulations.methods import OURS
from skyglow_simulations.population import households, load, presence
from skyglow_simulations.population.frame import UNEVEN
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.replicates import World, area_table, carried_out, draw, untrained
from skyglow_simulations.replication import Setting
from skyglow_simulations.run import Folder

TOPIC = "all_aged_66_plus"


@pytest.fixture(scope="module")
def setting(parameters, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    one = begin(Folder(folder), parameters, lambda phase, done, total: None)
    place = folder / "stock.npz"
    made = stock.make(one.census, one.study, seed=1, copies=1, scale=0.25)
    made.write(place)
    return Setting((one.study,), World(one.census, panel=0.5, scale=0.2), place, False)


@pytest.fixture(scope="module")
def homes(setting):
    return stock.Stock.read(setting.stock)


@pytest.fixture(scope="module")
def drawn(setting, homes):
    return draw(setting.world, homes, setting.studies[0], 1)


def test_an_area_holds_the_homes_that_its_plan_says(setting, homes, drawn):
    assert drawn.areas.households.sum() == pytest.approx(0.2 * setting.world.census.classes.sum(), rel=0.02)
    assert drawn.shares[TOPIC].min() > 0 and drawn.shares[TOPIC].max() < 0.6
    assert drawn.occupied.min() > 0.4 and drawn.occupied.max() <= 1
    rows, rng = homes.rows(), np.random.default_rng(3)
    first = stock._first(rows[3], np.arange(9), 40, rng)
    assert len(set(first.tolist())) == 40
    assert (homes.composition[first] == 3).all()
    assert len(stock._first(rows[3], np.arange(9), 4000, rng)) == 4000


def test_homes_come_from_areas_that_are_alike_and_else_from_an_areas_own_copies(setting, homes):
    """Where nobody is like an area, others' homes would be at work more, or less, than its public table says."""
    plan = households.plan_areas(setting.world.census, scale=0.05, seed=9)[4]
    sizes = (plan.size_given_class * plan.classes[:, None]).sum(axis=0)
    wanted = np.array([plan.employed, sizes @ np.arange(1, sizes.size + 1) / sizes.sum()], np.float32)
    areas, own = len(homes.likeness), [4, 7]  # a stock's copies of one area lie anywhere in it
    assert areas > stock._ALIKE

    def from_where(likeness):
        stocked = replace(homes, likeness=likeness)
        picks = [stocked.pick(plan, stocked.rows(), np.random.default_rng(number)) for number in range(60)]
        assert all(len(pick) == plan.classes.sum() for pick in picks)
        return set(homes.area[np.concatenate(picks)].tolist())

    lonely = np.tile(wanted + np.array([0.05, 0.0]), (areas, 1)).astype(np.float32)
    lonely[own] = wanted
    assert from_where(lonely) == set(own)
    assert 2 < len(from_where(np.tile(wanted, (areas, 1)))) <= 8


def test_a_stock_of_other_weeks_is_not_taken_for_this_one(setting, homes, tmp_path, monkeypatch):
    study, census = setting.studies[0], setting.world.census
    monkeypatch.setattr(stock, "make", lambda *_, **__: sys.exit("made again"))
    kept = stock.load_or_make(setting.stock, census, study, seed=1, workers=1)
    np.testing.assert_array_equal(kept.x, homes.x)
    weeks = msgspec.structs.replace(study, feature_weeks=study.feature_weeks - 1)
    for other, seed in ((weeks, 1), (study, 2)):
        with pytest.raises(replication.RunError, match="another study"):
            stock.load_or_make(setting.stock, census, other, seed=seed, workers=1)
    older = tmp_path / "older.npz"
    np.savez(older, x=homes.x)
    with pytest.raises(replication.RunError, match="another study"):
        stock.load_or_make(older, census, study, seed=1, workers=1)


def test_a_home_is_read_as_its_supplier_would_on_the_day_clocks_change_too(setting, homes):
    """From settlement periods, 46 of them on that Sunday, by what ingests and reads them at a supplier."""
    study, census = setting.studies[0], setting.world.census
    plan, area = households.plan_areas(census, scale=0.25, seed=1000)[0], census.areas[0]
    rng, period = random_of(1000, stock._DRAW, number_of(area.lsoa)), study.period
    drawn = households.draw(plan, rng)
    there = presence.simulate(drawn, period, rng)
    kwh = load.simulate(drawn, there, period, rng)
    lengths, exists = calendar.day_lengths(period.start, period.days), presence.exists(period)
    assert (lengths == 46).sum() == 1
    periods = np.full((*kwh.shape[:2], 50), np.nan, np.float32)
    for day, length in enumerate(lengths):
        periods[:, day, :length] = kwh[:, day, exists[day]]
    read = calendar.to_clock_slots(periods.reshape(-1, 50), np.tile(lengths, len(kwh))).reshape(kwh.shape)
    weekday = calendar.weekdays(period.start, period.days)
    assert fill_gaps(read, weekday).valid.all()
    profile = occupied.profiles(read, period.start, temporal.load(study.occupancy.model))
    basis, own = basis_load(study.occupancy.basis), homes.area == 0
    np.testing.assert_allclose(homes.profile[own], basis.project(profile), atol=2e-5)
    days = np.where(exists, there.occupied, np.nan)
    truth = np.stack([np.nanmean(days[:, of_type], axis=1) for of_type in (weekday, ~weekday)], axis=1)
    np.testing.assert_allclose(homes.curve[own], truth, atol=1e-6)


def test_sums_are_those_of_the_homes_drawn(setting, drawn):
    study = setting.studies[0]
    (outcome,) = carried_out(drawn, [replication.without_noise(study)])
    added = [party.homes.lsoa[~party.homes.surveyed] for party in drawn.parties]  # its panel is kept apart
    count = np.bincount(np.concatenate(added), minlength=9)
    np.testing.assert_allclose(outcome.sums["area_scores"].values[:, 0], count, atol=3)
    said = np.concatenate([party.homes.composition for party in drawn.parties])
    half = outcome.sums["class_scores"].values[:6, 0].sum()  # then those that trained
    assert half == pytest.approx((said >= 0).sum() / 2, rel=0.15)
    assert [phase.name for phase in untrained(study).phases] == ["calibration", "release"]


def test_who_is_missing_follows_the_frame(setting, homes):
    study, world = setting.studies[0], replace(setting.world, panel=0.2, scale=1.0)
    shares = []
    for gaps in (world.gaps, UNEVEN):
        parties = draw(replace(world, gaps=gaps), homes, study, 2).parties
        said = np.concatenate([party.homes.composition for party in parties])
        shares.append(labels(study.models[0], said[said >= 0]).mean())
    assert shares[1] > shares[0] + 0.01


@pytest.mark.parametrize("lie", ["scores", "panel"])
def test_lies_break_the_tie_of_scores_and_answers(setting, homes, lie):
    world = replace(setting.world, panel=1.0, scale=1.0)
    gaps = []
    for one in ("", lie):
        parties = draw(replace(world, lie=one), homes, setting.studies[0], 1).parties
        x = np.concatenate([party.homes.x[TOPIC] for party in parties])
        said = np.concatenate([party.homes.composition for party in parties])
        older, asked = labels(setting.studies[0].models[0], said) > 0, said >= 0
        gaps.append(np.abs(x[asked & older].mean(axis=0) - x[asked & ~older].mean(axis=0)).max())
    assert gaps[1] < 0.5 * gaps[0]


def test_a_run_is_kept_and_goes_on(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(replication, "setting_of", lambda options, folder: setting)
    arguments = ["--replicates", "1", "--workers", "1", "--out", str(tmp_path)]
    assert replication.main(arguments) == 1  # one replicate shows nothing
    text = capsys.readouterr().out
    assert "1 of 1 replicates" in text and TOPIC in text and "occupancy" in text
    monkeypatch.setattr(replication, "replicate", lambda *_: sys.exit("drawn again"))
    replication.main(arguments)
    with pytest.raises(replication.RunError, match="another plan"):
        replication.main([*arguments, "--epsilon", "3"])
    changed = replace(setting, studies=(replace_epsilon(setting.studies[0]),))
    monkeypatch.setattr(replication, "setting_of", lambda options, folder: changed)
    with pytest.raises(replication.RunError, match="another plan"):
        replication.main(arguments)
    monkeypatch.setattr(replication, "setting_of", lambda options, folder: setting)
    monkeypatch.setattr(replication, "PLANNING", replace(replication.PLANNING, turnover=0.31))
    with pytest.raises(replication.RunError, match="another plan"):
        replication.main(arguments)


def test_several_districts_are_told_each_and_together(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(replication, "setting_of", lambda options, folder: setting)
    drawn = iter(fakes(setting, lambda level: 0.95, 6))
    monkeypatch.setattr(replication, "replicate", lambda *_: next(drawn))
    arguments = ["--replicates", "3", "--workers", "1", "--out", str(tmp_path), "--area", "E06000001", "E06000002"]
    replication.main(arguments)
    text = capsys.readouterr().out
    places = ("E06000001-", "E06000002-", "E06000001-E06000002-")
    assert [
        line.startswith(place) for line, place in zip(re.findall("^E.*replicates$", text, re.M), places, strict=True)
    ]
    both = coverage_table.together(
        [fakes(setting, lambda level: 0.95, 6)[:3], fakes(setting, lambda level: 0.95, 6)[3:]]
    )
    assert [one[f"1|{OURS}|{TOPIC}|LSOA"].shape for one in both] == [(4, 18)] * 3
    tables = [area_table(setting.world.census)] * 2
    for name, chosen in coverage_table.strata(tables, "LSOA"):
        assert chosen.shape == (18,), name
        assert chosen[:9].sum() == chosen[9:].sum() == 3


def test_replicates_take_turns_through_the_periods(setting, tmp_path, monkeypatch):
    made, drawn = [], []
    (one,) = fakes(setting, lambda level: 0.95, 1)
    monkeypatch.setattr(
        replication, "setting_of", lambda own, _: made.append(own.start) or replace(setting, stock=own.start)
    )
    monkeypatch.setattr(replication, "replicate", lambda own, seed: drawn.append((seed, own.stock.month)) or one)
    starts = ["2026-03-09", "2026-06-22", "2026-10-05"]
    replication.main(["--replicates", "7", "--workers", "1", "--out", str(tmp_path), "--start", *starts])
    assert [start.isoformat() for start in made] == starts
    assert drawn == [(1, 6), (2, 10), (3, 3), (4, 6), (5, 10), (6, 3), (7, 6)]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [
        "E06000045-3periods-aggregate-panel0.05-even"
    ]
    with pytest.raises(replication.RunError, match="another plan"):
        replication.main(["--workers", "1", "--out", str(tmp_path), "--start", *starts[:2], "2026-10-12"])


def test_every_method_is_judged_by_the_same_truth(setting):
    study = replace_epsilon(setting.studies[0])
    compared = replace(setting, studies=(study, replication.without_noise(study)), compared=True)
    found = replication.replicate(compared, 5)
    methods = {key.split("|")[1] for key in found if "|withheld" not in key}
    assert methods == {
        OURS, "meters alone", "panel alone", "panel alone without noise", "without noise", "old census",
        "classify and count", "adjusted count", "noise and clip", "public curve",
    }  # fmt: skip
    lines, _ = coverage_table.tables([found, found], [setting.world.census], ours=OURS)
    errors = [
        line.split()[-4:] for line in lines if line.split()[1:3] == ["occupancy", "MSOA"] and len(line.split()) == 7
    ]
    assert len(errors) == 1
    assert float(errors[0][1]) == pytest.approx(
        100 * coverage_table.pooled([found], f"1|{OURS}|occupancy|MSOA")["rmse"], abs=0.006
    )
    assert not np.isnan(found["1|noise and clip|occupancy 9-17|MSOA"][1:3]).any()
    assert {values.shape for key, values in found.items() if key.endswith("LSOA")} == {(4, 9)}
    again = replication.replicate(compared, 5)
    np.testing.assert_array_equal(found[f"1|old census|{TOPIC}|LSOA"], again[f"1|old census|{TOPIC}|LSOA"])


def replace_epsilon(study):
    return replication.scaled(study, 1.0, 1.0)


def fakes(setting, chance, runs=60):
    rng, sizes = np.random.default_rng(0), {"LSOA": 9, "MSOA": 2, "LAD": 1}

    def one():
        return {
            f"1|{OURS}|{TOPIC}|{level}": np.stack(
                [rng.random(size) < chance(level), rng.normal(0, 0.01, size), np.full(size, 1e-4), np.full(size, 0.1)]
            )
            for level, size in sizes.items()
        }

    return [one() for _ in range(runs)]


def test_intervals_that_are_too_narrow_are_found(setting):
    areas = [area_table(setting.world.census)]
    keys = [f"1|{OURS}|{TOPIC}|{level}" for level in ("LSOA", "MSOA", "LAD")]
    assert coverage_table.rejected(fakes(setting, lambda level: 0.95), keys, areas) == []
    found = coverage_table.rejected(fakes(setting, lambda level: 0.8 if level == "LSOA" else 0.95), keys, areas)
    assert {key for key, *_ in found} == {keys[0]}
    assert len(found) == 10
    assert coverage_table.rejected(fakes(setting, lambda level: 0.95), keys, areas, coverage_table.GOAL) == []
    outside = coverage_table.rejected(fakes(setting, lambda level: 0.8), keys, areas, coverage_table.GOAL)
    assert {key for key, *_ in outside} == set(keys)
    figures = coverage_table.pooled(fakes(setting, lambda level: 0.8), keys[0])
    assert figures["coverage"] == pytest.approx(0.8, abs=0.05)
    lines, holds = coverage_table.tables(fakes(setting, lambda level: 0.8), [setting.world.census], ours=OURS)
    assert not holds
    assert sum("outside the goal" in line for line in lines) == 3
    assert any(line.startswith("strata whose coverage is outside 93.5% to 96.5%") for line in lines)
    assert any(line.startswith("strata whose coverage is not exactly 95 %") for line in lines)


def test_a_figure_that_chance_may_have_put_outside_the_goal_is_marked_and_decides_all_the_same(setting):
    census = [setting.world.census]
    by_chance = fakes(setting, lambda level: 0.967 if level == "LAD" else 0.95)
    share = coverage_table.pooled(by_chance, f"1|{OURS}|{TOPIC}|LAD")["coverage"]
    assert share > coverage_table.GOAL[1]
    lines, holds = coverage_table.tables(by_chance, census, ours=OURS)
    assert not holds
    assert coverage_table.tables(fakes(setting, lambda level: 0.95, 600), census, ours=OURS)[1]
    assert [line for line in lines if "outside the goal" in line] == [
        line for line in lines if line.endswith("if not by chance")
    ]
    assert sum(line.endswith("if not by chance") for line in lines) == 1
    for chance in (0.8, 1.0):
        shown, holds = coverage_table.tables(fakes(setting, lambda _, c=chance: c, 600), census, ours=OURS)
        assert not holds
        assert sum(line.endswith("outside the goal") for line in shown) == 3
    assert not coverage_table.tables(by_chance[:2], census, ours=OURS)[1]


@pytest.mark.slow
def test_coverage_holds_over_replicates(setting):
    """Pooled coverage of LSOAs and MSOAs over 40 studies of nine areas lies in [0.90, 0.995]; it fails 1 in 1,000."""
    found = [replication.replicate(setting, seed) for seed in range(40)]
    for level in ("LSOA", "MSOA"):
        assert 0.90 <= coverage_table.pooled(found, f"4|{OURS}|{TOPIC}|{level}")["coverage"] <= 0.995
