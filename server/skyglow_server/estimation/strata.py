# SPDX-License-Identifier: Apache-2.0
"""The strata of a topic's calibration, and how many homes the old census leads to expect in each.

A topic that follows from composition has the composition classes. Any other has two strata a class: its homes that do
not count, then those that do. The office's tables give margins; what they leave open is filled with plain chances.

household_size   Counts by class and by size are both known; sizes within classes are fitted to both (Deming and Stephan
                 1940) from the chances of `_SIZE_SEED`. The topic's own old share is then that of the table of sizes.
paid_work        The share of residents in employment is known. Chances by class that somebody works are those of
                 `_WORKS` where 57 in 100 residents aged 16 and over work, moved by the area's own odds.

Chances are rough, set here from what national tables say of England and Wales, and not fitted to any simulation: the
drift of shares since the census (`mixed`) takes up a common error, and the panel measures it.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.inputs import EMPLOYED_COLUMN, SIZE_COLUMNS, AreaTable
from skyglow_shared.errors import FormatError
from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Model

Array = NDArray[np.float64]

_CLASSES = len(COMPOSITION_CLASSES)
_SIZE_SEED = np.array(
    [
        [1.0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0.96, 0.03, 0.01, 0, 0, 0, 0],
        [1.0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0.70, 0.20, 0.08, 0.02, 0, 0, 0],
        [0, 0.12, 0.32, 0.36, 0.13, 0.04, 0.02, 0.01],
        [0, 0.30, 0.24, 0.20, 0.12, 0.08, 0.03, 0.03],
    ]
)
_ROUNDS = 60
_WORKS = np.array([0.08, 0.20, 0.68, 0.85, 0.88, 0.80])
_EMPLOYED = 0.57
#: By question, how far an old share that is worked out may be from a census's in all areas alike: sd of the logit.
ROUGH = {"composition": 0.0, "household_size": 0.0, "paid_work": 0.2}
_LEAST, _MOST = 0.02, 0.98  # no area is taken to be without work, or without anybody out of it


def positive_strata(model: Model) -> NDArray[np.bool_]:
    """Which strata of a model count as one, shape (6,) or (12,)."""
    if model.question == "composition":
        return np.array([name in model.positive_classes for name in COMPOSITION_CLASSES])
    return np.repeat([False, True], _CLASSES)


def stratified(areas: AreaTable, model: Model) -> AreaTable:
    """The table with old counts by the strata of a model in place of those by class.

    Raises
    ------
    FormatError
        The table has no old counts of what the model is about.
    """
    if model.question == "composition":
        return areas
    chance = _size_chance(areas, model) if model.question == "household_size" else _work_chance(areas, model)
    return replace(areas, counts=np.concatenate([areas.counts * (1 - chance), areas.counts * chance], axis=1))


def _size_chance(areas: AreaTable, model: Model) -> Array:
    """Chance [A, 6] that a home of a class is of one of a model's sizes."""
    if areas.sizes is None:
        raise _lacking(model, SIZE_COLUMNS)
    counted = [name in model.positive_classes for name in QUESTIONS[model.question]]
    return np.asarray(_sizes_by_class(areas.counts, areas.sizes)[:, :, counted].sum(axis=2).clip(0.0, 1.0))


def _sizes_by_class(classes: Array, sizes: Array) -> Array:
    """Chance [A, 6, 8] of each size given the class, fitted to both margins."""
    table = _SIZE_SEED * (classes[:, :, None] + 0.5)
    wanted = sizes * (classes.sum(axis=1) / sizes.sum(axis=1))[:, None]
    for _ in range(_ROUNDS):
        table = table * (wanted / np.maximum(table.sum(axis=1), 1e-9))[:, None, :]
        table = table * (classes / np.maximum(table.sum(axis=2), 1e-9))[:, :, None]
    total = table.sum(axis=2, keepdims=True)
    seed = _SIZE_SEED / _SIZE_SEED.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, table / np.maximum(total, 1e-300), seed))


def _work_chance(areas: AreaTable, model: Model) -> Array:
    """Chance [A, 6] that a home of a class gives one of a model's answers on paid work."""
    if areas.employed is None:
        raise _lacking(model, (EMPLOYED_COLUMN,))
    share = areas.employed.clip(_LEAST, _MOST)
    logit = np.log(_WORKS / (1 - _WORKS)) + (np.log(share / (1 - share)) - np.log(_EMPLOYED / (1 - _EMPLOYED)))[:, None]
    works = 1 / (1 + np.exp(-logit))
    by_answer = dict(zip(QUESTIONS[model.question], (1 - works, works), strict=True))
    return np.asarray(sum(by_answer[name] for name in model.positive_classes))


def _lacking(model: Model, columns: tuple[str, ...]) -> FormatError:
    return FormatError(
        f"the table of areas lacks {', '.join(columns)}, which topic {model.name} needs; make the table anew from "
        "census tables ts017, ts059 and ts065, or leave the topic out"
    )
