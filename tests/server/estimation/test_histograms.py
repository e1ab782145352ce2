# SPDX-License-Identifier: Apache-2.0
"""Expectation-maximisation on histograms: quapy's numbers without noise, less accurate with it."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server.estimation.histograms import Histograms, histogram_estimates, most_likely
from skyglow_shared.errors import DataError
from skyglow_shared.layout import SCORE_BINS

BINS = np.arange(SCORE_BINS)


def density(centre, width):
    found = np.exp(-0.5 * ((BINS - centre) / width) ** 2)
    return found / found.sum()


# Made with quapy 0.2.3: EMQ.EM(prior, posteriors of every home, epsilon=1e-14), MAX_ITER 100,000, where a home's
# posteriors are prior × densities at its bin, normalised. Histograms are made up.
QUAPY = {
    "two": (
        np.stack([density(7.5, 2.5), density(4.0, 2.0)]),
        np.array([0.2, 0.8]),
        np.array([3, 9, 22, 41, 60, 58, 49, 40, 33, 21, 10, 4]),
        [0.39121008624028164, 0.6087899137597215],
    ),
    "three": (
        np.stack([density(9, 2.0), density(5.5, 2.0), density(2.0, 2.5)]),
        np.array([0.3, 0.3, 0.4]),
        np.array([30, 41, 52, 50, 44, 41, 40, 42, 39, 28, 17, 8]),
        [0.20706671590385348, 0.2873477616627979, 0.5055855224333464],
    ),
}


@pytest.mark.parametrize("case", QUAPY)
def test_without_noise_it_gives_quapys_numbers(case):
    densities, start, counts, wanted = QUAPY[case]
    found = most_likely(counts.astype(float), densities, start, tolerance=1e-13, most=100_000)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_areas_are_fitted_each_by_itself():
    densities, start, counts, wanted = QUAPY["two"]
    many = np.stack([counts, counts[::-1], 7 * counts]).astype(float)
    found = most_likely(many, densities, start, tolerance=1e-12, most=100_000)
    np.testing.assert_allclose(found[[0, 2]], [wanted, wanted], atol=1e-6)
    assert found[1, 0] > wanted[0]
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_negative_counts_count_as_zero_and_an_area_with_none_keeps_its_start():
    densities, start, counts, _ = QUAPY["two"]
    spoilt = counts.astype(float)
    spoilt[3] = -12.5
    clean = np.where(spoilt < 0, 0.0, spoilt)
    np.testing.assert_array_equal(most_likely(spoilt, densities, start), most_likely(clean, densities, start))
    np.testing.assert_array_equal(most_likely(np.full(SCORE_BINS, -3.0), densities, start), start)


def test_bins_where_nobody_can_be_tell_nothing():
    densities, start, counts, _ = QUAPY["two"]
    cut = densities.copy()
    cut[:, 0] = 0.0
    moved = counts.astype(float)
    moved[0] = 500.0
    np.testing.assert_allclose(most_likely(moved, cut, start), most_likely(counts.astype(float), cut, start), atol=1e-8)


@pytest.mark.parametrize("spoil", [(0, np.nan), (0, np.inf), (1, -0.1), (1, np.nan)])
def test_what_is_no_histogram_is_refused(spoil):
    parts = [np.ones(SCORE_BINS), np.ones((2, SCORE_BINS))]
    parts[spoil[0]][..., 2] = spoil[1]
    with pytest.raises(DataError, match="histograms"):
        most_likely(*parts, np.array([0.5, 0.5]))


def town_of(simulator, seed, noise, monkeypatch):
    """A town's histograms: (areas, truth by area, Histograms)."""
    rng, kept = np.random.default_rng(seed), {}
    world = replace(simulator.World(), lsoas=40, msoas=10, panel=900)
    areas = simulator.town(world, rng)
    module = simulator.replicate.__globals__
    plain = module["grouped"]

    def grouped(group, groups, *columns):
        kept[groups, len(columns)] = (group, columns[1])
        return plain(group, groups, *columns)

    monkeypatch.setitem(module, "grouped", grouped)
    truth, _ = simulator.replicate(world, areas, rng)

    def counted(groups, columns):
        group, score = kept[groups, columns]
        found = np.zeros((groups, SCORE_BINS))
        np.add.at(found, (group, np.minimum((score + 1) / 2 * SCORE_BINS, SCORE_BINS - 1).astype(int)), 1.0)
        return simulator.noised(found, noise, rng)

    return areas, simulator.truths(areas, truth), Histograms(counted(40, 2), counted(6, 3))


def test_a_town_is_found_again_and_noise_costs_accuracy(simulator, monkeypatch):
    """Three towns of 40 LSOAs whose shares differ by some 8 points from one to the next."""
    errors = {}
    for noise in (0.0, 2.0):
        for seed in range(3):
            areas, truth, found = town_of(simulator, seed, noise, monkeypatch)
            items = histogram_estimates(areas, simulator.positive, found, "t")
            assert {item.lower for item in items} == {None}, "no interval is claimed"
            off = [item.estimate - truth[item.level, item.area_code] for item in items if item.level == "MSOA"]
            errors.setdefault(noise, []).extend(off)
    exact, noisy = (float(np.sqrt(np.mean(np.square(errors[noise])))) for noise in (0.0, 2.0))
    assert exact < 0.08
    assert exact < noisy < 0.2


def test_an_empty_class_and_an_area_without_scores_still_give_numbers(simulator, monkeypatch):
    areas, _, found = town_of(simulator, 5, 1.0, monkeypatch)
    classes, homes = found.classes.values.copy(), found.areas.values.copy()
    classes[1], homes[7] = 0.0, 0.0
    spoilt = Histograms(replace(found.areas, values=homes), replace(found.classes, values=classes))
    items = histogram_estimates(areas, simulator.positive, spoilt, "t")
    assert all(0 <= item.estimate <= 1 for item in items)
    emptied = next(item for item in items if item.area_code == areas.codes["LSOA"][7])
    census = areas.counts[7] @ simulator.positive / areas.counts[7].sum()
    assert emptied.estimate == pytest.approx(census, abs=0.01), "without scores the old census stays"
