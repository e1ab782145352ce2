# SPDX-License-Identifier: Apache-2.0
"""The judges of the simulated homes: they see what is there, see nothing where nothing is, and need no real data."""

from pathlib import Path

import numpy as np
import pytest

from skyglow_simulations.population import calibration
from skyglow_simulations.population.calibration_models import boosted_scores, fitted, logistic_scores
from skyglow_simulations.report.summary import auc


def test_boosted_trees_see_an_interaction_and_nothing_in_noise():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 4))
    crossed, noise = x[:, 0] * x[:, 1] > 0, rng.random(4000) < 0.5
    for label, low, high in ((crossed, 0.95, 1.0), (noise, 0.45, 0.55)):
        scores = boosted_scores(x[:2000], label[:2000], x[2000:])
        assert low < auc(scores, label[2000:].astype(float)) <= high


def test_logistic_scores_of_a_home_do_not_come_from_its_own_label():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 22))
    label = rng.random(600) < 0.5
    assert 0.4 < auc(logistic_scores(x, label), label.astype(float)) < 0.6
    assert auc(logistic_scores(x, x[:, 0] > 0), (x[:, 0] > 0).astype(float)) > 0.97


def test_a_fit_is_where_the_penalised_likelihood_is_flat():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(300, 5))
    for label in (x[:, 0] + rng.normal(size=300) > 0.4, np.zeros(300, dtype=bool), x[:, 0] > 0):
        for ridge in (0.5, 5.0):
            weights = fitted(x, label, ridge)
            chance = 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1])))
            slope = np.append((chance - label) @ x, (chance - label).sum()) + ridge * weights
            np.testing.assert_allclose(slope, 0, atol=1e-8)


def test_homes_of_one_kind_cannot_be_told_apart_and_louder_ones_can():
    rng = np.random.default_rng(5)
    one, other = rng.gamma(1.0, 0.2, (2, 150, 20, 48)).astype(np.float32)
    assert 0.42 < calibration.told_apart(one, other, 1) < 0.58
    assert calibration.told_apart(one * 2, other, 1) > 0.95


def test_without_real_homes_it_says_so_and_does_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert calibration.main(["--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("skipped: there is no") == 2
