# SPDX-License-Identifier: Apache-2.0
"""Meters and answers that go with the kind of home are put right where chances are known, and doubted where not."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server.estimation.evidence import Evidence, left_in, panel_share
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.selection import Seen, chances_of
from skyglow_server.estimation.shares import share_estimates

METERING = (0.74, 0.78, 0.78, 0.82, 0.83, 0.73)
RESPONSE = (1.15, 1.30, 0.75, 1.10, 0.95, 0.60)
KNOWN = replace(PLANNING, metering=METERING, response=RESPONSE, metering_deviation=0.05, response_deviation=0.05)


def expected(simulator, *, apart=False):
    """Expected sums of a town whose homes have meters and answer unevenly, hardly noised: (evidence, true shares).

    A panel that is kept apart is a third of all meters, half of it calibrating.
    """
    world = simulator.World()
    areas = simulator.town(world, np.random.default_rng(1))
    older = simulator.positive
    mix = areas.counts + areas.counts.sum(axis=0) / areas.counts.sum()
    mix *= np.where(older, 1.1, 1.0)
    mix /= mix.sum(axis=1, keepdims=True)
    metered = areas.households[:, None] * mix * np.array(METERING)
    panel = metered * np.array(RESPONSE)
    panel *= (metered.sum() / 6 if apart else 1700) / panel.sum()
    added = metered - 2 * panel if apart else metered
    count, msoas = panel.sum(axis=0), areas.membership("MSOA")
    scores = np.stack([added.sum(axis=1), added @ world.means], axis=1)
    classes = np.stack([count, count * world.means, count * (world.means**2 + 0.25)], axis=1)
    labels = np.stack([msoas @ panel.sum(axis=1), msoas @ panel @ np.where(older, 1, -1)], axis=1)
    quiet = [simulator.Sum(values, np.full(values.shape[1], 0.1), 6) for values in (scores, classes, labels)]
    return Evidence(areas, older, *quiet, apart=apart), mix @ older


@pytest.fixture(scope="module")
def town(simulator):
    """A town whose panel is in all sums."""
    return expected(simulator)


def test_a_panel_that_is_kept_apart_leaves_others_behind(simulator):
    """Those who like to answer are missing among the rest; how many of each kind is known."""
    evidence, share = expected(simulator, apart=True)
    assert panel_share(evidence) == pytest.approx(1 / 3, abs=0.01)
    chances = left_in(evidence, KNOWN)
    assert chances[1] < chances[0] < chances[4] < chances[5]
    true = float(evidence.areas.weights("LAD")[0] @ share)
    right, wrong = (
        share_estimates(one, "topic", KNOWN, panel=False)[-1].unclipped - true
        for one in (evidence, replace(evidence, apart=False))
    )
    assert abs(right) < 0.006 < 0.012 < -wrong
    assert (left_in(replace(evidence, apart=False), KNOWN) == 1).all()


def district(evidence, planning):
    return share_estimates(evidence, "topic", planning)[-1]


def test_known_chances_put_the_estimate_right(town):
    evidence, share = town
    true = float(evidence.areas.weights("LAD")[0] @ share)
    assert abs(district(evidence, KNOWN).unclipped - true) < 0.006
    assert district(evidence, PLANNING).unclipped - true > 0.015
    assert district(evidence, KNOWN).deviation > 1.1 * district(evidence, PLANNING).deviation


def test_equal_chances_change_nothing(town):
    evidence, _ = town
    alike = replace(PLANNING, metering=(0.8,) * 6, response=(2.0,) * 6)
    assert district(evidence, alike).unclipped == pytest.approx(district(evidence, PLANNING).unclipped, abs=1e-9)


def test_what_is_seen_is_what_bayes_says():
    mix, positive = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([True, True, False, False])
    chances = np.array([0.5, 1.0, 0.8, 0.6])
    seen = Seen.of(np.array([0.3]), mix, positive, chances)
    assert seen.share[0] == pytest.approx(0.25 / (0.25 + 0.48))
    moved = Seen.of(np.array([0.301]), mix, positive, chances)
    assert seen.slope[0] == pytest.approx((moved.share[0] - seen.share[0]) / 0.001, rel=1e-2)
    np.testing.assert_array_equal(chances_of((1.0, 2.0), 4), [1, 2, 1, 2])
