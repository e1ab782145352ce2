# SPDX-License-Identifier: Apache-2.0
"""Intervals of change hold, whether what areas drifted from the census lasts from one study to the next or does not."""

import datetime
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.publication import Release, change, earlier, tidy

TOWNS = 5
REDRAWN = replace(estimation.PLANNING, turnover=1.0)  # a town's households are all drawn anew


class Switch:
    """Randomness that is one generator's until a town's homes are drawn, and another's from then on."""

    def __init__(self, truth, study, areas):
        self.truth, self.study, self.left = truth, study, areas

    def __getattr__(self, name):
        if name == "multinomial" and self.left:
            self.left -= 1
            return self.truth.multinomial
        return getattr(self.truth if self.left else self.study, name)


def published(study, estimates):
    """What a release's folder would say."""
    release = Release(study=study, estimates=estimates, checks=(), made=study.reference_date, producer="none")
    rows = [dict(zip(tidy.COLUMNS, tidy._line(item), strict=True)) for item in estimates]
    shared = {
        (topic, level): float(share)
        for topic, level, source, share in tidy.sources(release)
        if source == earlier.SHARED
    }
    return earlier.Published(study, {(r["topic"], r["level"], r["area_code"], r["group"]): r for r in rows}, shared)


def two_studies(simulator, seed, truths):
    """A town's releases of two years, and its true shares, drawn from the generators `truths`."""
    rng = np.random.default_rng([seed, 0])
    world = replace(simulator.World(), lsoas=40, msoas=10, panel=600)
    areas = simulator.town(world, rng)
    study = simulator.study_of(areas)
    phases = [
        msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if block.model))
        for phase in study.phases
    ]
    found = []
    for year, truth in enumerate(truths):
        randomness = Switch(
            np.random.default_rng([seed, 1, truth]), np.random.default_rng([seed, 2, year]), world.lsoas
        )
        share, sums = simulator.replicate(world, areas, randomness)
        when = datetime.date(2026 + year, 3, 9)
        asked = msgspec.structs.replace(study, phases=tuple(phases), reference_date=when)
        found.append(
            (
                published(asked, estimation.estimate(asked, areas, sums, planning=REDRAWN)),
                simulator.truths(areas, share),
            )
        )
    return found


@pytest.fixture(scope="module")
def pairs(simulator):
    """By whether the truth lasts: pairs of releases with their truths."""
    return {
        lasting: [two_studies(simulator, seed, (0, 0 if lasting else 1)) for seed in range(TOWNS)]
        for lasting in (True, False)
    }


def held(pairs, level, persistence):
    """Share of a level's intervals that hold the true change, and their mean width."""
    hits, widths = [], []
    for (first, before), (second, after) in pairs:
        for item in change.changes(first, second, persistence=persistence):
            if item.names[2] == level and item.interval is not None:
                place = (level, item.names[0])
                hits.append(item.interval[0] <= after[place] - before[place] <= item.interval[1])
                widths.append(item.interval[1] - item.interval[0])
    return np.mean(hits), np.mean(widths)


def test_what_lasts_is_held_with_room_to_spare_and_more_tightly_than_if_nothing_were_shared(pairs):
    assert held(pairs[True], "LSOA", 0.5)[0] > 0.97
    assert held(pairs[True], "MSOA", 0.5)[0] > 0.95
    assert held(pairs[True], "LSOA", 0.9)[0] > 0.95
    assert held(pairs[True], "LSOA", 0.5)[1] < 0.9 * held(pairs[True], "LSOA", 0.0)[1]


def test_drift_drawn_anew_is_held_when_nothing_is_said_to_last(pairs):
    """The other end: nobody keeps anything. Forgetting what is shared holds; the default is then short of 95 %."""
    assert held(pairs[False], "LSOA", 0.0)[0] > 0.88
    assert held(pairs[False], "LSOA", 0.5)[0] > 0.78
    assert held(pairs[False], "LSOA", 0.9)[0] < held(pairs[False], "LSOA", 0.5)[0]
