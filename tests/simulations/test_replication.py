# SPDX-License-Identifier: Apache-2.0
"""Drawn studies: sums are those of the homes drawn, and the judgement of coverage can fail."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_simulations import replication
from skyglow_simulations.experiment import begin
from skyglow_simulations.replicates import World, area_table, draw, noised, positives, shares_alone
from skyglow_simulations.replication import Replicate, Setting
from skyglow_simulations.run import Folder


@pytest.fixture(scope="module")
def setting(parameters, tmp_path_factory):
    one = begin(Folder(tmp_path_factory.mktemp("drawn")), parameters, lambda phase, done, total: None)
    return Setting(shares_alone(one.study), area_table(one.census), one.census.employed, World(panel=0.3), True)


def test_sums_are_those_of_the_homes_drawn(setting):
    drawn = draw(setting.world, setting.areas, positives(setting.study), np.random.default_rng(1))
    homes = drawn.exact["area_score"][:, 0]
    assert (homes <= setting.areas.households).all()
    assert homes.sum() == pytest.approx(0.75 * setting.areas.households.sum(), rel=0.03)
    panel = round(0.15 * setting.areas.households.sum())
    assert drawn.exact["class_score"][:, 0].sum() == panel == drawn.exact["area_label"][:, 0].sum()
    labels = drawn.exact["class_score"][positives(setting.study), 0].sum()
    assert drawn.exact["area_label"][:, 1].sum() == labels
    assert drawn.caught > drawn.mistaken


def test_noise_is_the_studys_own(setting):
    drawn = draw(setting.world, setting.areas, positives(setting.study), np.random.default_rng(1))
    rng, block = np.random.default_rng(2), "area_scores"
    many = np.array([noised(drawn, setting.study, rng)[block].values for _ in range(300)])
    wanted = noised(drawn, setting.study, rng)[block].deviation
    np.testing.assert_allclose((many - drawn.exact["area_score"]).std(axis=(0, 1)), wanted, rtol=0.1)
    quiet = noised(drawn, setting.study, rng, noise=0.0)[block]
    np.testing.assert_array_equal(quiet.values, drawn.exact["area_score"])


def test_permuted_labels_say_nothing(setting):
    world = replace(setting.world, permuted=True, panel=1.0, metered=1.0)
    drawn = draw(world, setting.areas, positives(setting.study), np.random.default_rng(1))
    assert drawn.caught == pytest.approx(drawn.mistaken, abs=0.1)


def test_every_method_is_judged_by_the_same_truth(setting):
    found = replication.replicate(setting, 5)
    assert len({name for name, _ in found.errors}) == 7
    assert {len(errors) for (_, level), errors in found.errors.items() if level == "LSOA"} == {9}
    assert np.array_equal(
        replication.replicate(setting, 5).errors["old census", "LSOA"], found.errors["old census", "LSOA"]
    )


def fakes(setting, chance, runs=60):
    rng = np.random.default_rng(0)

    def one():
        held = {level: rng.random(len(setting.areas.areas(level))) < chance(level) for level in ("LSOA", "MSOA", "LAD")}
        errors = {(replication.OURS, level): rng.normal(0, 0.01, values.size) for level, values in held.items()}
        return Replicate(errors, held, dict.fromkeys(held, 0.1))

    return [one() for _ in range(runs)]


def test_intervals_that_are_too_narrow_are_found(setting):
    assert replication.rejected(fakes(setting, lambda level: 0.95), setting) == []
    found = replication.rejected(fakes(setting, lambda level: 0.8 if level == "LSOA" else 0.95), setting)
    assert {level for _, level, _, _ in found} == {"LSOA"}
    assert len(found) == 6
    figures = replication.pooled(fakes(setting, lambda level: 0.8), "LSOA")
    assert figures["coverage"] == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
def test_coverage_holds_over_replicates(setting, parameters):
    """Pooled coverage of LSOAs and MSOAs over 40 studies of nine areas lies in [0.90, 0.99]; it fails 1 in 1,000."""
    quick = replace(setting, compared=False)
    found = [replication.replicate(quick, seed) for seed in range(40)]
    for level in ("LSOA", "MSOA"):
        assert 0.90 <= replication.pooled(found, level)["coverage"] <= 0.995
