# SPDX-License-Identifier: Apache-2.0
"""What each home contributes to each kind of block: one vector and one group a home.

A home's vector depends on that home alone. Nothing here clips, adds or hides anything; `privacy.release` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.gradients import household_gradients
from skyglow_client.learning.homes import Homes, Vectors, Weights
from skyglow_client.learning.profiles import gap_vectors, kept, profile_vectors
from skyglow_client.learning.scores import score_table
from skyglow_shared.electricity import BOUND_KWH, EDGES_KWH, VACANT_KWH
from skyglow_shared.errors import InternalError
from skyglow_shared.layout import SCORE_BINS, block_shape, calibration_groups, column_weights
from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Block, Model, Source, Study
from skyglow_shared.vocabulary import OF_THE_PANEL

Groups = NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False)
class Contributions:
    """One row a home of the block's cohort.

    Attributes
    ----------
    vectors : ndarray of float64, shape (homes, width)
    groups : ndarray of int64, shape (homes,)
    """

    vectors: Vectors
    groups: Groups


def contributions(study: Study, block: Block, homes: Homes, weights: Weights) -> Contributions:
    """Per-home vectors and groups of a block.

    Parameters
    ----------
    study : Study
    block : Block
    homes : Homes
        The round's sample; each block takes its own cohort from it, home by home.
    weights : mapping of str to ndarray
        Current parameters by model.

    Returns
    -------
    Contributions

    Privacy
    -------
    The result is sensitive, one row a household, unclipped. The leading dimension is checked to be the number of
    households of the cohort, and the width to be the block's.
    """
    cohort = homes.take(cohort_of(study, block, homes))
    vectors, groups = _SOURCES[block.source](study, block, cohort, weights)
    if vectors.shape != (len(cohort), block_shape(study, block)[1]) or groups.shape != (len(cohort),):
        raise InternalError("a block's vectors are not one a household; please report this")
    return Contributions(vectors * column_weights(study, block), groups)


def cohort_of(study: Study, block: Block, homes: Homes) -> NDArray[np.bool_]:
    """Which homes a block is about.

    Privacy
    -------
    Where a study keeps its panel apart, no home of the panel is in a block of all others: what it is charged counts on
    that.
    """
    if block.counts_trainers:
        return homes.metered & homes.surveyed
    if block.source in OF_THE_PANEL:
        return _COHORTS[block.source](homes)
    return homes.metered & ~homes.surveyed if study.panel_apart else homes.metered


def labels(model: Model, answers: NDArray[np.int8]) -> Vectors:
    """1 where a home's answer to the model's question is one of its positive classes, else 0."""
    positive = [QUESTIONS[model.question].index(name) for name in model.positive_classes]
    return np.isin(answers, positive).astype(np.float64)


def label_table(study: Study, block: Block, homes: Homes) -> Vectors:
    """Labels [homes, models of the block]."""
    models = [study.model(name) for name in block.models]
    return np.stack([labels(model, homes.answered(model.question)) for model in models], axis=1)


def _gradient(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    given = zip(block.models, label_table(study, block, homes).T, strict=True)
    steps, rate = block.local_steps, block.local_rate
    found = [
        household_gradients(study.model(name), weights[name], homes.x[name], y, steps=steps, rate=rate)
        for name, y in given
    ]
    return np.concatenate(found, axis=1), _one_group(homes)


def _scores(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    return score_table(study, block, homes, weights)[:, 0]


def _area_score(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    return _counted(score_table(study, block, homes, weights)), homes.lsoa


def _class_score(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    scores = score_table(study, block, homes, weights)
    pairs = np.stack([scores, scores**2], axis=2).reshape(len(homes), int(2 * scores.shape[1]))
    vectors, groups = _counted(pairs), _strata(study, block, homes)
    if block.counts_trainers:  # a home that trained has but a one to say, as long as the bound allows
        vectors[~homes.calibrates] = np.r_[block.l2_bound, np.zeros(pairs.shape[1])]
        groups = groups + np.where(homes.calibrates, 0, calibration_groups(study, block))
    return vectors, groups


def _area_label(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    del weights
    return _counted(2 * label_table(study, block, homes) - 1), homes.msoa


def _area_profile(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    return profile_vectors(study, block, homes, weights), homes.msoa


def _diary_profile(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    return gap_vectors(study, block, homes, weights), _one_group(homes)


def _area_capped_count(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    del study, block, weights
    return np.ones((len(homes), 1)), homes.lsoa


def _histogram(study: Study, block: Block, homes: Homes, weights: Weights) -> Vectors:
    """1 in the bin of each home's score; a score that is no number is in none."""
    score = _scores(study, block, homes, weights)[:, None]
    edges = np.linspace(-1.0, 1.0, SCORE_BINS + 1)
    lower, upper = edges[:-1].copy(), edges[1:].copy()
    lower[0], upper[-1] = -np.inf, np.inf
    return np.asarray((score >= lower) & (score < upper), dtype=np.float64)


