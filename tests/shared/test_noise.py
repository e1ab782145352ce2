# SPDX-License-Identifier: Apache-2.0
"""The tables hold the discrete Gaussian to 2⁻¹⁰⁰, and the sampler draws from the tables exactly."""

from bisect import bisect_right
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency

from skyglow_shared.privacy import noise
from skyglow_shared.privacy.noise import DISTANCE_PER_SAMPLE, SIGMA_STEPS, discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream, SystemRandomness

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
WHOLE = 1 << 128
WORD = 1 << 64
SIGMAS = (3, 100, 300, SIGMA_STEPS)  # single integers, single integers, blocks of 4, blocks of 1,024


class Crafted:
    """Stands for a stream: answers each call for words with the next list, which must be as long as was asked for."""

    def __init__(self, answers):
        self.answers = list(answers)

    def words(self, size):
        answer = self.answers.pop(0) if self.answers else []
        assert len(answer) == size
        return np.array(answer, dtype=np.uint64)


class Reference:
    """The sampler in plain integers, by its definition: no guide, no words, one number at a time."""

    def __init__(self, sigma):
        tables = noise._tables(sigma)
        self.sigma, self.tail, self.shift = sigma, tables.tail, tables.shift
        self.blocks = whole_numbers(tables.blocks)
        self.wedge = whole_numbers(tables.wedge) if tables.wedge else None

    def draw(self, u, place, v):
        block = bisect_right(self.blocks, u)
        if self.wedge and block == len(self.blocks):
            return bisect_right(self.wedge, v) - self.tail
        return (block << self.shift) + place % (1 << self.shift) - self.tail

    def check(self, draws):
        """Draws are triples: a 128-bit number, a 16-bit one, and another 128-bit one for the wedge."""
        for start in range(0, len(draws), noise._CHUNK):
            part = draws[start : start + noise._CHUNK]
            stream = Crafted(self._answers(part))
            drawn = discrete_gaussian(stream, len(part), sigma=self.sigma)
            np.testing.assert_array_equal(drawn, [self.draw(*each) for each in part])
            assert not any(stream.answers)

    def _answers(self, draws):
        """The words in the order in which they are asked for: second words only where the first is a threshold's."""
        yield [u // WORD for u, _, _ in draws]
        firsts = {at // WORD for at in self.blocks}
        yield [u % WORD for u, _, _ in draws if u // WORD in firsts]
        if self.wedge:
            places = [place for _, place, _ in draws] + [0] * (-len(draws) % 4)
            yield np.array(places, dtype="<u2").view("<u8").tolist()
            rest = [v for u, _, v in draws if u >= self.blocks[-1]]
            yield [v // WORD for v in rest]
            firsts = {at // WORD for at in self.wedge}
            yield [v % WORD for v in rest if v // WORD in firsts]

    def law(self):
        """The exact distribution of what is drawn: integers over 2**(256 + shift), of -tail … tail - 1."""
        blocks = masses(self.blocks)
        if not self.wedge:
            return [mass << 128 for mass in blocks]
        return [
            (blocks[place >> self.shift] << 128) + (blocks[-1] * mass << self.shift)
            for place, mass in enumerate(masses(self.wedge))
        ]


def whole_numbers(thresholds):
    return [high * WORD + low for high, low in zip(thresholds.high.tolist(), thresholds.low.tolist(), strict=True)]


def masses(thresholds):
    return [after - before for before, after in pairwise([0, *thresholds, WHOLE])]


def around(thresholds):
    """Every threshold, its neighbours, and the ends of its first word."""
    found = {0, WHOLE - 1}
    for at in thresholds:
        found |= {at - 1, at, at + 1, at - at % WORD, at | (WORD - 1)}
    return sorted(u for u in found if 0 <= u < WHOLE)


@pytest.fixture(scope="module", params=SIGMAS)
def reference(request):
    return Reference(request.param)


def total(sigma):
    """Σ exp(-k²/2σ²) over all integers = σ√(2π)·(1 + 2exp(-2π²σ²) + …), by Poisson summation; 90 digits."""
    exponent = -2 * PI * PI * sigma * sigma
    return sigma * (2 * PI).sqrt() * (1 + 2 * exponent.exp() + 2 * (4 * exponent).exp())


def test_every_probability_is_the_discrete_gaussians(reference):
    """What the sampler gives, from its own tables; where all integers are compared, their distance is what is charged.

    At 65,536 steps: around zero, around some blocks' edges, and here and there.
    """
    sigma, tail, law = reference.sigma, reference.tail, reference.law()
    edges = {
        edge + near for edge in range(0, 2 * tail, 64 << reference.shift) for near in (-1, 0, 1) if edge + near >= 0
    }
    places = range(2 * tail) if sigma < 1000 else sorted({*range(1, 2 * tail, 997), *edges, 2 * tail - 1})
    with localcontext(prec=90):
        norm, unit, distance, covered = total(sigma), Decimal(2 ** (256 + reference.shift)), Decimal(0), Decimal(0)
        for place in places:
            k = place - tail
            ideal = (Decimal(-k * k) / (2 * sigma * sigma)).exp() / norm
            error = abs(law[place] / unit - ideal)
            assert error * WHOLE <= 2, k
            distance, covered = distance + error, covered + ideal
        if len(places) == 2 * tail:
            assert (distance + abs(1 - covered)) / 2 < Decimal(DISTANCE_PER_SAMPLE) / 1000


def test_the_law_is_symmetric_and_complete(reference):
    tail, law, unit = reference.tail, reference.law(), 1 << (128 + reference.shift)
    assert len(law) == 2 * tail
    assert sum(law) == unit << 128
    assert min(law) >= 0
    assert all(abs(law[tail - k] - law[tail + k]) <= 4 * unit for k in range(tail))
    assert law[0] <= 4 * unit


def test_the_distance_charged_covers_the_tables(reference):
    """Rounding down a threshold moves less than 2⁻¹²⁸ from one outcome to the next; the arithmetic is far finer.

    A tail of P(|X| ≥ 14σ) < 2⁻¹⁴⁰ is cut off. Hence well within at the largest grid in use; the test above agrees.
    """
    rounded = len(reference.blocks) + len(reference.wedge or [])
    assert (rounded + 1) * 2.0**-128 + 2.0**-140 < DISTANCE_PER_SAMPLE / 64
    assert reference.tail >= 14 * reference.sigma


def test_the_sampler_inverts_the_table_exactly(reference):
    """Every block's threshold, one below it and one above, where the first words tie and where they do not."""
    reference.check([(u, number, 0) for number, u in enumerate(around(reference.blocks))])


@pytest.mark.parametrize("sigma", [300, SIGMA_STEPS])
def test_the_wedge_is_inverted_exactly(sigma):
    """Likewise for the wedge's integers; at 65,536 steps, some of them and the whole of the far tail that ties."""
    reference = Reference(sigma)
    wedge = reference.wedge if sigma < 1000 else [*reference.wedge[::499], *reference.wedge[-3:]]
    in_wedge = (reference.blocks[-1] + WHOLE) // 2
    reference.check([(in_wedge, number, v) for number, v in enumerate(around(wedge))])


def test_ties_of_the_first_word_do_occur():
    """Far out, many thresholds share their first word: what the second words are for."""
    for thresholds in (noise._tables(100).blocks, noise._tables(SIGMA_STEPS).wedge):
        shared = np.count_nonzero(thresholds.high == 0)
        assert shared > 100
        assert np.unique(thresholds.low[:shared]).size > 100


def test_every_place_of_a_block_is_drawn_once():
    reference = Reference(300)
    u = (reference.blocks[500] + reference.blocks[501]) // 2
    drawn = discrete_gaussian(Crafted([[u // WORD] * 4, [], [0x0003_0002_0001_0000], []]), 4, sigma=300)
    assert drawn.tolist() == list(range(501 * 4 - reference.tail, 502 * 4 - reference.tail))


def test_the_guide_decides_only_what_is_certain(reference):
    """For each of the 65,536 beginnings of a word, the first and the last that begin so give what the guide says."""
    guide, shift = noise._tables(reference.sigma).guide.tolist(), 128 - 16
    for start, decided in enumerate(guide):
        if decided != noise._UNDECIDED:
            ends = (start << shift, ((start + 1) << shift) - 1)
            assert {bisect_right(reference.blocks, u) for u in ends} == {(decided + reference.tail) >> reference.shift}
            assert decided < reference.tail


@pytest.mark.parametrize(("high", "bucket"), [(1 << 63, 1 << 15), ((1 << 63) - 1, (1 << 15) - 1)])
def test_the_guide_leaves_open_what_ties_at_its_ends(high, bucket):
    """A threshold whose first word is the first, or the last, of those with the same beginning."""
    threshold = noise._Thresholds(np.array([high], np.uint64), np.array([5], np.uint64))
    wanted = [-1] * bucket + [noise._UNDECIDED] + [0] * (2**16 - bucket - 1)
    assert noise._guide(threshold, tail=1, shift=0).tolist() == wanted


def test_the_quick_way_is_the_usual_one(reference):
    """What makes it fast: few words are left undecided, fewer fall into the wedge; but some do."""
    undecided = np.count_nonzero(noise._tables(reference.sigma).guide == noise._UNDECIDED) / 2**16
    assert 0 < undecided < 0.02
    if reference.wedge:
        assert 0.001 < (WHOLE - reference.blocks[-1]) / WHOLE < 0.01


@given(st.lists(st.tuples(*(st.integers(0, top - 1) for top in (WHOLE, 1 << 16, WHOLE))), min_size=1, max_size=50))
@example([(WHOLE - 1, 3, 0), (0, 0, 0), (WHOLE - 1, 3, WHOLE - 1)])
def test_the_sampler_inverts_the_tables_anywhere(draws):
    for sigma in (3, 300):
        Reference(sigma).check(draws)


def chi_square(observed, expected):
    """Pearson's statistic as a share of the value that a fresh key would exceed with chance 1e-6."""
    return ((observed - expected) ** 2 / expected).sum() / chi2.ppf(1 - 1e-6, len(expected) - 1)


@pytest.mark.parametrize(("sigma", "width"), [(3, 1), (100, 10), (300, 7), (SIGMA_STEPS, 5000)])
def test_goodness_of_fit(sigma, width):
    """χ² over bins to ±4σ and the tails, 400,000 draws of a fixed key."""
    draws, reach = 400_000, 4 * sigma
    drawn = discrete_gaussian(ByteStream(bytes(range(KEY_BYTES))), draws, sigma=sigma)
    values = np.arange(-12 * sigma, 12 * sigma + 1)
    weights = np.exp(-(values**2) / (2 * sigma**2))
    place = [(np.clip(each, -reach, reach) + reach) // width for each in (values, drawn)]
    assert chi_square(np.bincount(place[1]), np.bincount(place[0], draws * weights / weights.sum())) < 1


@pytest.mark.parametrize("sigma", [3, 100, 300, SIGMA_STEPS])
def test_moments(sigma):
    """Mean, variance, skewness and kurtosis within six standard errors, of a fixed key."""
    z = discrete_gaussian(ByteStream(b"moments!" * 4), 1_000_000, sigma=sigma) / sigma
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((z**power).mean() - mean) < 6 * (variance / z.size) ** 0.5


@pytest.mark.parametrize("sigma", [100, SIGMA_STEPS])
def test_same_distribution_as_opendps_sampler(sigma):
    """χ² over 40 bins of equal chance; fails with chance 1e-9 (OpenDP's keys are fresh)."""
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    theirs = np.array(dp.m.make_gaussian(*space, scale=float(sigma))([0] * 20_000))
    drawn = discrete_gaussian(SystemRandomness().stream("test"), 200_000, sigma=sigma)
    edges = np.quantile(theirs, np.linspace(0, 1, 41)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, sample), minlength=40) for sample in (theirs, drawn)]
    assert chi2_contingency(np.array(counts)).pvalue > 1e-9


def test_low_bits_are_uniform_on_the_fine_grid():
    """At 65,536 steps the last ten bits, a block's places, carry no information; χ² of a fixed key."""
    bits = np.bincount(discrete_gaussian(ByteStream(bytes(KEY_BYTES)), 160_000) & 1023, minlength=1024)
    assert chi_square(bits, np.full(1024, 160_000 / 1024)) < 1


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


@pytest.mark.parametrize("sigma", [0, 1, 2, -3, (1 << 20) + 1])
def test_a_grid_too_coarse_or_too_fine_is_refused(sigma):
    with pytest.raises(ValueError, match="at least 3 grid steps and at most"):
        discrete_gaussian(ByteStream(bytes(32)), 1, sigma=sigma)
