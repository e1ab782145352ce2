# SPDX-License-Identifier: Apache-2.0
"""The exact sum of one block, by the way that suits it."""

import numpy as np

from skyglow_client.learning.clipped_sums import Batch, exact_sum
from skyglow_client.learning.contributions import cohort_of, contributions, label_table
from skyglow_client.learning.homes import Homes, Vectors, Weights
from skyglow_shared.layout import block_shape, share_block
from skyglow_shared.models import logistic
from skyglow_shared.privacy.release import ExactSum, capped, clip_rows, grouped_sum, room, squares_in_noise
from skyglow_shared.study import Block, Study


def block_sum(study: Study, block: Block, homes: Homes, weights: Weights) -> ExactSum:
    """Clip, quantise and add what the homes of a block's cohort contribute.

    Parameters
    ----------
    study : Study
    block : Block
    homes : Homes
        The round's sample.
    weights : mapping of str to ndarray
        Current parameters by model.

    Returns
    -------
    ndarray of int64, shape (groups, width), in grid steps of the supplier's share of the block

    Privacy
    -------
    Exact, hence sensitive. One household moves it by at most the sensitivity that the share's noise is charged for, and
    all blocks of a phase that has one bound for them together by at most that bound's (`privacy.release.room`).
    Gradients of models with hidden layers are added without being made (`clipped_sums`); all else one vector a home.
    A cap on the sums cannot lengthen what one home moves (`capped`).
    """
    part = share_block(study, block)
    if block.source == "gradient" and study.model(block.model).hidden:
        return _hidden_gradient(study, block, homes.take(cohort_of(study, block, homes)), weights, part)
    own = contributions(study, block, homes, weights)
    vectors = _within_common_bound(study, block, own.vectors, homes, weights)
    sums = grouped_sum(vectors, own.groups, block_shape(study, block)[0], part)
    return capped(sums, part) if block.cap else sums


def _within_common_bound(study: Study, block: Block, vectors: Vectors, homes: Homes, weights: Weights) -> Vectors:
    """A block's vectors, shortened where those of all blocks of its phase are together longer than its bound."""
    phase = next(phase for phase in study.phases if block.name in [one.name for one in phase.blocks])
    if not phase.noise_multiplier:
        return vectors
    squares = np.zeros(len(homes))
    for one in phase.blocks:
        found = vectors if one.name == block.name else contributions(study, one, homes, weights).vectors
        squares[cohort_of(study, one, homes)] += squares_in_noise(found, one)
    own = cohort_of(study, block, homes)
    return clip_rows(vectors, block.l2_bound) * room(squares[own], phase.noise_multiplier)[:, None]


def _hidden_gradient(study: Study, block: Block, cohort: Homes, weights: Weights, part: Block) -> ExactSum:
    model = study.model(block.model)
    network = logistic.network_of(model, study.period.days)
    keys = np.ascontiguousarray(cohort.pseudonyms[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    if model.kind == "temporal":
        batch = cohort.half_hours.batch(keys)
    else:
        batch = Batch(keys, cohort.x[model.name], label_table(study, block, cohort))
    return exact_sum(network, weights[model.name], batch, part)
