# SPDX-License-Identifier: Apache-2.0
"""The textbook estimators that ours is compared with, on a panel's answers made by hand."""

import numpy as np
import pytest

from skyglow_server.estimation import AreaTable
from skyglow_server.estimation.evidence import Evidence, drift_of
from skyglow_server.estimation.fay_herriot import fay_herriot
from skyglow_server.estimation.inputs import Part
from skyglow_simulations.methods import _textbook

MSOAS, INSIDE, ASKED = 12, 3, 40.0
POSITIVE = np.array([True, True, False, False, False, False])


def evidence(msoas, noise):
    """Answers of forty homes a MSOA, whose share is a tenth above the old one and then off by up to two tenths."""
    rng = np.random.default_rng(4)
    places = np.repeat(np.arange(msoas), INSIDE)
    codes = {"LSOA": [f"E01{i:06d}" for i in range(places.size)], "MSOA": [f"E02{i:06d}" for i in places]}
    codes = {level: tuple(column) for level, column in codes.items()} | {"LAD": ("E06000045",) * places.size}
    counts = rng.multinomial(600, rng.dirichlet(np.full(6, 8.0), places.size)).astype(float)
    areas = AreaTable(codes, codes, counts.sum(axis=1), counts)
    share = areas.weights("MSOA") @ (counts @ POSITIVE / 600) + 0.1 + rng.uniform(-0.2, 0.2, msoas)
    labels = np.column_stack([np.full(msoas, ASKED), ASKED * (2 * share - 1)])
    classes = np.column_stack([np.full(6, ASKED * msoas / 6), np.zeros((6, 2))])
    parts = (Part(values, np.full(values.shape[1], noise), 6) for values in (np.zeros((36, 2)), classes, labels))
    return Evidence(areas, POSITIVE, *parts), share


def test_estimates_of_msoas_are_those_of_the_textbook_and_levels_agree():
    given, share = evidence(MSOAS, 1e-9)
    areas, old = given.areas, drift_of(given).share
    ((regression, shrunk),) = _textbook(given)
    at_msoas = areas.weights("MSOA") @ old
    fit = fay_herriot(share, at_msoas * (1 - at_msoas) / ASKED, np.column_stack([np.ones(MSOAS), at_msoas]))
    found = {(item.level, item.area_code): item.unclipped for item in shrunk}
    msoas = [found["MSOA", code] for code, _ in areas.areas("MSOA")]
    np.testing.assert_allclose(msoas, fit.estimate, atol=1e-6)
    lsoas = np.array([found["LSOA", code] for code in areas.codes["LSOA"]])
    np.testing.assert_allclose(areas.weights("MSOA") @ lsoas, msoas)
    line = np.array([item.unclipped for item in regression if item.level == "LSOA"])
    np.testing.assert_allclose(line, np.column_stack([np.ones(line.size), old]) @ fit.coefficients, atol=1e-6)


def test_noise_draws_estimates_to_the_line():
    off = []
    for noise in (1e-9, 20.0):
        ((regression, shrunk),) = _textbook(evidence(MSOAS, noise)[0])
        pairs = zip(shrunk, regression, strict=True)
        off.append(np.sum([(one.unclipped - line.unclipped) ** 2 for one, line in pairs if one.level == "MSOA"]))
    assert off[1] < 0.5 * off[0]


@pytest.mark.parametrize("msoas", [1, 2])
def test_there_is_none_where_a_line_would_go_through_every_msoa(msoas):
    assert list(_textbook(evidence(msoas, 1.0)[0])) == []
