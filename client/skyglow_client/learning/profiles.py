# SPDX-License-Identifier: Apache-2.0
"""What homes contribute of when they are occupied: profiles by meters, and how far diaries are from them."""

import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.homes import Homes, Vectors, Weights
from skyglow_client.learning.rows import by_blocks
from skyglow_shared.layout import held_bound
from skyglow_shared.models import presence
from skyglow_shared.models.temporal import PresenceModel
from skyglow_shared.study import Block, Study


def profile_vectors(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """Vectors of an ``area_profile`` block."""
    profile = _profile(study, homes, weights)
    towards_empty = presence.load(study.occupancy.basis).towards_empty.ravel()
    flat = profile.reshape(len(homes), towards_empty.size)
    held = _held(flat, block)
    with np.errstate(all="ignore"):
        beyond = ((flat - held) * towards_empty).sum(axis=1)
    return np.column_stack([held, beyond])


def gap_vectors(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """Vectors of a ``diary_profile`` block."""
    each, components = kept(homes)[..., None], homes.diary.shape[2]
    gap = np.where(each, _gap(study, homes, weights), 0.0)
    held = _held(gap.reshape(len(homes), 2 * components), block)
    first = np.where(each, _profile(study, homes, weights), 0.0)[:, :, 0]
    with np.errstate(all="ignore"):
        square = np.square(held).sum(axis=1)
        cross = (held[:, ::components] * first).sum(axis=1)
    both = np.concatenate([each.astype(np.float64), held.reshape(len(homes), 2, components)], axis=2)
    return np.column_stack([both.reshape(len(homes), 2 * (1 + components)), square, cross])


def kept(homes: Homes) -> NDArray[np.bool_]:
    """Which day types each home kept a diary for, [homes, 2]."""
    return np.asarray(np.isfinite(homes.diary).all(axis=2))


def _learnt(study: Study, weights: Weights) -> PresenceModel | None:
    """The study's own model of presence at the request's weights, where it has one."""
    model = study.presence_model
    return None if model is None else PresenceModel(weights[model.name], channels=model.hidden)


def _profile(study: Study, homes: Homes, weights: Weights) -> Vectors:
    """Coefficients [homes, 2, K] of presence: by the study's own model, where it has one."""
    if (model := _learnt(study, weights)) is None:
        return homes.profile
    return by_blocks(presence.load(study.occupancy.basis).project, homes.half_hours.profiles(model))


def _gap(study: Study, homes: Homes, weights: Weights) -> Vectors:
    """Coefficients [homes, 2, K] of diary less meter: by the study's own model, where it has one."""
    if (model := _learnt(study, weights)) is None:
        return homes.diary
    return by_blocks(presence.load(study.occupancy.basis).difference, homes.half_hours.gaps(model))


def _held(flat: Vectors, block: Block) -> Vectors:
    """Rows shortened to the block's `held_bound`."""
    most = held_bound(block)
    with np.errstate(all="ignore"):
        norm = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
        return np.asarray(flat * (most / np.maximum(norm, most)))
