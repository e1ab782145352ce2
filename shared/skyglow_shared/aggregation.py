# SPDX-License-Identifier: Apache-2.0
"""A round of a study as secure aggregation sees it: one session, and all blocks as one vector."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import OrderError
from skyglow_shared.layout import block_shape, round_numbers, word_bits
from skyglow_shared.messages import decode_integers
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.study import Phase, Study, digest

#: Attempts that a supplier lets a round have.
MOST_ATTEMPTS = 16


def session_of(study: Study, phase: Phase, round_: int, attempt: int) -> Session:
    """The session of one attempt; OrderError if the study adds nothing securely or the attempt is one too many."""
    if study.aggregation is None:
        raise OrderError("the study's trust mode is 'local': it has no secure aggregation", rule="order")
    if not 0 <= attempt < MOST_ATTEMPTS:
        raise OrderError(f"a round has at most {MOST_ATTEMPTS} attempts; ask for a new study", rule="order")
    return Session(
        study=digest(study),
        phase=phase.name,
        round=round_,
        attempt=attempt,
        roster=study.suppliers,
        parameters=Parameters(len(study.suppliers), study.aggregation.dropouts, study.aggregation.colluders),
        words=round_numbers(study, phase),
        word_bits=word_bits(study, phase),
    )


def joined(study: Study, phase: Phase, blocks: Mapping[str, bytes]) -> NDArray[np.int64]:
    """A share's blocks as one vector, in the study's order, shape (numbers of a round,)."""
    parts = (decode_integers(blocks[block.name], block_shape(study, block)) for block in phase.blocks)
    return np.concatenate([part.ravel() for part in parts])


def parted(study: Study, phase: Phase, vector: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The blocks of a vector by name, each of shape (groups, width): the inverse of `joined`."""
    shapes = [block_shape(study, block) for block in phase.blocks]
    parts = np.split(vector, np.cumsum([groups * width for groups, width in shapes])[:-1])
    named = zip(phase.blocks, parts, shapes, strict=True)
    return {block.name: part.reshape(shape) for block, part, shape in named}
