# SPDX-License-Identifier: Apache-2.0
"""What a round would send, made on the supplier's own homes and for its own eyes: the same steps, other randomness.

A preview is itself a noised view of the homes. Nothing charges it, for nothing leaves: it is printed, never stored,
never signed by the supplier, and must not be forwarded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_client.gate.rounds import noised, sampler_for
from skyglow_client.learning.homes import Homes, Weights
from skyglow_shared.layout import block_shape, column_weights, round_numbers, share_block, word_bits
from skyglow_shared.messages import Share, decode_integers, encode_integers, seal_reply
from skyglow_shared.models.logistic import first_weights
from skyglow_shared.privacy.randomness import KEY_BYTES, Randomness, SystemRandomness
from skyglow_shared.privacy.release import step_size
from skyglow_shared.privacy.spare import draw_key, spare_noise
from skyglow_shared.signing import Identity
from skyglow_shared.study import Block, Phase, Study, digest

_FRESH = SystemRandomness()


@dataclass(frozen=True, slots=True)
class BlockPreview:
    """One block as it would leave.

    Attributes
    ----------
    block : Block
    integers : ndarray of int64, shape (groups, width)
        Noised, on the block's grid: the numbers that are sent.
    values : ndarray of float64, shape (groups, width)
        The same in real units, columns unweighted: as the office would read them if it had this share alone.
    """

    block: Block
    integers: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PhasePreview:
    """One round of a phase.

    Attributes
    ----------
    phase : Phase
    blocks : tuple of BlockPreview
    message : bytes
        The share as the gate would seal it, under a key that is thrown away: a preview can never pass for a reply.
    sent : int
        Bytes that one round sends. In trust mode ``aggregate`` these are the masked vector's, to which come keys,
        encrypted shares and signatures of a few hundred bytes a supplier.
    """

    phase: Phase
    blocks: tuple[BlockPreview, ...]
    message: bytes
    sent: int


def preview(study: Study, homes: Homes, name: str, *, randomness: Randomness = _FRESH) -> tuple[PhasePreview, ...]:
    """Make one round of every phase, with models whose parameters are zero as in a study's first round.

    Parameters
    ----------
    study : Study
    homes : Homes
        The supplier's homes as the study sees them.
    name : str
        The supplier's.
    randomness : Randomness
        Of no round, past or to come: by default new keys of the operating system.

    Returns
    -------
    tuple of PhasePreview

    Privacy
    -------
    For the supplier alone. Nobody is charged for it, so it must go nowhere: forwarded, it would be a release that no
    ledger knows of.
    """
    return tuple(_phase(study, phase, homes, name, randomness) for phase in study.phases)


def _phase(study: Study, phase: Phase, homes: Homes, name: str, randomness: Randomness) -> PhasePreview:
    weights = {model.name: first_weights(model) for model in study.models}
    secret = randomness.stream("preview sample", phase.name).read(KEY_BYTES)
    chosen = homes.take(sampler_for(study, phase).members(secret, homes.pseudonyms, 0))
    blocks = tuple(_block(study, block, chosen, weights, randomness) for block in phase.blocks)
    share = Share(
        study=digest(study),
        phase=phase.name,
        round=0,
        attempt=0,
        step="share",
        supplier=name,
        blocks={one.block.name: encode_integers(one.integers) for one in blocks},
    )
    message = seal_reply(share, name, Identity.generate())
    if study.trust_mode == "local":
        return PhasePreview(phase, blocks, message, len(message))
    return PhasePreview(phase, blocks, message, -(-round_numbers(study, phase) * word_bits(study, phase) // 8))


def _block(study: Study, block: Block, homes: Homes, weights: Weights, randomness: Randomness) -> BlockPreview:
    part = share_block(study, block)
    content = noised(study, block, homes, weights, randomness.stream("preview noise", block.name))
    integers = decode_integers(content, block_shape(study, block))
    key = draw_key(study, randomness, "preview", block.name)
    integers = integers + spare_noise(study, key, integers.size).reshape(integers.shape)
    return BlockPreview(part, integers, integers * step_size(part) / column_weights(study, block))
