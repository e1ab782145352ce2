# SPDX-License-Identifier: Apache-2.0
"""Scores of homes, which give way to profiles where one bound is for both.

A home that stood empty for days has a long profile, most have a short one. Where a phase has one bound for all of its
blocks, a score may be as long as the home's own profile leaves room for: so the bound need not be as long as if the
longest of both came together, and the noise in either is less. What shortens a score shortens those of the panel alike,
which calibrate it.
"""

import numpy as np

from skyglow_client.learning.homes import Homes, Vectors, Weights
from skyglow_client.learning.profiles import profile_vectors
from skyglow_client.learning.rows import by_blocks
from skyglow_shared.layout import column_weights
from skyglow_shared.models import logistic
from skyglow_shared.privacy.release import squares_in_noise
from skyglow_shared.study import Block, Study

_LEAST = 1e-12  # so that nothing is divided by zero


def score_table(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """Scores [homes, models of a block] as they are added up by area: those of one home share a length of at most 1."""

    def one(name: str) -> Vectors:
        model = study.model(name)
        return by_blocks(lambda x: logistic.scores(model, weights[name], x), homes.x[name])

    scores = logistic.together(np.stack([one(name) for name in block.models], axis=1))
    most = _most(study, block, homes, weights)
    return np.asarray(scores * np.minimum(most / np.maximum(np.linalg.norm(scores, axis=1), _LEAST), 1.0)[:, None])


def _most(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """How long each home's scores of a block's models may be [homes]: 1, or what a common bound leaves of it."""
    for phase in study.phases:
        for own in phase.blocks:
            if phase.noise_multiplier and own.source == "area_score" and set(own.models) == set(block.models):
                others = [one for one in phase.blocks if one.name != own.name]
                left = phase.noise_multiplier**-2 - sum(_taken(study, one, homes, weights) for one in others)
                count = column_weights(study, own)[0]
                return np.sqrt(np.maximum(left * (own.l2_bound * own.noise_multiplier) ** 2 - count**2, 0.0))
    return np.ones(len(homes))


def _taken(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """What another block takes of a common bound [homes]: profiles as long as they are, all else at its longest."""
    if block.source != "area_profile":
        return np.full(len(homes), block.noise_multiplier**-2)
    return squares_in_noise(profile_vectors(study, block, homes, weights) * column_weights(study, block), block)
