# SPDX-License-Identifier: Apache-2.0
"""Levels made to agree, against a dense solve; the budget's split, against every other."""

import time
from itertools import pairwise

import numpy as np
import pytest

from skyglow_server.estimation.budget import level_variances, split
from skyglow_server.estimation.hierarchy import Tree, agree
from skyglow_shared.errors import DataError, GeographyError, StudyError


def random_tree(rng, widths=(1, 2, 5, 14, 40)):
    """An irregular tree: every node of a level has at least one child in the next, the rest are anywhere."""
    parents, start = [np.array([-1])], 0
    for above, here in pairwise(widths):
        parents.append(start + np.concatenate([np.arange(above), rng.integers(0, above, here - above)]))
        start += above
    return Tree.of(np.concatenate(parents))


def dense(tree, value, variance):
    """Estimates and covariance of all nodes by generalised least squares on the leaves."""
    size = tree.parent.size
    leaves = np.setdiff1d(np.arange(size), tree.parent)
    sums = np.zeros((size, leaves.size))
    for column, leaf in enumerate(leaves):
        node = leaf
        while node >= 0:
            sums[node, column] = 1.0
            node = tree.parent[node]
    seen = np.isfinite(variance)
    weighted = sums[seen].T / variance[seen]
    covariance = np.linalg.inv(weighted @ sums[seen])
    return sums @ covariance @ weighted @ value[seen], sums @ covariance @ sums.T


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gaps", [0, 6])
def test_it_is_the_dense_solve(seed, gaps):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng)
    value, variance = rng.normal(100, 30, tree.parent.size), rng.uniform(0.5, 9, tree.parent.size)
    inner = np.unique(tree.parent[tree.parent >= 0])
    variance[rng.choice(inner, gaps, replace=False)] = np.inf
    value[np.isinf(variance)] = np.nan
    found = agree(tree, value, variance)
    wanted, covariance = dense(tree, np.nan_to_num(value), variance)
    np.testing.assert_allclose(found.value, wanted, rtol=1e-9)
    np.testing.assert_allclose(found.variance, np.diag(covariance), rtol=1e-9)
    child = np.flatnonzero(tree.parent >= 0)
    above = tree.parent[child]
    np.testing.assert_allclose(found.share[child] * found.variance[above], covariance[child, above], rtol=1e-9)


def test_levels_agree():
    rng = np.random.default_rng(1)
    tree = random_tree(rng)
    found = agree(tree, rng.normal(10, 5, tree.parent.size), rng.uniform(1, 2, tree.parent.size))
    sums = np.bincount(tree.parent[1:], found.value[1:], minlength=tree.parent.size)
    inner = np.unique(tree.parent[1:])
    np.testing.assert_allclose(sums[inner], found.value[inner])


def test_one_child_that_was_not_measured_is_what_the_others_leave():
    tree = Tree.of(np.array([-1, 0, 0, 0]))
    found = agree(tree, np.array([10.0, 2.0, 3.0, np.nan]), np.array([1.0, 0.5, 0.25, np.inf]))
    np.testing.assert_allclose(found.value, [10, 2, 3, 5])
    np.testing.assert_allclose(found.variance, [1, 0.5, 0.25, 1.75])


def test_two_children_that_were_not_measured_stay_unknown():
    tree = Tree.of(np.array([-1, 0, 0, 0]))
    found = agree(tree, np.array([10.0, 2.0, np.nan, np.nan]), np.array([1.0, 0.5, np.inf, np.inf]))
    np.testing.assert_array_equal(np.isnan(found.value), [False, False, True, True])
    assert np.isinf(found.variance[2:]).all()


def test_public_totals_are_kept_and_must_not_contradict():
    tree = Tree.of(np.array([-1, 0, 0]))
    found = agree(tree, np.array([10.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found.value, [10, 4, 6])
    assert found.variance[0] == 0
    whole = agree(tree, np.array([7.0, 3.0, 4.0]), np.zeros(3))
    np.testing.assert_allclose(whole.value, [7, 3, 4])
    with pytest.raises(DataError, match="contradict"):
        agree(tree, np.array([10.0, 3.0, 4.0]), np.zeros(3))


@pytest.mark.parametrize("variance", [-1.0, np.nan])
def test_a_measurement_without_a_variance_is_refused(variance):
    with pytest.raises(DataError, match="variance"):
        agree(Tree.of(np.array([-1, 0])), np.ones(2), np.array([1.0, variance]))


@pytest.mark.parametrize("parent", [[-1, 5], [1, 0], [-2]])
def test_what_is_no_tree_is_refused(parent):
    with pytest.raises(GeographyError, match="tree"):
        Tree.of(np.array(parent))


def test_time_grows_with_the_tree():
    rng, seconds = np.random.default_rng(0), []
    for factor in (1, 10):
        tree = random_tree(rng, (1, 10, 330 * factor, 720 * factor, 3600 * factor))
        value = rng.normal(size=tree.parent.size)
        best = []
        for _ in range(3):
            begun = time.process_time()
            agree(tree, value, np.ones(value.size))
            best.append(time.process_time() - begun)
        seconds.append(min(best))
    assert seconds[1] < 25 * seconds[0] + 0.05, "ten times the areas"


@pytest.mark.parametrize("goal", [{2: 1.0}, {1: 1.0}, {0: 1.0, 2: 1.0}])
def test_no_other_split_serves_the_goal_better(goal):
    tree = random_tree(np.random.default_rng(4), (1, 4, 20))
    shares = split(tree, goal)
    assert shares.sum() == pytest.approx(1)

    def loss(tried):
        variances = level_variances(tree, tried)
        return sum(weight * variances[depth] for depth, weight in goal.items())

    others = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    assert loss(shares) <= min(map(loss, others)) * 1.001


def test_a_goal_without_a_level_is_refused():
    tree = Tree.of(np.array([-1, 0, 0]))
    for goal in ({}, {0: 0.0}, {1: -1.0}, {7: 1.0}):
        with pytest.raises(StudyError, match="goal"):
            split(tree, goal)


def test_a_level_without_budget_is_still_estimated():
    tree = random_tree(np.random.default_rng(2), (1, 4, 20))
    assert np.isfinite(level_variances(tree, np.array([0.0, 0.0, 1.0]))).all()
