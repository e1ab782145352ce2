# SPDX-License-Identifier: Apache-2.0
"""The shape of every block of a study: how many groups it has and what the columns of a home's vector are.

Both sides derive shapes from the signed study alone; nothing about shapes travels.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.electricity import EDGES_KWH, PARTS
from skyglow_shared.models import presence
from skyglow_shared.models.logistic import parameter_count
from skyglow_shared.privacy.noise import SIGMA_STEPS, TAIL_SIGMAS, sensitivity_steps
from skyglow_shared.privacy.release import noise_deviation
from skyglow_shared.privacy.spare import deviation_steps, spare_steps
from skyglow_shared.secagg import codec
from skyglow_shared.study import COMPOSITION_CLASSES, Block, Phase, Study

#: Weight of a "1" beside other columns: a count needs less precision than the sums that are divided by it.
_COUNT, _DIARY_COUNT, _SQUARE = 0.5, 0.02, 0.5
#: To what share of the bound a profile is held, and the weight of what lies beyond.
_HELD, _BEYOND = 0.9, 0.24

#: Bins of equal width that scores, from -1 to 1, are counted in.
SCORE_BINS = 12


def block_shape(study: Study, block: Block) -> tuple[int, int]:
    """Return (groups, width) of a block.

    Columns of a home's vector, by the block's source:

    ================  =====================  ====================================================
    source            groups                 columns
    ================  =====================  ====================================================
    gradient          1                      one a model parameter
    area_score        LSOAs of the study     1, score
    class_score       see `strata`           1, score, score²
    area_label        MSOAs of the study     1, 1 if the label is 1 and -1 if it is 0
    area_profile      MSOAs of the study     K weekday, K weekend coefficients held to `held_bound`, and how far
                                             they went beyond it towards those of an empty home
    diary_profile     1                      for weekday then weekend: 1, K coefficients r of the diary less the
                                             meter on the same days held to `held_bound` (zeros without a diary); then
                                             the sum of all r², and of the first r times the profile's first coefficient
    area_capped_count LSOAs of the study     1
    area_histogram    LSOAs of the study     1 in the bin of the score, 0 in the other `SCORE_BINS`
    class_histogram   composition classes    the same
    area_use          LSOAs of the study     1, kWh by part of the day over the bound, 1 if held to it, 1 if vacant
    area_use_histogram  MSOAs of the study   1 in the bin of the kWh a day, 0 in the others
    ================  =====================  ====================================================

    A block of several models has the columns of each in turn after one common 1; see `columns_of`.
    """
    return _groups(study, block), _width(study, block)


def _groups(study: Study, block: Block) -> int:
    match block.source:
        case "gradient" | "diary_profile":
            return 1
        case "class_score":
            return calibration_groups(study, block) << block.counts_trainers
        case "class_histogram":
            return len(COMPOSITION_CLASSES)
        case "area_score" | "area_capped_count" | "area_histogram" | "area_use":
            return len(study.areas)
        case "area_label" | "area_profile" | "area_use_histogram":
            return len(study.msoas)


def _width(study: Study, block: Block) -> int:  # noqa: PLR0911 - one line a source
    match block.source:
        case "gradient":
            return sum(parameter_count(study.model(name)) for name in block.models)
        case "area_score" | "area_label":
            return 1 + len(block.models)
        case "class_score":
            return 1 + 2 * len(block.models)
        case "area_profile":
            return 2 * _components(study) + 1
        case "diary_profile":
            return 2 * (1 + _components(study)) + 2
        case "area_capped_count":
            return 1
        case "area_histogram" | "class_histogram":
            return SCORE_BINS
        case "area_use":
            return len(PARTS) + 3
        case "area_use_histogram":
            return len(EDGES_KWH) + 1


def trains(part: Study | Phase) -> bool:
    """Whether a phase trains, or any of a study: half of the panel then calibrates; else all of it does."""
    return any(block.source == "gradient" for block in part.blocks)


def columns_of(study: Study, block: Block, model: str) -> NDArray[np.int64]:
    """Which columns of a block's vector are about one of its models, as if the block were about that model alone."""
    place = block.models.index(model)
    match block.source:
        case "gradient":
            sizes = [parameter_count(study.model(name)) for name in block.models]
            return np.arange(sizes[place]) + sum(sizes[:place])
        case "class_score":
            return np.array([0, 1 + 2 * place, 2 + 2 * place])
        case "area_score" | "area_label":
            return np.array([0, 1 + place])
        case _:
            return np.arange(_width(study, block))


