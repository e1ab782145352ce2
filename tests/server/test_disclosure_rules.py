# SPDX-License-Identifier: Apache-2.0
"""Release rules at and around their thresholds."""

import math

import pytest

from skyglow_server.disclosure import Facts, check_all, disclose
from skyglow_server.estimation.results import Estimate
from skyglow_shared.errors import GeographyError
from skyglow_shared.study import Thresholds

LIMITS = Thresholds(least_homes=50, least_suppliers=3)


def facts(homes=500.0, suppliers=6, area="E01000001", topic="t"):
    return Facts("LSOA", area, topic, homes, suppliers)


def estimate(area="E01000001", topic="t"):
    return Estimate(
        area, "Town", "LSOA", topic, "all", 0.2, 0.1, 0.3, unclipped=0.2, deviation=0.05, parts={"a": 0.0025}
    )


@pytest.mark.parametrize(
    ("fact", "status", "reason"),
    [
        (facts(), "published", ""),
        (facts(homes=50.0, suppliers=3), "published", ""),
        (facts(homes=49.999), "suppressed", "least_homes"),
        (facts(homes=-3.0), "suppressed", "least_homes"),
        (facts(homes=math.nan), "suppressed", "least_homes"),
        (facts(homes=math.inf), "suppressed", "least_homes"),
        (facts(suppliers=2), "suppressed", "least_suppliers"),
        (facts(homes=0.0, suppliers=0), "suppressed", "least_homes"),
    ],
)
def test_rules_decide(fact, status, reason):
    record = check_all(LIMITS, [fact])
    assert [check.rule for check in record] == ["least_homes", "least_suppliers"]
    assert all(check.reason for check in record)
    found = disclose([estimate()], record)[0]
    assert (found.status, found.reason) == (status, reason)
    assert (found.estimate is None) == (status == "suppressed")


def test_suppressed_estimates_hold_no_number_at_all():
    found = disclose([estimate()], check_all(LIMITS, [facts(homes=1.0)]))[0]
    numbers = (found.estimate, found.lower, found.upper, found.unclipped, found.deviation)
    assert numbers == (None,) * 5
    assert not found.parts


def test_a_failed_check_binds_only_its_own_area_and_topic():
    record = check_all(LIMITS, [facts(homes=1.0), facts(area="E01000002"), facts(topic="u")])
    found = disclose([estimate(), estimate("E01000002"), estimate(topic="u")], record)
    assert [item.status for item in found] == ["suppressed", "published", "published"]


@pytest.mark.parametrize("item", [estimate("E01000009"), estimate(topic="v")])
def test_what_was_never_checked_is_not_released(item):
    with pytest.raises(GeographyError, match="never checked"):
        disclose([item], check_all(LIMITS, [facts()]))