def _area_histogram(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    return _histogram(study, block, homes, weights), homes.lsoa


def _class_histogram(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    return _histogram(study, block, homes, weights), homes.composition.astype(np.int64)


def _use(homes: Homes) -> tuple[Vectors, Vectors]:
    """Mean kWh by part of the day, and of all day [homes, 1]; of an absurd home too, without a word about it."""
    if homes.use is None:
        raise InternalError("a study asks for electricity use that was never computed; please report this")
    with np.errstate(all="ignore"):
        return homes.use, homes.use.sum(axis=1, keepdims=True)


def _area_use(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    """(1, kWh by part of the day over the bound, 1 if that was longer than one, 1 if vacant), of known length."""
    del study, block, weights
    use, total = _use(homes)
    with np.errstate(all="ignore"):
        norm = np.sqrt(np.square(use / BOUND_KWH).sum(axis=1, keepdims=True))
        held = np.where(np.isfinite(norm), use / BOUND_KWH / np.maximum(norm, 1.0), np.nan)
    return np.concatenate([np.ones_like(norm), held, norm > 1, total < VACANT_KWH], axis=1), homes.lsoa


def _area_use_histogram(study: Study, block: Block, homes: Homes, weights: Weights) -> tuple[Vectors, Groups]:
    del study, block, weights
    _, total = _use(homes)
    lower, upper = np.array([-np.inf, *EDGES_KWH]), np.array([*EDGES_KWH, np.inf])
    return np.asarray((total >= lower) & (total < upper), dtype=np.float64), homes.msoa


def _strata(study: Study, block: Block, homes: Homes) -> Groups:
    """Each home's group among the strata of a block, see `layout.strata`."""
    groups = homes.composition.astype(np.int64)
    beyond = [study.model(name).question != "composition" for name in block.models]
    for place, label in enumerate(label_table(study, block, homes)[:, beyond].T):
        groups += (label.astype(np.int64) << place) * len(COMPOSITION_CLASSES)
    return groups


def _counted(columns: Vectors) -> Vectors:
    """A one in front of each home's columns."""
    return np.concatenate([np.ones((len(columns), 1)), columns], axis=1)


def _one_group(homes: Homes) -> Groups:
    return np.zeros(len(homes), dtype=np.int64)


def _training(homes: Homes) -> NDArray[np.bool_]:
    return homes.metered & homes.surveyed & ~homes.calibrates


def _calibration(homes: Homes) -> NDArray[np.bool_]:
    return homes.metered & homes.surveyed & homes.calibrates


def _diarists(homes: Homes) -> NDArray[np.bool_]:
    """Homes with a diary; but those that trained a model of presence cannot say how far it is off."""
    asked = homes.metered & homes.surveyed if homes.diaried is None else _calibration(homes)
    return asked & np.asarray(kept(homes).any(axis=1))


_Source = Callable[[Study, Block, Homes, Weights], tuple[Vectors, Groups]]
_SOURCES: Mapping[Source, _Source] = MappingProxyType(
    {
        "gradient": _gradient,
        "area_score": _area_score,
        "class_score": _class_score,
        "area_label": _area_label,
        "area_profile": _area_profile,
        "diary_profile": _diary_profile,
        "area_capped_count": _area_capped_count,
        "area_histogram": _area_histogram,
        "class_histogram": _class_histogram,
        "area_use": _area_use,
        "area_use_histogram": _area_use_histogram,
    }
)
_COHORTS: Mapping[Source, Callable[[Homes], NDArray[np.bool_]]] = MappingProxyType(
    {
        "gradient": _training,
        "class_score": _calibration,
        "area_label": _calibration,
        "diary_profile": _diarists,
        "class_histogram": _calibration,
    }
)
