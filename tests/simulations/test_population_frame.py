# SPDX-License-Identifier: Apache-2.0
"""Who is missing from the frame, and by how much: as stated, and not at random."""

import dataclasses

import msgspec
import numpy as np
import polars as pl
import pytest

from skyglow_simulations import evaluation, experiment, run
from skyglow_simulations.population import census, drift, frame, households, premises, raw
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.randoms import number_of, place_of, random_of

DAYS = 28


@pytest.fixture(scope="module")
def town() -> census.Census:
    return census.load("E06000045")


@pytest.fixture(scope="module")
def homes(town: census.Census) -> households.Households:
    """A large area of every composition."""
    plan = dataclasses.replace(households.plan_areas(town, scale=1, seed=1)[0], classes=np.full(6, 4000))
    return households.draw(plan, random_of(1, 1))


def drawn(homes: households.Households, **amounts: object) -> frame.Frame:
    gaps = dataclasses.replace(frame.EVEN, **amounts)
    return frame.draw_frame(homes, 1_017_136, DAYS, frame.market_of(1, 7, gaps), gaps, random_of(9))


def test_smart_meters_depend_on_composition_by_the_stated_amount(homes: households.Households):
    even, uneven = drawn(homes), drawn(homes, smart_meter=frame.UNEVEN.smart_meter)

    def logits(one: frame.Frame) -> np.ndarray:
        share = np.bincount(homes.composition, one.metered) / np.bincount(homes.composition)
        return np.log(share / (1 - share))

    assert np.ptp(logits(even)) < 0.2
    assert logits(uneven) - logits(even).mean() == pytest.approx(np.array(frame.UNEVEN.smart_meter), abs=0.15)


def test_markets_differ_between_districts_by_the_stated_amount():
    gaps = dataclasses.replace(frame.EVEN, market=0.3)
    shares = np.array([frame.market_of(1, district, gaps) for district in range(300)])
    assert np.allclose(shares.sum(axis=1), 1)
    logs = np.log(shares / shares[:, :1])
    assert logs[:, 1:].std(axis=0) == pytest.approx(np.full(6, 0.3 * np.sqrt(2)), rel=0.15)
    plain = np.array([*p.SUPPLIERS.values(), p.NOT_PARTICIPATING])
    assert np.allclose(frame.market_of(1, 3, frame.EVEN), plain / plain.sum())


def test_older_homes_stay_with_the_largest_suppliers(homes: households.Households):
    one = drawn(homes, loyal=0.5)
    older = homes.composition <= 1
    largest = np.isin(one.supplier, [0, 1])
    shares = [largest[group & one.metered].mean() for group in (older, ~older)]
    odds = [share / (1 - share) for share in shares]
    assert np.log(odds[0] / odds[1]) == pytest.approx(0.5, abs=0.1)


def test_some_homes_switch_within_the_period(homes: households.Households):
    one = drawn(homes, switching=0.2)
    switched = one.switch_day > 0
    assert (one.former >= 0).sum() == switched.sum()
    assert (one.former[switched] != one.supplier[switched]).all()
    assert one.metered[switched].all()
    assert one.switch_day.max() < DAYS
    assert switched.sum() / one.metered.sum() == pytest.approx(0.2 * 0.83, abs=0.03)  # the rest chose the same again


def test_some_homes_live_behind_a_neighbours_meter(homes: households.Households):
    one = drawn(homes, shared_meter=0.1)
    behind = one.behind >= 0
    assert set(homes.composition[behind]) == {2, 5}
    assert behind.sum() == pytest.approx(800, rel=0.15)
    assert not one.metered[behind].any()
    assert one.metered[one.behind[behind]].all()


