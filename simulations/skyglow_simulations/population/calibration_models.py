# SPDX-License-Identifier: Apache-2.0
"""Two small models that judge the simulated homes: boosted trees and a cross-validated logistic regression."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_BINS = 16


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
    design = np.column_stack([(x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9), np.ones(len(x))])
    fold = np.random.default_rng(0).permutation(np.arange(len(y)) % folds)
    scores = np.zeros(len(y))
    for out in range(folds):
        kept, weights = fold != out, np.zeros(design.shape[1])
        for _ in range(15):
            chance = 1 / (1 + np.exp(-np.clip(design[kept] @ weights, -30, 30)))
            slope = design[kept].T @ (chance - y[kept]) + weights
            curvature = (design[kept] * (chance * (1 - chance))[:, None]).T @ design[kept] + np.eye(len(weights))
            weights -= np.linalg.solve(curvature, slope)
        scores[~kept] = design[~kept] @ weights
    return scores


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
