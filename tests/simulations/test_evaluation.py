# SPDX-License-Identifier: Apache-2.0
"""Truth and judgement: recomputed here the slow way, home by home."""

import hashlib
import hmac
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skyglow_client.learning.homes import Homes
from skyglow_client.readings import Store
from skyglow_server.estimation.occupancy import GROUPS
from skyglow_shared.study import COMPOSITION_CLASSES
from skyglow_simulations import evaluation, experiment, suppliers
from skyglow_simulations.evaluation import HeldHomes
from skyglow_simulations.population.generate import unpack


@pytest.fixture(scope="module")
def run(finished):
    return finished.experiment.folder


@pytest.fixture(scope="module")
def study(finished):
    return finished.experiment.study


@pytest.fixture(scope="module")
def homes(run):
    return pl.read_parquet(run.truth / "households.parquet")


@pytest.fixture(scope="module")
def held(run, study, finished):
    with experiment.opened(run, finished.experiment.parameters) as opened:
        return evaluation.held_homes(run, study, opened)


def test_the_slots_of_two_kinds_of_day():
    names = GROUPS
    assert len(set(names)) == len(names) == 96
    assert (names[0], names[47], names[48], names[95]) == (
        "weekday 00:00",
        "weekday 23:30",
        "weekend 00:00",
        "weekend 23:30",
    )


def test_true_shares_are_counts_of_homes(run, study, homes):
    true = evaluation.truth(run, study)
    for level in ("lsoa", "msoa", "lad"):
        parent = {area.lsoa: getattr(area, level) for area in study.areas}
        for code in set(parent.values()):
            inside = [kind for lsoa, kind in homes.select("lsoa21cd", "composition").rows() if parent[lsoa] == code]
            older = sum(COMPOSITION_CLASSES[kind].endswith("66_plus") for kind in inside)
            assert true[code, "all_aged_66_plus", "all"] == pytest.approx(older / len(inside))
    areas = 9 + len(study.msoas) + 1
    assert len(true) == areas * (1 + 96)


def test_true_occupancy_of_an_area_is_its_homes_mean(run, study, homes):
    true, names = evaluation.truth(run, study), GROUPS
    occupied = np.load(run.truth / "occupied.npy").reshape(9, 96)
    count = dict(homes.group_by("lsoa21cd").len().rows())
    for msoa in study.msoas:
        inside = [row for row, area in enumerate(study.areas) if area.msoa == msoa]
        weights = [count[study.lsoas[row]] for row in inside]
        for slot in (0, 17, 50, 95):
            mean = np.average(occupied[inside, slot], weights=weights)
            assert true[msoa, "occupancy", names[slot]] == pytest.approx(mean)
    for row, code in enumerate(study.lsoas):
        assert true[code, "occupancy", names[30]] == pytest.approx(occupied[row, 30])


def test_every_held_home_is_beside_its_own_truth(run, homes, held):
    """Found by pseudonym, which the suppliers made; checked by meter, composition, area and readings."""
    metered = homes.filter("metered")
    bits = np.load(run.truth / "presence.npy", mmap_mode="r")
    assert len(bits) == len(metered)
    for index, (name, part) in enumerate(zip(suppliers.NAMES, held, strict=True)):
        key = (run.supplier(name) / "pseudonym.key").read_bytes()
        own = {
            hmac.new(key, str(meter).encode(), hashlib.sha256).digest()[:16]: (row, lsoa, kind)
            for row, (meter, lsoa, kind, supplier) in enumerate(
                metered.select("meter_id", "lsoa21cd", "composition", "supplier").rows()
            )
            if supplier == index
        }
        store = Store.open(run.supplier(name) / "store")
        assert len(part.homes) > 20
        for place, pseudonym in enumerate(part.homes.pseudonyms):
            row, lsoa, kind = own[pseudonym.tobytes()]
            assert part.presence_row[place] == row
            assert part.composition[place] == kind
            assert store.pseudonyms[part.store_row[place]].tobytes() == pseudonym.tobytes()
            assert store.lsoa21cd[part.store_row[place]] == lsoa
        panel = part.homes.composition >= 0
        assert panel.any()
        np.testing.assert_array_equal(part.homes.composition[panel], part.composition[panel])


