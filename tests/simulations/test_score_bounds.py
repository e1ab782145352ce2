# SPDX-License-Identifier: Apache-2.0
"""How scores are cut: the variance that is made small is that of areas' shares, and no other cut is much better."""

import math

import numpy as np
import pytest

from skyglow_simulations.experiment import begin
from skyglow_simulations.frontier.levels import factor
from skyglow_simulations.run import Folder, Parameters
from skyglow_simulations.score_bounds import Cut, best, score_blocks, scores, variance

RNG = np.random.default_rng(11)
HOMES = 8_000


@pytest.fixture(scope="module")
def homes():
    """Logits of two models, and whether homes are positive."""
    positive = RNG.random((HOMES, 2)) < (0.2, 0.5)
    return RNG.normal(-1.5, 1.2, (HOMES, 2)) + 1.3 * positive, positive


@pytest.mark.parametrize("noise", [0.05, 2.0])
def test_the_variance_is_that_of_shares_read_off_noised_sums(noise):
    positive = RNG.random(100_000) < 0.2
    score = np.clip(RNG.normal(-0.6, 0.9, positive.size) + 0.9 * positive, -1, 1)
    size, share = 400, positive.mean()
    low, high = score[~positive].mean(), score[positive].mean()
    chosen = [np.flatnonzero(kind) for kind in (positive, ~positive)]
    ours = round(share * size)  # an area's homes are of its own share: only their scores are drawn
    areas = 4000
    sums = sum(
        score[RNG.choice(own, (areas, many))].sum(axis=1) for own, many in zip(chosen, (ours, size - ours), strict=True)
    )
    found = ((sums + RNG.normal(0, math.sqrt(noise * size), areas)) / size - low) / (high - low)
    assert found.mean() == pytest.approx(ours / size, abs=4 * found.std() / math.sqrt(areas))
    assert found.var() * size == pytest.approx(variance(score, positive, noise), rel=0.1)


@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_no_other_cut_of_one_model_is_better(homes, noise):
    logits, positive = homes[0][:, :1], homes[1][:, :1]

    def worth(cut):
        return variance(scores(logits, [cut])[:, 0], positive[:, 0], noise)

    (cut,) = best(logits, positive, [noise])
    others = [worth(Cut(centre, width)) for centre in np.arange(-3, 1, 0.25) for width in (0.1, 0.3, 0.7, 1.2, 2, 4)]
    assert worth(cut) < 1.01 * min(others)
    assert worth(cut) < 0.8 * max(others)


def test_more_noise_wants_narrower_scores(homes):
    logits, positive = homes[0][:, :1], homes[1][:, :1]
    widths = [best(logits, positive, [noise])[0].width for noise in (0.02, 0.3, 3.0)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 2 * widths[2]


def test_two_levels_of_noise_are_weighed_together(homes):
    logits, positive = homes[0][:, :1], homes[1][:, :1]
    low, both, high = (best(logits, positive, noise)[0] for noise in ([0.02], [0.02, 3.0], [3.0]))
    assert high.width < both.width < low.width


def test_models_of_one_block_are_cut_together(homes):
    logits, positive = homes

    def worth(cuts):
        made = scores(logits, cuts)
        assert np.linalg.norm(made, axis=1).max() <= 1 + 1e-12
        return sum(math.log(variance(made[:, model], positive[:, model], 0.05)) for model in range(2))

    alone = [best(logits[:, [model]], positive[:, [model]], [0.05])[0] for model in range(2)]
    assert worth(best(logits, positive, [0.05])) < worth(alone)


def test_noise_is_that_of_the_study_for_each_home(tmp_path):
    study = begin(Folder(tmp_path), Parameters(), lambda phase, done, total: None).study
    ((block, (noise, small)),) = score_blocks(study)
    assert (block.source, study.trust_mode) == ("area_score", "local")
    wanted = len(study.suppliers) * (block.noise_multiplier * block.l2_bound) ** 2  # each supplier adds the whole
    assert noise == pytest.approx(wanted * len(study.areas) / 72_000, rel=1e-3)
    assert small == pytest.approx(noise * factor(study, 1.0) ** 2, rel=1e-3)
