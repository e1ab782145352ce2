# SPDX-License-Identifier: Apache-2.0
"""Features of several weeks: each home's mean over the weeks it has, so that its score is the mean of its scores."""

import datetime

import msgspec
import numpy as np
import pytest

from skyglow_client.features import build_features, class22
from skyglow_client.features import table as tables
from skyglow_shared import soundness
from skyglow_shared.errors import DataError, StudyError
from skyglow_shared.models import logistic
from skyglow_shared.models.features import averaged, contract, normalise

CONTRACT = contract("class22-v1")
RNG = np.random.default_rng(3)


def raw_week():
    low, high = (np.array([getattr(feature, end) for feature in CONTRACT.features]) for end in ("low", "high"))
    return RNG.uniform(low, high, (9, len(low)))


def test_one_week_is_that_week_to_the_last_bit():
    week = raw_week()
    week[2, 5] = np.nan
    for one, other in zip(averaged(CONTRACT, [week]), normalise(CONTRACT, week), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_home_has_the_mean_of_the_weeks_it_has():
    weeks = [raw_week() for _ in range(3)]
    weeks[0][4, 1], weeks[1][4, 7] = np.nan, np.inf
    for week in weeks:
        week[6, 0] = np.nan
    x, usable = averaged(CONTRACT, weeks)
    alone = [normalise(CONTRACT, week)[0] for week in weeks]
    wanted = np.mean(alone, axis=0)
    wanted[4], wanted[6] = alone[2][4], 0.0
    np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-15)
    assert np.abs(x).max() <= 1
    np.testing.assert_array_equal(usable, np.arange(9) != 6)


def test_a_supplier_takes_all_weeks_of_a_study(town):
    study = town.study()
    several = msgspec.structs.replace(study, feature_week=datetime.date(2026, 3, 9), feature_weeks=2)
    soundness.check(several)
    with town.open() as supplier:
        alone = [
            supplier.homes(msgspec.structs.replace(study, feature_week=datetime.date(2026, 3, day))) for day in (9, 16)
        ]
        together = supplier.homes(several)
    model = study.models[0]
    both = alone[0].metered & alone[1].metered
    assert both.any()
    assert not np.array_equal(alone[0].x[model.name], alone[1].x[model.name])
    np.testing.assert_array_equal(together.profile[both], alone[0].profile[both])
    weights = RNG.normal(size=23)
    logits = [logistic.model_logits(model, weights, homes.x[model.name][both]) for homes in (*alone, together)]
    np.testing.assert_allclose(logits[2], (logits[0] + logits[1]) / 2, rtol=0, atol=1e-12)


def test_several_weeks_are_built_in_one_pass_and_kept_week_by_week(supplier, monkeypatch):
    supplier.ingest()
    start, built = supplier.start, []
    first = build_features(supplier.store, week_start=start + datetime.timedelta(weeks=1))
    rule = tables.presence_rule
    monkeypatch.setattr(tables, "presence_rule", lambda kwh: built.append("profile") or rule(kwh))
    monkeypatch.setattr(tables, "class22", lambda kwh: built.append("week") or class22(kwh))
    whole = build_features(supplier.store, week_start=start, weeks=3)
    assert built == ["week", "week"]  # that between them and the profile were kept
    np.testing.assert_array_equal(whole.later[0], first.features)
    for week, features in enumerate((whole.features, *whole.later)):
        one = build_features(supplier.store, week_start=start + datetime.timedelta(weeks=week))
        np.testing.assert_array_equal(one.features, features)
    assert built == ["week", "week"]
    assert not np.array_equal(whole.later[0], whole.later[1])


@pytest.mark.parametrize("weeks", [0, 4])
def test_weeks_lie_in_the_readings(supplier, weeks):
    supplier.ingest()
    with pytest.raises(DataError, match="period"):
        build_features(supplier.store, week_start=supplier.start + datetime.timedelta(weeks=1), weeks=weeks)


def test_features_of_one_week_have_no_later_ones(town):
    assert build_features(town.folder / "store", week_start=town.study().feature_week).later == ()


@pytest.mark.parametrize("weeks", [4, 52])
def test_all_weeks_lie_in_the_period(town, weeks):
    with pytest.raises(StudyError, match="all feature_weeks"):
        soundness.check(msgspec.structs.replace(town.study(), feature_weeks=weeks))
