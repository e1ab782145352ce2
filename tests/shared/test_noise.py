# SPDX-License-Identifier: Apache-2.0
"""The table is the discrete Gaussian to 2⁻¹⁰⁰, and the sampler draws from the table exactly."""

from bisect import bisect_right
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency

from skyglow_shared.privacy import noise
from skyglow_shared.privacy.noise import DISTANCE_PER_SAMPLE, SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream, SystemRandomness

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
WHOLE = 1 << 128
SIGMAS = (3, SIGMA_STEPS)


class Crafted:
    """Stands for a stream: gives the words it is made of, in the order `discrete_gaussian` asks for them."""

    def __init__(self, uniforms):
        self.uniforms = uniforms

    def words(self, size):
        taken, self.uniforms = self.uniforms[: size // 2], self.uniforms[size // 2 :]
        return np.array([u >> 64 for u in taken] + [u & (2**64 - 1) for u in taken], dtype=np.uint64)


@pytest.fixture(scope="module", params=SIGMAS)
def table(request):
    high, low, tail = noise._thresholds(request.param)
    return request.param, [(int(h) << 64) | int(w) for h, w in zip(high, low, strict=True)], tail


def total(sigma):
    """Σ exp(-k²/2σ²) over all integers = σ√(2π)·(1 + 2exp(-2π²σ²) + …), by Poisson summation; 90 digits."""
    exponent = -2 * PI * PI * sigma * sigma
    return sigma * (2 * PI).sqrt() * (1 + 2 * exponent.exp() + 2 * (4 * exponent).exp())


def test_every_probability_is_the_discrete_gaussians(table):
    sigma, thresholds, tail = table
    places = range(1, 2 * tail) if sigma < 100 else [*range(1, 2 * tail, 997), tail - 1, tail, tail + 1]
    with localcontext(prec=90):
        norm = total(sigma)
        for place in places:
            k = place - tail
            ideal = (Decimal(-k * k) / (2 * sigma * sigma)).exp() / norm * WHOLE
            assert abs(thresholds[place] - thresholds[place - 1] - ideal) <= 2, k


def test_the_table_is_symmetric_and_complete(table):
    sigma, thresholds, tail = table
    assert len(thresholds) == 2 * tail
    assert all(a <= b for a, b in pairwise(thresholds))
    for k in (0, 1, 2, sigma, 5 * sigma, tail - 1):  # P(X ≤ -k - 1) + P(X ≤ k) = 1
        assert abs(thresholds[tail - k - 1] + thresholds[tail + k] - WHOLE) <= 2
    assert WHOLE - thresholds[-1] < 2**20


def test_the_distance_charged_covers_the_table():
    """At most 3·2⁻¹²⁸ a threshold (test above), and 14 deviations of tail on both sides."""
    tail_mass = 2 * 2.0**-140
    assert (2 * 14 * SIGMA_STEPS + 1) * 3 * 2.0**-128 + tail_mass < DISTANCE_PER_SAMPLE


def test_the_sampler_inverts_the_table_exactly(table):
    """Every threshold, one below it and one above, where the first words tie and where they do not."""
    sigma, thresholds, tail = table
    fine = [0, 60_000, *range(tail // 2, 3 * tail // 2, 499), 2 * tail - 1]
    places = range(2 * tail) if sigma < 100 else fine
    uniforms = {0, WHOLE - 1}
    for place in places:
        at = thresholds[place]
        uniforms |= {at - 1, at, at + 1, at - at % 2**64, at | (2**64 - 1)}
    uniforms = sorted(u for u in uniforms if 0 <= u < WHOLE)
    drawn = discrete_gaussian(Crafted(uniforms), len(uniforms), sigma=sigma)
    wanted = [bisect_right(thresholds, u) - tail for u in uniforms]
    np.testing.assert_array_equal(drawn, wanted)


@given(st.lists(st.integers(0, WHOLE - 1), min_size=1, max_size=50))
def test_the_sampler_inverts_the_table_anywhere(uniforms):
    high, low, tail = noise._thresholds(3)
    thresholds = [(int(h) << 64) | int(w) for h, w in zip(high, low, strict=True)]
    drawn = discrete_gaussian(Crafted(uniforms), len(uniforms), sigma=3)
    np.testing.assert_array_equal(drawn, [bisect_right(thresholds, u) - tail for u in uniforms])


def test_ties_of_the_first_word_do_occur():
    """Far out, many thresholds share their first word: what `_overshoot` is for."""
    high, low, tail = noise._thresholds(SIGMA_STEPS)
    shared = np.count_nonzero(high == 0)
    assert shared > 1000
    place = shared - 1000
    assert low[place - 1] < low[place] < low[shared - 1]
    u = int(low[place]) - 1
    assert discrete_gaussian(Crafted([u]), 1)[0] == place - tail


def test_goodness_of_fit_on_a_small_grid():
    """χ² over -12 … 12 and the tails, 400,000 draws of a fixed key; a fresh key would fail with chance 1e-6."""
    draws, sigma = 400_000, 3
    drawn = discrete_gaussian(ByteStream(bytes(range(KEY_BYTES))), draws, sigma=sigma)
    values = np.arange(-40, 41)
    weights = np.exp(-(values**2) / (2 * sigma**2))
    expected = draws * weights / weights.sum()
    bins = np.clip(values, -12, 12) + 12
    expected, observed = np.bincount(bins, expected), np.bincount(np.clip(drawn, -12, 12) + 12, minlength=25)
    assert ((observed - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-6, 24)


def test_same_distribution_as_opendps_sampler():
    """χ² over 40 bins of equal chance, at the grid's own scale; fails with chance 1e-9 (OpenDP's keys are fresh)."""
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    reference = np.array(dp.m.make_gaussian(*space, scale=float(SIGMA_STEPS))([0] * 20_000))
    drawn = discrete_gaussian(SystemRandomness().stream("test"), 200_000)
    edges = np.quantile(reference, np.linspace(0, 1, 41)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, sample), minlength=40) for sample in (reference, drawn)]
    assert chi2_contingency(np.array(counts)).pvalue > 1e-9


def test_low_bits_are_uniform_on_the_fine_grid():
    """At 65,536 steps the last four bits carry no information; χ² of a fixed key, fresh ones fail with chance 1e-6."""
    bits = np.bincount(discrete_gaussian(ByteStream(bytes(KEY_BYTES)), 160_000) & 15, minlength=16)
    assert ((bits - 10_000) ** 2 / 10_000).sum() < chi2.ppf(1 - 1e-6, 15)


def test_the_same_key_repeats_and_another_does_not():
    draws = [discrete_gaussian(ByteStream(key), 1000) for key in (bytes(32), bytes(32), b"\x01" + bytes(31))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).mean() > 0.99


def test_draws_beyond_one_chunk_are_fresh():
    drawn = discrete_gaussian(ByteStream(bytes(32)), 2 * noise._CHUNK + 5)
    assert drawn.shape == (2 * noise._CHUNK + 5,)
    assert (drawn[: noise._CHUNK] != drawn[noise._CHUNK : 2 * noise._CHUNK]).mean() > 0.99


def test_the_systems_streams_are_independent_and_ignore_their_label():
    randomness = SystemRandomness()
    first, second = randomness.stream("a", 1), randomness.stream("a", 1)
    assert first.read(64) != second.read(64)
    assert len(first.key) == KEY_BYTES


def test_a_stream_does_not_repeat_itself():
    stream = ByteStream(bytes(32))
    assert stream.read(48) + stream.read(16) == ByteStream(bytes(32)).read(64)
    assert bytes(32).hex() not in repr(stream)


@pytest.mark.parametrize("sigma", [0, 1, 2, -3])
def test_a_grid_too_coarse_is_refused(sigma):
    with pytest.raises(ValueError, match="at least 3"):
        discrete_gaussian(ByteStream(bytes(32)), 1, sigma=sigma)
