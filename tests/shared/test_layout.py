# SPDX-License-Identifier: Apache-2.0
"""Shapes follow from the signed study alone, and both sides' arithmetic rests on them."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import StudyError
from skyglow_shared.layout import all_round_numbers, block_shape, column_weights, round_numbers
from skyglow_shared.models import features, presence
from skyglow_shared.models.logistic import build, parameter_count
from skyglow_shared.study import Block, Phase, Study

CONTRACT = "class22-v1"
COMPONENTS = presence.load("presence_basis_v2").components.shape[1]
SHAPES = {
    "gradient": (1, 23),
    "area_score": (3, 2),
    "class_score": (6, 3),
    "area_label": (2, 2),
    "area_profile": (2, 2 * COMPONENTS + 1),
    "diary_profile": (1, 4 + 2 * COMPONENTS),
    "area_capped_count": (3, 1),
    "area_histogram": (3, 12),
    "class_histogram": (6, 12),
    "area_use": (3, 7),
    "area_use_histogram": (2, 20),
}


@pytest.fixture
def study(plain):
    plain["models"][0].update(features=CONTRACT, features_digest=features.contract(CONTRACT).digest)
    return msgspec.convert(plain, type=Study)


def block(source):
    model = "" if source in ("area_profile", "diary_profile", "area_capped_count", "area_use") else "all_aged_66_plus"
    return Block(name=source.replace("_", "-"), source=source, model=model, l2_bound=1.0, noise_multiplier=4.0)


@pytest.mark.parametrize("source", SHAPES)
def test_the_shape_of_each_source(study, source):
    assert block_shape(study, block(source)) == SHAPES[source]


@pytest.mark.parametrize("source", SHAPES)
def test_every_column_has_a_weight_that_only_lessens_it(study, source):
    weights = column_weights(study, block(source))
    assert weights.shape == SHAPES[source][1:]
    assert ((weights > 0) & (weights <= 1)).all()
    assert weights.max() == 1


def test_no_source_is_without_a_shape():
    assert set(SHAPES) == set(next(f.type for f in msgspec.structs.fields(Block) if f.name == "source").__args__)


def test_a_round_releases_the_numbers_of_all_its_blocks(study):
    phase = Phase(name="p", rounds=7, expected_homes=1, blocks=(block("area_score"), block("class_score")))
    assert round_numbers(study, phase) == 6 + 18
    assert all_round_numbers(study) == {"training": 23, "release": 6 + 4 * COMPONENTS + 2}


def test_the_parameter_vector_has_the_module_s_size(study):
    model = study.models[0]
    assert parameter_count(model) == sum(parameter.numel() for parameter in build(model).parameters()) == 23


def test_another_content_under_a_contracts_name_is_refused(plain):
    plain["models"][0]["features"] = CONTRACT
    with pytest.raises(StudyError, match="differs"):
        build(msgspec.convert(plain, type=Study).models[0])


@pytest.mark.parametrize("name", ["", "nothing", "../presence_basis_v2", "presence_basis_v2.json", "a b"])
def test_an_unknown_basis_is_refused(name):
    with pytest.raises(StudyError):
        presence.load(name)


def test_a_profile_within_the_span_survives_projection():
    basis = presence.load("presence_basis_v2")
    assert basis.mean.shape == (2, 48)
    for components in basis.components:
        np.testing.assert_allclose(components @ components.T, np.eye(COMPONENTS), atol=1e-5)
    coefficients = np.linspace(-0.2, 0.2, 2 * COMPONENTS).reshape(2, COMPONENTS)
    np.testing.assert_allclose(basis.project(basis.curve(coefficients)), coefficients, atol=1e-5)
