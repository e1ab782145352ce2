# SPDX-License-Identifier: Apache-2.0
"""Sums measured at several levels of a tree made to agree: generalised least squares, exact, in linear time.

Every node of an irregular tree (LSOA ⊂ MSOA ⊂ district ⊂ region ⊂ country) may have been measured with independent
noise of known variance; a parent's true value is the sum of its children's. The best linear unbiased estimate of all of
them takes two sweeps (Hay et al. 2010 for even trees and equal noise; here both may differ from node to node)::

    up:    s = Σ z_child,  W = Σ w_child,  1/w = 1/v + 1/W,  z = w (y/v + s/W)
    down:  x_child = z_child + r (x - s),  r = w_child / W,  V_child = w_child - r² (W - V)

with y, v the measurement of a node, z, w what it and all below say, x, V the answer. A variance of zero is a public
total; an infinite one, no measurement (a level whose share of the budget is zero).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import DataError, GeographyError

Array = NDArray[np.float64]
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Tree:
    """A forest of areas as arrays.

    Attributes
    ----------
    parent : ndarray of int, shape (n,)
        Each node's parent; -1 for a root.
    depth : ndarray of int, shape (n,)
        Steps to the root.
    """

    parent: NDArray[np.intp]
    depth: NDArray[np.intp]

    @classmethod
    def of(cls, parent: NDArray[np.intp]) -> "Tree":
        """Measure depths; GeographyError for a parent that does not exist or lies within its own child."""
        if parent.size and (parent.max() >= parent.size or parent.min() < -1):
            raise GeographyError("an area of the tree lies in one that the tree does not have; correct the lookup")
        depth, above = np.zeros(parent.size, dtype=np.intp), parent.copy()
        while (above >= 0).any():
            depth[above >= 0] += 1
            above = np.where(above >= 0, parent[above], -1)
            if depth.max(initial=0) > parent.size:
                raise GeographyError("an area of the tree lies within itself; correct the lookup")
        return cls(parent, depth)


@dataclass(frozen=True, slots=True)
class Agreed:
    """Values that agree across levels.

    Attributes
    ----------
    value, variance : ndarray, shape (n,)
        NaN and infinity where neither a node nor its surroundings were measured.
    share : ndarray, shape (n,)
        r: how much of a change of its parent's value a node takes; with it, Cov(child, parent) = r Var(parent).
    """

    value: Array
    variance: Array
    share: Array


def agree(tree: Tree, value: Array, variance: Array) -> Agreed:
    """Best linear unbiased estimates of every node.

    Parameters
    ----------
    tree : Tree
    value, variance : ndarray, shape (n,)
        Measurements and the variances of their noise; values where the variance is infinite are not looked at.

    Raises
    ------
    DataError
        A variance is negative or missing, or two public totals contradict each other.
    """
    if np.isnan(variance).any() or (variance < 0).any() or not np.isfinite(value[np.isfinite(variance)]).all():
        raise DataError("a measurement of the tree has no value or a negative variance; leave it out as infinite")
    up = _up(tree, value, variance)
    return _down(tree, up, _shares(tree, up))


@dataclass(frozen=True, slots=True)
class _Up:
    """What the sweep up leaves at every node.

    Attributes
    ----------
    z, w : ndarray, shape (n,)
        What a node and all below it say, and its variance.
    below, spread : ndarray, shape (n,)
        Σ z and Σ w of the children that are known.
    missing : ndarray, shape (n,)
        How many children are not.
    """

    z: Array
    w: Array
    below: Array
    spread: Array
    missing: Array


def _up(tree: Tree, value: Array, variance: Array) -> _Up:
    parent, z, w = tree.parent, np.where(np.isfinite(variance), value, 0.0), variance.astype(np.float64)
    below, spread, missing = (np.zeros(parent.size) for _ in range(3))
    inner = np.isin(np.arange(parent.size), parent)
    for depth in range(int(tree.depth.max(initial=0)), -1, -1):
        at = np.flatnonzero(tree.depth == depth)
        nodes = at[inner[at]]
        z[nodes], w[nodes] = _joined(value[nodes], variance[nodes], below[nodes], spread[nodes], missing[nodes])
        known = at[np.isfinite(w[at]) & (parent[at] >= 0)]
        np.add.at(below, parent[known], z[known])
        np.add.at(spread, parent[known], w[known])
        unknown = at[np.isinf(w[at]) & (parent[at] >= 0)]
        np.add.at(missing, parent[unknown], 1.0)
    return _Up(z, w, below, spread, missing)


def _joined(y: Array, v: Array, s: Array, spread: Array, missing: Array) -> tuple[Array, Array]:
    """What nodes say by themselves joined with what their children sum to."""
    whole = np.where(missing > 0, np.inf, spread)
    if (np.abs(y - s)[(v == 0) & (whole == 0)] > _TOLERANCE * (1 + np.abs(s[(v == 0) & (whole == 0)]))).any():
        raise DataError("public totals of two levels contradict each other; use tables of one census")
    with np.errstate(divide="ignore", invalid="ignore"):
        trust = np.where(np.isinf(whole), 1.0, np.where(np.isinf(v), 0.0, whole / (whole + v)))
        trust = np.where((v == 0) & (whole == 0), 1.0, trust)
        joint = np.where(np.isinf(whole), v, trust * np.where(np.isinf(v), 0.0, v))
    joint = np.where(np.isinf(v) & np.isfinite(whole), whole, joint)
    own = np.where(np.isfinite(v), y, 0.0)
    return np.where(np.isinf(joint), 0.0, trust * own + (1 - trust) * s), joint


def _shares(tree: Tree, up: _Up) -> Array:
    """R of every node: all of it goes to the one child that was not measured, none if there are several."""
    share = np.zeros(up.w.size)
    child = np.flatnonzero(tree.parent >= 0)
    above, lost = tree.parent[child], np.isinf(up.w[child])
    with np.errstate(divide="ignore", invalid="ignore"):
        even = np.where(up.spread[above] > 0, up.w[child] / up.spread[above], 0.0)
    alone = lost & (up.missing[above] == 1)
    share[child] = np.where(up.missing[above] == 0, even, np.where(alone, 1.0, 0.0))
    return share


def _down(tree: Tree, up: _Up, share: Array) -> Agreed:
    x, variance = np.where(np.isinf(up.w), np.nan, up.z), up.w.copy()
    for depth in range(1, int(tree.depth.max(initial=0)) + 1):
        at = np.flatnonzero(tree.depth == depth)
        above, r, lost = tree.parent[at], share[at], np.isinf(up.w[at])
        known = np.isfinite(variance[above])
        left = np.where(known, x[above], 0.0) - up.below[above]
        gap = up.spread[above] - np.where(known, variance[above], 0.0)
        found = known & ((up.missing[above] == 0) | lost & (up.missing[above] == 1))
        x[at] = np.where(found, up.z[at] + r * left, x[at])
        with np.errstate(invalid="ignore"):
            settled = np.where(lost, variance[above] + up.spread[above], up.w[at] - r**2 * gap)
        variance[at] = np.where(found, np.maximum(settled, 0.0), variance[at])
    return Agreed(x, variance, share)
