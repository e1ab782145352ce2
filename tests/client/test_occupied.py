# SPDX-License-Identifier: Apache-2.0
"""Presence by an installed model: each home by itself, days left out as the rule leaves them out, and in a study."""

import datetime

import msgspec
import numpy as np
import pytest
import torch

from skyglow_client.features.presence import day_profile
from skyglow_client.learning import occupied
from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.learning.occupied import build_profiles, chances, profiles
from skyglow_shared.layout import held_bound
from skyglow_shared.messages import Approval, Refusal, Share
from skyglow_shared.models import presence, temporal
from skyglow_shared.study import Study

START = datetime.date(2026, 3, 9)  # a Monday
MODEL = temporal.load("presence_model_v1")


@pytest.fixture
def kwh():
    return np.random.default_rng(3).gamma(0.7, 0.3, (4, 14, 48)).astype(np.float32)


def by_torch(kwh):
    """The network as torch's own modules, layer by layer."""
    x, _ = half_hours(kwh, START)
    values = torch.from_numpy(x.astype(np.float64)).permute(0, 3, 1, 2)
    network, begin = temporal.network(kwh.shape[1]), 0
    for number, layer in enumerate(network.layers):
        size = layer.outputs * layer.width
        shape = (layer.outputs, layer.days, layer.half_hours, layer.inputs)
        weight = torch.from_numpy(MODEL.weights[begin : begin + size]).reshape(shape).permute(0, 3, 1, 2)
        bias = torch.from_numpy(MODEL.weights[begin + size : begin + size + layer.outputs])
        begin += size + layer.outputs
        homes, _, days, _ = values.shape
        late, early = layer.days // 2, layer.half_hours // 2
        flat = torch.nn.functional.pad(values.flatten(2), (late * 48 + early, late * 48 + early))
        rows = flat.unfold(2, 48 + 2 * early, 48)[:, :, : days + 2 * late]
        values = torch.nn.functional.conv2d(rows, weight, bias)
        if number < len(network.layers) - 1:
            values = values.clamp_min(0)
        assert values.shape == (homes, layer.outputs, days, 48)
    return torch.sigmoid(values[:, 0]).numpy()


def test_chances_are_those_of_the_network(kwh):
    np.testing.assert_allclose(chances(kwh, START, MODEL), by_torch(kwh), rtol=3e-5)  # float32 beside float64


def test_a_home_has_the_same_numbers_to_the_last_bit_whoever_stands_beside_it(kwh):
    whole = chances(kwh, START, MODEL)
    np.testing.assert_array_equal(chances(kwh[2:], START, MODEL), whole[2:])
    np.testing.assert_array_equal(chances(kwh[::-1].copy(), START, MODEL), whole[::-1])


def test_a_profile_is_the_mean_over_valid_days_of_each_type(kwh):
    kwh[1, 3, 7] = np.nan
    kwh[2, 5:7] = kwh[2, 12:14] = np.nan  # no weekend left
    kwh[3] = np.nan
    found, each = profiles(kwh, START, MODEL), chances(kwh, START, MODEL)
    assert np.isnan(each[1, 3]).all() and np.isfinite(np.delete(each[1], 3, axis=0)).all()
    weekday = np.arange(14) % 7 < 5
    np.testing.assert_allclose(found[0, 0], each[0, weekday].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found[1, 0], np.nanmean(each[1, weekday], axis=0), rtol=1e-6)
    assert np.isfinite(found[2, 0]).all() and np.isnan(found[2, 1]).all() and np.isnan(found[3]).all()
    valid = np.isfinite(kwh).all(axis=2)
    rule = day_profile(np.ones(kwh.shape, dtype=np.uint8), valid, START)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(rule), "left out where the rule leaves out")


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e4, 1e300])
def test_absurd_readings_have_chances_too(value):
    found = chances(np.full((1, 14, 48), value), START, MODEL)
    assert ((found > 0) & (found < 1)).all()


def with_model(study: Study, digest: str = MODEL.digest) -> Study:
    occupancy = msgspec.structs.replace(study.occupancy, model="presence_model_v1", model_digest=digest)
    return msgspec.structs.replace(study, occupancy=occupancy)


def test_a_study_that_names_a_model_gets_its_profiles_and_one_that_does_not_the_rules(town):
    plain, study = town.study(), with_model(town.study())
    block = study.phases[2].blocks[1]
    with town.open() as supplier:
        by_rule, by_model = supplier.homes(plain), supplier.homes(study)
        found = build_profiles(town.folder / "store", "presence_model_v1")
    assert by_model.metered.all() and len(found) == len(by_model)
    wanted = presence.load(study.occupancy.basis).project(found)
    np.testing.assert_allclose(by_model.profile, wanted, atol=1e-6)
    assert abs(by_model.profile - by_rule.profile).max() > 0.01
    vectors = contributions(study, block, by_model, {}).vectors
    flat = wanted.reshape(len(wanted), -1)
    within = np.linalg.norm(flat, axis=1) < held_bound(block)
    assert within.any()
    np.testing.assert_allclose(vectors[within, :-1], flat[within], atol=1e-6)
    kept = np.isfinite(by_rule.diary)
    np.testing.assert_array_equal(np.isfinite(by_model.diary), kept)
    assert abs(by_model.diary[kept] - by_rule.diary[kept]).max() > 0.01


def test_profiles_are_kept_beside_the_store_and_not_made_twice(town, monkeypatch):
    first = build_profiles(town.folder / "store", "presence_model_v1")
    monkeypatch.setattr(occupied, "profiles", lambda *_: 1 / 0)
    np.testing.assert_array_equal(build_profiles(town.folder / "store", "presence_model_v1"), first)
    monkeypatch.setattr(occupied, "VERSION", "another")
    with pytest.raises(ZeroDivisionError):
        build_profiles(town.folder / "store", "presence_model_v1")


def test_a_study_with_a_model_runs_and_another_digest_is_refused(town):
    study = with_model(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.proposal(study)), Approval)
        for phase, round_ in (("training", 0), ("training", 1), ("training", 2), ("calibration", 0), ("release", 0)):
            assert isinstance(town.ask(supplier, town.request(study, phase, round_)), Share)
        refused = town.ask(supplier, town.proposal(with_model(town.study(), "ab" * 32)))
        assert isinstance(refused, Refusal)
        assert "model of presence differs" in refused.message
