# SPDX-License-Identifier: Apache-2.0
"""The file of a model of presence: what is in it, and what is not taken for one."""

import base64
import hashlib
from importlib import resources

import msgspec
import numpy as np
import pytest

from skyglow_shared import soundness
from skyglow_shared.errors import StudyError
from skyglow_shared.models import temporal
from skyglow_shared.study import Study, digest

FILE = resources.files("skyglow_shared.models") / "presence_model_v1.json"


def test_the_installed_model_is_its_file():
    model = temporal.load("presence_model_v1")
    assert model.digest == hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert model.weights.shape == (temporal.network(28).parameters,)
    assert np.isfinite(model.weights).all() and -2 < model.level < 2


def test_encoding_and_decoding_are_inverse():
    weights = np.random.default_rng(0).normal(size=temporal.network(1).parameters).astype(np.float32)
    model = temporal.decoded(temporal.encoded(weights, level=0.25, source="a test"))
    np.testing.assert_array_equal(model.weights, weights)
    assert model.level == 0.25


def spoilt(**changes):
    return msgspec.json.encode(msgspec.json.decode(FILE.read_bytes()) | changes)


def short(number):
    return base64.b64encode(bytes(4 * number)).decode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (FILE.read_bytes()[:-100], "cannot be read"),
        (spoilt(weights="not base64!"), "cannot be read"),
        (spoilt(weights=short(1) + "AA"), "cannot be read"),
        (spoilt(more=1), "cannot be read"),
        (spoilt(level="high"), "cannot be read"),
        (spoilt(contract="0" * 64), "other inputs"),
        (spoilt(weights=short(temporal.network(1).parameters - 1)), "other inputs"),
        (
            spoilt(weights=base64.b64encode(np.full(temporal.network(1).parameters, np.nan, "<f4").tobytes()).decode()),
            "no number",
        ),
    ],
)
def test_another_file_is_not_taken_for_a_model(content, words):
    with pytest.raises(StudyError, match=words):
        temporal.decoded(content)


@pytest.mark.parametrize("name", ["", "presence_model_v9", "../presence_model_v1", "presence_basis_v2"])
def test_a_model_that_is_not_installed_is_refused(name):
    with pytest.raises(StudyError):
        temporal.load(name)


def test_a_study_names_a_model_and_its_digest_or_neither(plain):
    empty = msgspec.convert(plain, type=Study)
    plain["occupancy"].update(model="presence_model_v1", model_digest="ab" * 32)
    study = msgspec.convert(plain, type=Study)
    soundness.check(study)
    assert digest(study) != digest(empty)
    for field in ("model", "model_digest"):
        half = msgspec.structs.replace(study.occupancy, **{field: ""})
        with pytest.raises(StudyError, match="model_digest if and only if"):
            soundness.check(msgspec.structs.replace(study, occupancy=half))
