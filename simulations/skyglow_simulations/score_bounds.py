# SPDX-License-Identifier: Apache-2.0
"""Centre and width of scores: what homes may say at most, so that areas' sums say most of areas' shares.

An area of n homes, whose share of positive ones is read off the sum S = Σ score + noise, has it with variance (within
+ noise / n) / slope² / n: *slope* is how much more positive homes score in the mean, *within* the variance of scores
around their class's mean, *noise* that of the sum. A narrow width makes slopes large beside the noise; a wide one
tells more homes apart, until the ends of the logits, which say little more, swell the variance within. Where several
models share a block, a home's scores are held together, and all centres and widths are sought together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.models import logistic
from skyglow_shared.study import Block, Study
from skyglow_simulations.frontier.levels import factor, scaled
from skyglow_simulations.replicates import deviations

Array = NDArray[np.float64]
_CENTRES = np.linspace(-1.0, 1.0, 21)  # in standard deviations of the logits around their mean
_WIDTHS = np.geomspace(0.2, 3.0, 21)  # in standard deviations of the logits
_PASSES = 3
_SMALL = 1.0  # the epsilon that is weighed beside a study's own


@dataclass(frozen=True, slots=True)
class Cut:
    """A model's `score_centre` and `score_width`, in logits."""

    centre: float
    width: float


def scores(logits: Array, cuts: Sequence[Cut]) -> Array:
    """Scores [homes, models] of logits [homes, models] as a supplier makes them, held together to length 1."""
    pairs = zip(logits.T, cuts, strict=True)
    return logistic.together(np.stack([logistic.cut(own, cut.centre, cut.width) for own, cut in pairs], axis=1))


def variance(score: Array, positive: NDArray[np.bool_], noise: float) -> float:
    """Of the share of positive homes that one home's part of a sum would give.

    Parameters
    ----------
    score : ndarray of float64, shape (homes,)
    positive : ndarray of bool, shape (homes,)
    noise : float
        Variance of the sum's noise for each home in the sum.
    """
    share, ours, others = positive.mean(), score[positive], score[~positive]
    within = share * ours.var() + (1 - share) * others.var() + noise
    return float(within / max((ours.mean() - others.mean()) ** 2, 1e-12))


def best(logits: Array, positive: NDArray[np.bool_], noise: Sequence[float]) -> tuple[Cut, ...]:
    """The cuts of models in one block whose variances, at every level of noise, have the least geometric mean.

    Parameters
    ----------
    logits : ndarray of float64, shape (homes, models)
    positive : ndarray of bool, shape (homes, models)
    noise : sequence of float
        Levels, each as for `variance`.
    """
    middle, spread = logits.mean(axis=0), logits.std(axis=0)
    cuts = [Cut(float(one), 1.5 * float(wide)) for one, wide in zip(middle, spread, strict=True)]

    def worth(model: int, cut: Cut) -> float:
        made = scores(logits, [*cuts[:model], cut, *cuts[model + 1 :]])
        pairs = zip(made.T, positive.T, strict=True)
        return sum(math.log(variance(one, own, level)) for one, own in pairs for level in noise)

    for _ in range(_PASSES if len(cuts) > 1 else 1):
        for model, (one, wide) in enumerate(zip(middle, spread, strict=True)):
            tried = [Cut(float(one + wide * centre), float(wide * width)) for centre in _CENTRES for width in _WIDTHS]
            cuts[model] = min(tried, key=lambda cut: worth(model, cut))
    return tuple(replace(cut, centre=round(cut.centre, 1), width=max(round(cut.width, 1), 0.1)) for cut in cuts)


def score_blocks(study: Study) -> tuple[tuple[Block, tuple[float, ...]], ...]:
    """The study's blocks `area_score`, each with the variance of its noise in a score for each home of a usual area.

    That is one at the study's own noise and one at the noise with which it costs an epsilon of one: a study is asked at
    more levels of privacy than its own, and has one pair of centre and width for all.
    """
    levels = (study, scaled(study, factor(study, _SMALL), _SMALL))
    found = [(phase, block) for phase in study.phases for block in phase.blocks if block.source == "area_score"]
    return tuple((block, tuple(_noise(level, phase.name, block.name) for level in levels)) for phase, block in found)


def _noise(study: Study, phase: str, name: str) -> float:
    release = study.phase(phase)
    block = next(block for block in release.blocks if block.name == name)
    return float(deviations(study, block)[-1] ** 2 * len(study.areas) / release.expected_homes)
