# SPDX-License-Identifier: Apache-2.0
"""Settings and rows that cannot be simulated are refused before anything is computed."""

from dataclasses import replace

import pytest
import torch

from skyglow_shared.errors import DataError, RunError
from skyglow_simulations.stacked import Rows, Setting, train

SETTING = Setting(clients=3, rows=4, cohort=2, rounds=1, batch=2)


@pytest.fixture
def rows():
    return Rows(torch.zeros(3, 4, 5), torch.zeros(3, 4, 1))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"clients": 0}, "clients"),
        ({"rows": 0}, "rows"),
        ({"batch": 0}, "batch"),
        ({"epochs": 0}, "epochs"),
        ({"rounds": -1}, "rounds"),
        ({"hidden": -1}, "hidden"),
        ({"cohort": 0}, "cohort"),
        ({"cohort": 4}, "cohort"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"clip": 0.0}, "clip"),
        ({"clip": float("nan")}, "clip"),
        ({"clip": 1.0, "noise": -1.0}, "noise"),
        ({"noise": 1.0}, "finite clip"),
    ],
)
def test_a_setting_that_contradicts_itself(rows, change, word):
    with pytest.raises(RunError, match=word):
        train([replace(SETTING, **change)], rows)


def test_no_setting_and_unlike_settings(rows):
    with pytest.raises(RunError, match="at least one"):
        train([], rows)
    with pytest.raises(RunError, match="separately"):
        train([SETTING, replace(SETTING, cohort=3)], rows)


def test_every_contradiction_is_listed(rows):
    with pytest.raises(RunError, match=r"setting 0: cohort.*setting 1: cohort.*setting 1: learning_rate"):
        train([replace(SETTING, cohort=9), replace(SETTING, cohort=9, learning_rate=-1.0)], rows)


@pytest.mark.parametrize(
    ("features", "labels", "word"),
    [
        (torch.zeros(3, 5, 5), torch.zeros(3, 4, 1), "features"),
        (torch.zeros(3, 4, 5), torch.zeros(3, 4), "labels"),
        (torch.zeros(3, 4, 0), torch.zeros(3, 4, 1), "features"),
        (torch.full((3, 4, 5), float("nan")), torch.zeros(3, 4, 1), "features must be finite"),
        (torch.zeros(3, 4, 5), torch.full((3, 4, 1), float("inf")), "labels must be finite"),
        (torch.zeros(3, 4, 5), torch.full((3, 4, 1), 1.5), "within"),
    ],
)
def test_rows_that_are_not_what_the_setting_says(features, labels, word):
    with pytest.raises(DataError, match=word):
        train([SETTING], Rows(features, labels))


def test_first_weights_of_another_model(rows):
    with pytest.raises(RunError, match="start"):
        train([SETTING], rows, start=(torch.zeros(1, 9, 1),))


def test_one_class_only_and_constant_features_are_no_trouble(rows):
    assert all(bool(torch.isfinite(part).all()) for part in train([replace(SETTING, clip=1.0, noise=1.0)], rows))
