# SPDX-License-Identifier: Apache-2.0
"""How to split a budget over the levels of a tree so that the levels that matter are as precise as can be.

With zero-concentrated privacy a level that gets the share a of the budget is measured with variance proportional to
1/a, and shares add up to one. What is minimised is the weighted mean, over levels, of the variance that is left once
all levels have been made to agree (`hierarchy`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from skyglow_server.estimation.hierarchy import Tree, agree
from skyglow_shared.errors import StudyError

Array = NDArray[np.float64]


def level_variances(tree: Tree, shares: Array) -> Array:
    """Mean variance by depth once levels agree, for shares of the budget by depth; zero is no measurement."""
    with np.errstate(divide="ignore"):
        variance = (1 / shares)[tree.depth]
    agreed = agree(tree, np.zeros(tree.depth.size), variance)
    counts = np.bincount(tree.depth)
    return np.asarray(np.bincount(tree.depth, agreed.variance) / counts)


def split(tree: Tree, goal: Mapping[int, float]) -> Array:
    """Shares by depth that minimise the goal's weighted mean of level variances.

    Parameters
    ----------
    tree : Tree
    goal : mapping of int to float
        Weight of each depth (0 = root) in what is minimised; levels that are not named do not matter.

    Raises
    ------
    StudyError
        No level has a positive weight, or a level that does not exist has one.
    """
    depths = int(tree.depth.max(initial=0)) + 1
    weight = np.array([goal.get(depth, 0.0) for depth in range(depths)])
    if set(goal) - set(range(depths)) or (weight < 0).any() or not weight.sum() > 0:
        raise StudyError("the goal of a budget must weigh at least one level of the tree, none below zero")

    def loss(logs: Array) -> float:
        shares = np.exp(logs - logs.max())
        return float(np.log(weight @ level_variances(tree, shares / shares.sum()) / weight.sum()))

    found = minimize(loss, np.zeros(depths), method="L-BFGS-B", bounds=[(-12.0, 12.0)] * depths)
    shares = np.exp(found.x - found.x.max())
    return np.asarray(shares / shares.sum())