def strata(study: Study, block: Block, model: str) -> NDArray[np.int64]:
    """Stratum of one model that each group of the calibration homes of a ``class_score`` block is part of.

    Shape (`calibration_groups`,). Groups of homes that trained, where the block counts them, follow in the same order.

    The block's groups are composition classes, once for each combination of the labels of its models that ask another
    question. Strata of a model that asks for composition are the classes; of another one, the classes of the homes that
    it counts as zero, then those of the homes that it counts as one.
    """
    group, beyond = np.arange(calibration_groups(study, block)), _asked_beyond_composition(study, block)
    classes, labels = group % len(COMPOSITION_CLASSES), group // len(COMPOSITION_CLASSES)
    if model not in beyond:
        return classes
    return classes + len(COMPOSITION_CLASSES) * (labels >> beyond.index(model) & 1)


def calibration_groups(study: Study, block: Block) -> int:
    """How many groups of a ``class_score`` block the calibration homes are in."""
    return len(COMPOSITION_CLASSES) << len(_asked_beyond_composition(study, block))


def _asked_beyond_composition(study: Study, block: Block) -> list[str]:
    """A block's models whose label does not follow from composition."""
    return [name for name in block.models if study.model(name).question != "composition"]


def column_weights(study: Study, block: Block) -> NDArray[np.float64]:
    """Weights [width] by which the columns of a home's vector are multiplied before clipping; the office divides again.

    One bound and one noise serve a whole vector, so a column that may be noisier gets less of it: with counts at half
    weight a home's (1, score) has norm at most √1.25 in place of √2, and the scores' noise falls by a fifth.
    """
    match block.source:
        case "area_score" | "area_label":
            return np.array([_COUNT] + [1.0] * len(block.models))
        case "class_score":  # class counts are the district's own panel estimate
            return np.array([1.0] + [1.0, _SQUARE] * len(block.models))
        case "area_profile":
            return np.r_[np.ones(2 * _components(study)), _BEYOND]
        case "diary_profile":
            return np.r_[np.tile(np.r_[_DIARY_COUNT, np.ones(_components(study))], 2), 1.0, 1.0]
        case "area_use":
            return np.array([_COUNT, *[1.0] * len(PARTS), _COUNT, _COUNT])
        case _:
            return np.ones(block_shape(study, block)[1])


def held_bound(block: Block) -> float:
    """To what length a home's coefficients are held in a block of profiles or diaries, so that the rest has room."""
    if block.source == "area_profile":
        return _HELD * block.l2_bound
    return math.sqrt(max(block.l2_bound**2 - 2 * _DIARY_COUNT**2, block.l2_bound**2 / 4))


def label_length(block: Block) -> float:
    """How long every home's vector of an ``area_label`` block is: a weighted 1 and as many of 1 or -1 as models."""
    return math.hypot(_COUNT, math.sqrt(len(block.models)))


def share_block(study: Study, block: Block) -> Block:
    """The block as one supplier makes it.

    In trust mode ``aggregate`` a share holds the part of the noise that makes the whole when the shares of all that are
    honest, `study.noise_shares`, are in a sum, and for dropouts what `privacy.spare` adds; in ``local`` all of it.

    Notes
    -----
    A sum of discrete Gaussians of 65,536 steps is a discrete Gaussian up to a divergence of about exp(-10¹⁰) (Kairouz,
    Liu & Steinke 2021, Theorem 9): nothing in any accountant's arithmetic.
    """
    if study.noise_shares == 1:
        return block
    part = math.nextafter(block.noise_multiplier / math.sqrt(study.noise_shares), math.inf)
    return msgspec.structs.replace(block, noise_multiplier=math.nextafter(part, math.inf))


def sum_deviation(study: Study, block: Block, shares: int, spares: int) -> float:
    """Standard deviation of the noise in a block's sum of so many shares, `spares` of them with their spare noise.

    In the units of the weighted per-home vectors: the office divides by `column_weights`.
    """
    return noise_deviation(share_block(study, block), deviation_steps(study, shares, spares))


def word_bits(study: Study, phase: Phase) -> int:
    """Bits a number needs in the sum of one round: by public bounds alone, for any homes there may be.

    Raises
    ------
    StudyError
        More than 64.
    """
    return codec.word_bits(largest_number(study, phase), len(study.suppliers))


def largest_number(study: Study, phase: Phase) -> int:
    """The largest that a number of one supplier's share can be in one round, for any homes there may be."""
    steps = (sensitivity_steps(share_block(study, block).noise_multiplier) for block in phase.blocks)
    return study.households * max(steps) + TAIL_SIGMAS * (SIGMA_STEPS + spare_steps(study))


def round_numbers(study: Study, phase: Phase) -> int:
    """How many noised numbers one round of a phase releases."""
    shapes = (block_shape(study, block) for block in phase.blocks)
    return sum(groups * width for groups, width in shapes)


def all_round_numbers(study: Study) -> dict[str, int]:
    """`round_numbers` of every phase, by name: what `accounting.plan` needs."""
    return {phase.name: round_numbers(study, phase) for phase in study.phases}


def _components(study: Study) -> int:
    return presence.load(study.occupancy.basis).components.shape[1]
