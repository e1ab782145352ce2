# SPDX-License-Identifier: Apache-2.0
"""How far floating-point arithmetic can carry a clipped sum, and the bound that leaves room for it.

A sum of n products of numbers with unit roundoff u, added in whatever order, is off by at most γ(n) = nu / (1 - nu)
times the sum of their magnitudes (Higham, *Accuracy and Stability of Numerical Algorithms*, 2002, §3.1). Norms are
computed with that error on top, so each home's vector is within its bound as it is summed, not only on paper.

Sums over homes round too, and one home more would round them differently. So homes are summed in *leaves*, whose
members depend on the homes' own keys alone (see `leaves`): one home more or less changes one leaf, or cuts it in two.
A leaf's sum is put on a grid, and integers are added without error. All that one home can change is then

* its own vector, of norm at most c;
* the rounding of a leaf of at most n homes before, and of at most n + 1 homes in two leaves after:
  γ(n·t) (2n + 1) k c, where a home adds t products to each number, of magnitudes with norm at most k·c;
* three roundings to the fine grid, and two of the total to whole steps: at most (1.5/256 + 1) √d steps for d numbers.

`home_steps` solves for c: together they stay within the steps that the block's noise is charged for.
"""

import math
from dataclasses import dataclass

import torch

from skyglow_shared.errors import StudyError
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import Block

#: Fine steps in a step of the block's grid: leaves are rounded to the former.
FINE_BITS = 8
FINE = 1 << FINE_BITS

_GRIDS = 1.01  # over 1.5 / FINE + 1, with what is lost to underflow
_MOST_HOMES = 1024
_LARGEST_SLACK = 0.009


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Floating-point numbers of one kind.

    Attributes
    ----------
    dtype : torch.dtype
    roundoff : float
        Unit roundoff.
    least : float
        Smallest normal number: what squares may lose to underflow.
    spread : float
        Largest ratio allowed between a home's summed magnitudes and its bound, where days can cancel each other.
    """

    dtype: torch.dtype
    roundoff: float
    least: float
    spread: float

    def gamma(self, terms: int) -> float:
        """Relative error of a sum of so many products, in any order; infinite where nothing can be said."""
        product = terms * self.roundoff
        return product / (1 - product) if product < 1 else math.inf


SINGLE = Arithmetic(torch.float32, 2.0**-24, 2.0**-126, 8.0)
DOUBLE = Arithmetic(torch.float64, 2.0**-53, 2.0**-1022, 2.0**20)


def leaf_homes(arithmetic: Arithmetic, terms: int) -> int:
    """Most homes of a leaf whose homes each add `terms` products to a number."""
    few, many = 1, _MOST_HOMES + 1
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if slack(arithmetic, terms, middle) <= _LARGEST_SLACK else (few, middle)
    return few


def slack(arithmetic: Arithmetic, terms: int, homes: int) -> float:
    """What a leaf's rounding can add to one home's bound, as a share of it."""
    spread = arithmetic.spread if terms > 1 else 1.0
    return arithmetic.gamma(homes * terms) * (2 * homes + 1) * spread


def home_steps(block: Block, parameters: int, share: float) -> float:
    """Norm to which each home is clipped, in steps, so that all it changes stays within the block's charged bound.

    Parameters
    ----------
    block : Block
    parameters : int
        Numbers of the sum.
    share : float
        What `slack` says.

    Raises
    ------
    StudyError
        The grid is too coarse for so many numbers: rounding alone could pass the bound.
    """
    room = sensitivity_steps(block.noise_multiplier) - _GRIDS * math.sqrt(parameters)
    if room <= 0:
        raise StudyError(
            f"block {block.name} has more noise than the grid carries for a model of this size; "
            "lower noise_multiplier or choose a smaller model"
        )
    return room / (1 + share)