def made(study, labels, x, *, trained=None):
    """Homes of one supplier whose features and labels a test chooses."""
    count = len(labels)
    training = np.zeros(count, bool) if trained is None else trained
    composition = np.where(labels > 0, 1, 3).astype(np.int8)
    features = np.zeros((count, 22))
    features[:, 0] = x
    homes = Homes(
        pseudonyms=np.zeros((count, 16), np.uint8),
        lsoa=np.arange(count) % 9,
        msoa=np.zeros(count, np.int64),
        x={"all_aged_66_plus": features},
        profile=np.zeros((count, 2, 8)),
        metered=np.ones(count, bool),
        composition=np.where(training, composition, -1).astype(np.int8),
        diary=np.full((count, 2, 8), np.nan),
        calibrates=~training,
    )
    nothing = np.zeros(count, np.int64)
    return HeldHomes(homes, composition, nothing, nothing)


def test_models_are_judged_on_homes_they_have_not_seen(study):
    rng = np.random.default_rng(4)
    labels, trained = rng.integers(0, 2, 400), np.arange(400) < 200
    weights = np.zeros(23)
    weights[0] = 3.0
    seen_only = made(study, labels, np.where(trained, 2.0 * labels - 1, 0.0), trained=trained)
    figures = evaluation.model_figures(study.models[0], weights, [seen_only])
    assert figures["auc"] == 0.5, "knowing the homes it trained on is worth nothing"
    knows = made(study, labels, 2.0 * labels - 1, trained=trained)
    figures = evaluation.model_figures(study.models[0], weights, [knows])
    assert figures["auc"] == figures["mcc"] == figures["auc_non_private"] == figures["mcc_non_private"] == 1
    turned = evaluation.model_figures(study.models[0], -weights, [knows])
    assert turned["auc"] == 0
    assert turned["auc_non_private"] == 1
    assert (figures["auc_majority"], figures["mcc_majority"]) == (0.5, 0.0)


def test_homes_that_are_not_metered_are_not_judged(study):
    labels = np.arange(200) % 2
    knows = made(study, labels, 2.0 * labels - 1, trained=np.arange(200) < 100)
    wrong = made(study, labels, 1 - 2.0 * labels)
    dark = replace(wrong, homes=replace(wrong.homes, metered=np.zeros(200, bool)))
    weights = np.zeros(23)
    weights[0] = 3.0
    assert evaluation.model_figures(study.models[0], weights, [knows, dark])["auc"] == 1


def test_naive_shares_are_calls_counted(study):
    rng = np.random.default_rng(8)
    x = rng.normal(size=180)
    weights = np.zeros(23)
    weights[0], weights[-1] = 1.0, 0.25
    parts = [made(study, np.zeros(90), x[:90]), made(study, np.zeros(90), x[90:])]
    shares = evaluation.naive_shares(study, study.models[0], weights, parts)
    lsoa = np.concatenate([part.homes.lsoa for part in parts])
    for level in ("lsoa", "msoa", "lad"):
        codes = np.array([getattr(area, level) for area in study.areas])
        for code in set(codes):
            called = x[codes[lsoa] == code] > -0.25
            assert shares[code, "all_aged_66_plus", "all"] == pytest.approx(called.mean())


def test_the_presence_rule_is_judged_on_days_that_are_valid(run, held):
    figures = evaluation.presence_figures(run, suppliers.NAMES, held)
    bits, true = np.load(run.truth / "presence.npy"), []
    for name, part in zip(suppliers.NAMES, held, strict=True):
        store = Store.open(run.supplier(name) / "store")
        for place in np.flatnonzero(part.homes.metered)[:300]:
            days = unpack(bits, part.presence_row[[place]], store.days)[0]
            true.append(days[store.valid[part.store_row[place]]].ravel())
    assert figures["occupied_share"] == pytest.approx(np.concatenate(true).mean())
    assert 0.6 < figures["occupied_share"] < 0.95
    assert 0.1 < figures["mcc"] < 0.95
    assert 0 < figures["absence_recall"] < 1
    assert figures["mcc_always_home"] == 0
