# SPDX-License-Identifier: Apache-2.0
"""Which topics of shares tell of each other: those whose homes are sums and differences of one another's.

A home is of one kind: its answers to all questions together, of which some cannot be, as a home of one person by size
is one by composition. A topic is a vector t over kinds, one for those that it counts; a figure of area a is known
t ⊗ a. Modulo all homes, whose number is public, topics fall into the least groups of which every dependency between
topics lies within one. The space of topics is the direct sum of what the groups span, so whatever follows from figures
of all topics follows group by group. Within a group, let u ⊗ b follow from figures tᵢ ⊗ aᵢ, and take a linear f with
f(u) = 1: then b = Σ f(tᵢ) aᵢ up to public factors. So no small area follows from a group if none follows from the areas
of all its topics as if these were one; topics of other groups need not be looked at.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Model

_ZERO = 1e-9
_ALONE = frozenset(name for name in COMPOSITION_CLASSES if name.startswith("one_person"))
_KINDS = tuple(
    kind
    for answers in itertools.product(*QUESTIONS.values())
    if ((kind := dict(zip(QUESTIONS, answers, strict=True)))["composition"] in _ALONE)
    == (kind["household_size"] == "1")
)


def groups(models: Sequence[Model]) -> tuple[int, ...]:
    """A number for each model's topic: alike where the homes of one follow from those of others.

    Topics are written in a basis of themselves; each belongs with those that it needs (the components of a linear
    matroid, which are the same for every basis).
    """
    basis: list[int] = []
    group = list(range(len(models)))
    vectors = [_vector(model) for model in models]
    for place, vector in enumerate(vectors):
        if basis:
            rows = np.array([vectors[at] for at in basis])
            factors = np.linalg.lstsq(rows.T, vector, rcond=None)[0]
            if np.abs(rows.T @ factors - vector).max() < _ZERO:
                joined = {group[at] for at, factor in zip(basis, factors, strict=True) if abs(factor) > _ZERO}
                group = [place if own in joined else own for own in group]
                continue
        basis.append(place)
    return tuple(group)


def _vector(model: Model) -> NDArray[np.float64]:
    """The kinds that a topic counts, less its mean: modulo all homes."""
    counted = np.array([kind[model.question] in model.positive_classes for kind in _KINDS], dtype=np.float64)
    return np.asarray(counted - counted.mean())