def test_meters_of_homes_and_premises_are_all_different(town: census.Census):
    areas = [number_of(area.lsoa) for area in town.areas] + [number_of("W01000136"), number_of("E01000136")]
    assert len({place_of(area) for area in areas}) == len(areas)
    meters = np.concatenate([frame.meter_numbers(area, np.arange(60_000)) for area in areas[-6:]])
    assert len(np.unique(meters)) == len(meters)
    assert (meters // 10**12 == 1).all()
    codes = {frame.postcode_text(area, number) for area in areas for number in range(200)}
    assert len(codes) == 200 * len(areas)


def test_premises_without_households_use_as_their_kind_does():
    rng = np.random.default_rng(2)
    kwh = rng.gamma(2, 0.1, (4000, DAYS, 48)).astype(np.float32)
    kinds = np.tile([0, 0, 0, 0, 0, 1, 2], 4)
    gaps = dataclasses.replace(frame.EVEN, vacant=0.05, second=0.05, non_domestic=0.05)
    found = premises.draw_premises(kwh, 1_017_136, kinds, frame.market_of(1, 7, gaps), gaps, rng)
    counts = np.bincount(found.kind)
    assert counts == pytest.approx(np.full(3, 200), rel=0.3)
    daily = found.kwh.sum(axis=2)
    assert daily[found.kind == 0].max() < 10
    second = daily[found.kind == 1]
    assert 0.1 < (second[:, kinds > 0] > 3).mean() < 0.4
    assert (second[:, kinds == 0] < 5).mean() > 0.99
    shop = found.kwh[found.kind == 2][:, kinds == 0]
    assert shop[..., 20:32].mean() > 5 * shop[..., :10].mean()


def test_the_survey_is_answered_unevenly_and_not_always_truly(homes: households.Households):
    gaps = dataclasses.replace(frame.EVEN, response=frame.UNEVEN.response, misreport=0.1)
    kinds = np.tile([0, 0, 0, 0, 0, 1, 2], 4)
    survey = frame.draw_survey(homes.composition, kinds, 0.2, gaps, random_of(3))
    share = np.bincount(homes.composition, survey.panel) / np.bincount(homes.composition)
    assert share == pytest.approx(0.2 * np.array(gaps.response) / np.mean(gaps.response), abs=0.02)
    assert (survey.composition != homes.composition).mean() == pytest.approx(0.1, abs=0.01)


def test_drift_moves_the_young_and_builds_by_the_stated_amount(town: census.Census):
    moved = np.array([drift.drifted(town, seed=seed, amount=1.0, building=True) for seed in range(30)])
    growth = moved.sum(axis=2) / town.classes.sum(axis=1) - 1
    assert (growth > 0.001).mean() == pytest.approx(drift.BUILDING_SHARE, abs=0.01)
    assert growth[growth > 0.001].mean() == pytest.approx(drift.BUILDING_GROWTH, rel=0.15)
    before = np.log((town.classes[:, 5] + 0.5) / (town.classes[:, 3] + 0.5))
    after = np.log(moved[..., 5] / moved[..., 3])
    spread = drift.YOUNGER["other"]
    want = np.sqrt(spread.district**2 + spread.msoa**2 + spread.lsoa**2)
    assert (after - before).std() == pytest.approx(want, rel=0.2)
    assert np.array_equal(drift.drifted(town, seed=1, amount=0), town.classes)


def test_a_study_on_an_uneven_frame_judges_households_alone(parameters, tmp_path):
    asked = msgspec.structs.replace(parameters, frame="uneven", scale=0.3)
    one = experiment.begin(run.start(tmp_path / "run", asked), asked, lambda *step: None)
    one.prepare()
    others = pl.read_parquet(one.folder.truth / "premises.parquet")
    assert others.height > 0
    with experiment.opened(one.folder, asked) as held:
        found = evaluation.held_homes(one.folder, one.study, held)
        premises_held = sum(len(supplier.homes(one.study)) for supplier in held.values()) - sum(
            len(f.homes) for f in found
        )
    truth = pl.read_parquet(one.folder.truth / "households.parquet")
    assert 0 < premises_held <= others.filter(pl.col("supplier") < frame.ABSENT).height
    assert all((part.composition >= 0).all() for part in found)
    assert truth.filter(pl.col("former_supplier") >= 0)["switch_day"].min() > 0


def test_some_surveyed_homes_leave_questions_open_and_their_files_say_so():
    composition = np.repeat(np.arange(6, dtype=np.int8), 2000)
    kinds = np.array([0, 1])
    even, uneven = (
        frame.draw_survey(composition, kinds, 0.5, gaps, random_of(3)) for gaps in (frame.EVEN, frame.UNEVEN)
    )
    assert not even.leaves_open.any()
    share = uneven.leaves_open.mean(axis=0)
    assert share.shape == (2,) and (abs(share - frame.UNEVEN.unanswered) < 0.01).all()
    given = {"composition": np.array([5, 0], np.int8), "household_size": np.array([7, -1], np.int8)}
    table = raw.panel_table(np.array([17, 24]), given)
    assert table.rows() == [("17", "other", "8"), ("24", "one_person_66_plus", "unknown")]
