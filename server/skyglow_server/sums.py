# SPDX-License-Identifier: Apache-2.0
"""From suppliers' shares to noised sums in real units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError
from skyglow_shared.layout import block_shape, column_weights
from skyglow_shared.messages import Share, decode_integers
from skyglow_shared.privacy.release import noise_deviation, step_size
from skyglow_shared.study import Phase, Study


@dataclass(frozen=True, slots=True)
class BlockSum:
    """The sum of all suppliers' shares of one block.

    Attributes
    ----------
    values : ndarray of float64, shape (groups, width)
        In the units of the per-home vectors; unbiased for the exact sum of the clipped vectors.
    deviation : ndarray of float64, shape (width,)
        Known standard deviation of the privacy noise on the numbers of each column.
    shares : int
        How many suppliers' shares were added.
    """

    values: NDArray[np.float64]
    deviation: NDArray[np.float64]
    shares: int


def add_shares(study: Study, phase: Phase, shares: Sequence[Share]) -> dict[str, BlockSum]:
    """Add the suppliers' shares of one round, block by block; ProtocolError if one lacks a block or has another."""
    wanted = {block.name for block in phase.blocks}
    for share in shares:
        if set(share.blocks) != wanted:
            raise ProtocolError(f"the share of {share.supplier} holds other blocks than phase {phase.name} asks for")
    sums = {}
    for block in phase.blocks:
        shape = block_shape(study, block)
        total = sum((decode_integers(share.blocks[block.name], shape) for share in shares), np.zeros(shape, np.int64))
        weights = column_weights(study, block)
        noise = noise_deviation(block, len(shares)) / weights
        sums[block.name] = BlockSum(total * step_size(block) / weights, noise, len(shares))
    return sums
