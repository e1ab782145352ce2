# SPDX-License-Identifier: Apache-2.0
"""A second study, of the same district but for one small area, is checked against what the first let out."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.disclosure import footprint_of, published
from skyglow_server.estimation.inputs import LEVELS


@pytest.fixture(scope="module")
def studies(simulator):
    """(study, areas, sums) with an area of twenty homes, and without it."""
    study, areas, sums = simulator.small(6, lsoas=12, msoas=3, panel=500)
    scores = sums["area_scores"]
    small = areas.codes["MSOA"].index(max(areas.codes["MSOA"], key=areas.codes["MSOA"].count))
    values = scores.values.copy()
    values[small] = (20.0, 3.0)
    sums["area_scores"] = replace(scores, values=values)
    keep = np.arange(12) != small
    rest = areas.part(keep)
    fewer = {**sums, "area_scores": replace(scores, values=values[keep])}
    return (study, areas, sums), (simulator.study_of(rest), rest, fewer)


def withheld(estimates, rule):
    return {(item.level, item.topic) for item in estimates if item.reason == rule}


def test_what_the_two_would_give_away_is_withheld(studies):
    first, second = studies
    record = estimation.checks(*first)
    topics = ("all_aged_66_plus", "occupancy")
    earlier = [
        published(footprint_of(first[0], topic, LEVELS if topic == topics[0] else LEVELS[1:]), record)
        for topic in topics
    ]
    alone = estimation.estimate(*second)
    assert withheld(alone, "differencing") == set()
    found = estimation.estimate(*second, record=estimation.checks(*second, earlier))
    assert withheld(found, "differencing") >= {(level, topic) for level in ("MSOA", "LAD") for topic in topics}, (
        "the district and the area's MSOA, less what was published before, are twenty homes"
    )
    assert {item.status for item in found if item.level == "LSOA"} == {"published", "suppressed"}


def test_the_same_study_again_lets_the_same_out(studies):
    first, _ = studies
    record = estimation.checks(*first)
    earlier = [published(footprint_of(first[0], "all_aged_66_plus", LEVELS), record)]
    before, after = (
        estimation.estimate(*first, record=estimation.checks(*first, releases)) for releases in ((), earlier)
    )
    assert [item.status for item in after] == [item.status for item in before]
