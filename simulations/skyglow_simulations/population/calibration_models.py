# SPDX-License-Identifier: Apache-2.0
"""Two small models without privacy: boosted trees, and a logistic regression, by itself and cross-validated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_BINS = 16
_NEWTON_STEPS = 25
_LARGEST_LOGIT = 30.0  # beyond it a chance is one, and its exponential could overflow


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree of equal depth: each level's feature and last left bin by node, then a value by leaf."""

    feature: tuple[NDArray[np.int64], ...]
    cut: tuple[NDArray[np.int64], ...]
    leaf: _Array

    def values(self, binned: NDArray[np.int64]) -> _Array:
        node = np.zeros(len(binned), dtype=np.int64)
        rows = np.arange(len(binned))
        for feature, cut in zip(self.feature, self.cut, strict=True):
            node = 2 * node + (binned[rows, feature[node]] > cut[node])
        return self.leaf[node]


def boosted_scores(
    train: _Array, labels: NDArray[np.bool_], test: _Array, *, rounds: int = 80, depth: int = 3, rate: float = 0.2
) -> _Array:
    """Scores of `test` (higher = label true) by gradient-boosted trees on binned features.

    Parameters
    ----------
    train : ndarray, shape (rows, features)
    labels : ndarray of bool, shape (rows,)
    test : ndarray, shape (other rows, features)
    rounds, depth, rate : trees, levels of each, and shrinkage
    """
    edges = np.quantile(train, np.arange(1, _BINS) / _BINS, axis=0).T
    binned, other = (_binned(values, edges) for values in (train, test))
    margin, scores = np.zeros(len(train)), np.zeros(len(test))
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-margin))
        tree = _grow(binned, chance - labels, chance * (1 - chance), depth)
        margin += rate * tree.values(binned)
        scores += rate * tree.values(other)
    return scores


def logistic_scores(x: _Array, y: NDArray[np.bool_], folds: int = 4) -> _Array:
    """Log odds of each row by a ridge logistic regression that was fitted without the row's fold."""
    standard = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    fold = np.random.default_rng(0).permutation(np.arange(len(y)) % folds)
    scores = np.zeros(len(y))
    for out in range(folds):
        kept = fold != out
        weights = fitted(standard[kept], y[kept])
        scores[~kept] = standard[~kept] @ weights[:-1] + weights[-1]
    return scores


def fitted(x: _Array, y: NDArray[np.bool_] | _Array, ridge: float = 1.0) -> _Array:
    """Weights of a logistic regression, the bias last, by Newton's method.

    Parameters
    ----------
    x : ndarray of float64, shape (homes, features)
    y : ndarray of bool or float64, shape (homes,)
    ridge : float
        Penalty on half the squared norm of the weights, the bias not excepted: there is one answer, whatever `y` is.

    Returns
    -------
    ndarray of float64, shape (features + 1,)
    """
    design = np.column_stack([x, np.ones(len(x))])
    weights = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
        slope = design.T @ (chance - y) + ridge * weights
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + ridge * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, slope)
    return weights


def _binned(values: _Array, edges: _Array) -> NDArray[np.int64]:
    return np.stack([np.searchsorted(own, column) for own, column in zip(edges, values.T, strict=True)], axis=1)


def _grow(binned: NDArray[np.int64], slope: _Array, curvature: _Array, depth: int) -> _Tree:
    rows, features = binned.shape
    node, where = np.zeros(rows, dtype=np.int64), np.arange(rows)
    chosen, cuts = [], []
    for level in range(depth):
        nodes = 2**level
        g, h = (_histogram(binned, node, nodes, weights) for weights in (slope, curvature))
        left_g, left_h = g.cumsum(axis=2), h.cumsum(axis=2)
        right_g, right_h = left_g[:, :, -1:] - left_g, left_h[:, :, -1:] - left_h
        gain = (left_g**2 / (left_h + 1) + right_g**2 / (right_h + 1)).reshape(nodes, features * _BINS)
        feature, cut = np.divmod(gain.argmax(axis=1), _BINS)
        chosen.append(feature)
        cuts.append(cut)
        node = 2 * node + (binned[where, feature[node]] > cut[node])
    leaves = 2**depth
    total_g, total_h = (np.bincount(node, weights, leaves) for weights in (slope, curvature))
    return _Tree(tuple(chosen), tuple(cuts), -total_g / (total_h + 1))


def _histogram(binned: NDArray[np.int64], node: NDArray[np.int64], nodes: int, weights: _Array) -> _Array:
    """Sum of weights by node, feature and bin."""
    features = binned.shape[1]
    sums = [np.bincount(node * _BINS + binned[:, column], weights, nodes * _BINS) for column in range(features)]
    return np.stack([own.reshape(nodes, _BINS) for own in sums], axis=1)
