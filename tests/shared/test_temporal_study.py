# SPDX-License-Identifier: Apache-2.0
"""A study that trains a model of presence: what it must say, and what contradicts it."""

import msgspec
import numpy as np
import pytest

from skyglow_shared import layout, soundness
from skyglow_shared.errors import StudyError
from skyglow_shared.models import logistic, temporal
from skyglow_shared.models.features import HALF_HOURS
from skyglow_shared.study import Study

INSTALLED = temporal.load("presence_model_v1")
MODEL = {
    "name": "presence",
    "kind": "temporal",
    "hidden": [32, 32, 32],
    "features": HALF_HOURS.name,
    "features_digest": HALF_HOURS.digest,
    "start_model": "presence_model_v1",
    "start_digest": INSTALLED.digest,
    "learning_rate": 0.1,
}


@pytest.fixture
def training(plain):
    """Plain data of a sound study with a model of presence, to be changed."""
    plain["models"].append(dict(MODEL))
    plain["occupancy"]["model"] = "presence"
    block = {"name": "learn", "source": "gradient", "model": "presence", "l2_bound": 0.2, "noise_multiplier": 6.0}
    plain["phases"].insert(0, {"name": "presence", "rounds": 9, "expected_homes": 100, "blocks": [block]})
    return plain


def checked(plain) -> Study:
    study = msgspec.convert(plain, type=Study)
    soundness.check(study)
    return study


def test_a_model_of_presence_is_trained_beside_those_of_answers(training):
    study = checked(training)
    own = study.presence_model
    assert own is not None and own.name == "presence"
    assert [model.name for model in study.answer_models] == ["all_aged_66_plus"]
    assert layout.block_shape(study, study.phases[0].blocks[0]) == (1, 9665)
    np.testing.assert_array_equal(logistic.first_weights(own), INSTALLED.weights)


def test_from_nothing_either_is_as_likely_and_layers_may_be_narrow(training):
    training["models"][1] |= {"start_model": "", "start_digest": "", "hidden": [8, 4, 8]}
    study = checked(training)
    weights = logistic.first_weights(study.models[1])
    assert weights.shape == (temporal.network(1, (8, 4, 8)).parameters,) and weights.any()
    assert not weights[-9:].any(), "the last layer"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": [32, 32]}, "channels of the 3 hidden layers"),
        ({"hidden": [32, 65, 32]}, "at most 64 each"),
        ({"hidden": [8, 8, 8]}, "its start_model the same layers"),
        ({"features": "week_v1"}, "features of model presence must be half-hours-v1"),
        ({"positive_classes": ["other"]}, "learns from diaries"),
        ({"score_width": 1.0}, "learns from diaries"),
        ({"question": "paid_work"}, "learns from diaries"),
        ({"start_digest": ""}, "start_digest if and only if it has a start_model"),
        ({"start": [0.0] * 9665}, "start of model presence"),
        ({"name": "other"}, "the only one of its kind, and the one that occupancy names"),
        ({"kind": "perceptron"}, "for the kind 'temporal' alone"),
    ],
)
def test_what_contradicts_a_model_of_presence(training, change, words):
    training["models"][1] |= change
    with pytest.raises(StudyError, match=words):
        checked(training)


def test_two_of_them_or_one_that_is_not_used(training):
    training["occupancy"]["model"] = ""
    with pytest.raises(StudyError, match="the one that occupancy names"):
        checked(training)
    training["occupancy"]["model"] = "presence"
    training["models"].append(MODEL | {"name": "second"})
    with pytest.raises(StudyError, match="the only one of its kind"):
        checked(training)


def test_its_digest_is_not_that_of_an_installed_model(training):
    training["occupancy"]["model_digest"] = "ab" * 32
    with pytest.raises(StudyError, match="not the study's own"):
        checked(training)


def test_occupancy_may_not_name_a_model_of_answers(training):
    training["models"].pop()
    training["phases"].pop(0)
    training["occupancy"]["model"] = "all_aged_66_plus"
    with pytest.raises(StudyError, match="must be temporal"):
        checked(training)


@pytest.mark.parametrize("source", ["area_score", "class_histogram"])
def test_it_has_gradients_alone(training, source):
    training["phases"][2]["blocks"][0] |= {"source": source, "model": "presence"}
    with pytest.raises(StudyError, match="gradients alone"):
        checked(training)


def test_it_takes_no_steps_of_homes_own_and_has_no_model_beside_it(training):
    block = training["phases"][0]["blocks"][0]
    block |= {"local_steps": 2, "local_rate": 0.1}
    with pytest.raises(StudyError, match="local_steps"):
        checked(training)
    block |= {"local_steps": 1, "local_rate": 0.0, "beside": ["all_aged_66_plus"]}
    with pytest.raises(StudyError, match="beside each other only if they have no hidden layers"):
        checked(training)


def test_a_model_of_answers_must_say_its_answers_and_scores(plain):
    for field in ("positive_classes", "score_width"):
        lacking = {name: value for name, value in plain["models"][0].items() if name != field}
        with pytest.raises(StudyError, match=field):
            checked(plain | {"models": [lacking]})


def test_another_file_of_that_name_is_not_begun_from(training):
    training["models"][1]["start_digest"] = "ab" * 32
    study = checked(training)  # which file is installed is not the study's matter
    with pytest.raises(StudyError, match="presence_model_v1 differs from the study's"):
        logistic.first_weights(study.models[1])


def test_curves_are_of_msoas_and_districts_unless_a_study_asks_for_more(plain):
    del plain["occupancy"]["levels"]
    assert checked(plain).occupancy.levels == ("MSOA", "LAD")
    for levels in (["LSOA"], ["LSOA", "MSOA", "LAD"], ["LSOA", "LAD"]):
        plain["occupancy"]["levels"] = levels
        assert checked(plain).occupancy.levels == tuple(levels)


@pytest.mark.parametrize("levels", [[], ["LAD", "MSOA"], ["MSOA", "MSOA"], ["LSOA", "LSOA", "LAD"]])
def test_levels_of_curves_are_in_order_and_each_once(plain, levels):
    plain["occupancy"]["levels"] = levels
    with pytest.raises(StudyError, match="levels of occupancy must be one or more of LSOA, MSOA, LAD, in this order"):
        checked(plain)


def test_a_level_that_nobody_knows_is_refused(plain):
    plain["occupancy"]["levels"] = ["OA"]
    with pytest.raises(msgspec.ValidationError):
        checked(plain)
