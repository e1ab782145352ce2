# SPDX-License-Identifier: Apache-2.0
"""How wide a mixture is, beside draws from it."""

import numpy as np
import pytest

from skyglow_server.estimation.multiples import mixed, width
from skyglow_server.estimation.results import QUANTILE

MIXTURES = [
    ([0.975, 0.015, 0.01], [0.0, 0.0, 0.0], [1.0, 9.0, 400.0]),
    ([0.6, 0.3, 0.1], [0.5, -0.5, -1.5], [1.0, 4.0, 0.01]),
    ([0.5, 0.5], [3.0, -3.0], [0.1, 0.1]),
]


@pytest.mark.parametrize(("weight", "off", "variance"), MIXTURES)
def test_a_mixture_lies_in_its_interval_95_times_in_100(weight, off, variance):
    weight, off, variance = (np.array(values)[:, None] for values in (weight, off, variance))
    rng = np.random.default_rng(1)
    part = rng.choice(len(weight), 400_000, p=weight[:, 0])
    drawn = rng.normal(off[part, 0], np.sqrt(variance[part, 0]))
    (half,) = QUANTILE * width(weight, off, variance)
    assert np.mean(np.abs(drawn) <= half) == pytest.approx(0.95, abs=0.0015)
    mean, squared = mixed(weight, off + 2.0, variance)
    assert mean[0] == pytest.approx(2.0)
    assert np.sqrt(squared[0]) == pytest.approx(half / QUANTILE)


def test_one_part_is_as_wide_as_it_is_whatever_the_others():
    weight, variance = np.array([0.0, 1.0, 0.0]), np.array([[9.0, 9.0], [1e-8, 4.0], [1.0, 1.0]])
    np.testing.assert_allclose(width(weight[:, None], np.zeros((3, 2)), variance), [1e-4, 2.0], rtol=1e-3)


def test_a_small_chance_of_something_far_wider_hardly_moves_the_interval_but_a_larger_one_does():
    off, variance = np.zeros((2, 1)), np.array([[1.0], [400.0]])
    widths = [width(np.array([[1 - chance], [chance]]), off, variance)[0] for chance in (0.01, 0.04, 0.1, 0.5)]
    assert widths[0] < 1.1
    assert widths[1] < 1.5
    assert widths[2] > 5
    assert widths[3] > 10
