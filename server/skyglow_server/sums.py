# SPDX-License-Identifier: Apache-2.0
"""From suppliers' shares to noised sums in real units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.aggregation import joined, parted
from skyglow_shared.errors import ProtocolError
from skyglow_shared.layout import column_weights, share_block, sum_deviation
from skyglow_shared.messages import Share
from skyglow_shared.privacy.release import step_size
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
    total = sum((joined(study, phase, share.blocks) for share in shares), np.zeros((), np.int64))
    return block_sums(study, phase, total, len(shares), 0)


def block_sums(study: Study, phase: Phase, total: NDArray[np.int64], shares: int, spares: int) -> dict[str, BlockSum]:
    """One round's sums in real units.

    Parameters
    ----------
    study : Study
    phase : Phase
    total : ndarray of int64, shape (numbers of a round,)
        The sum of the suppliers' shares, on the blocks' grids.
    shares, spares : int
        How many were added, and whose spare noise is still in the sum (`privacy.spare`).
    """
    parts, sums = parted(study, phase, total), {}
    for block in phase.blocks:
        weights = column_weights(study, block)
        values = parts[block.name] * step_size(share_block(study, block)) / weights
        sums[block.name] = BlockSum(values, sum_deviation(study, block, shares, spares) / weights, shares)
    return sums
