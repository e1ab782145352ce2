# SPDX-License-Identifier: Apache-2.0
"""The release rules: they see noised counts and the study, never an exact count, so applying them releases nothing.

================  =====================================================================================================
rule              passes when
================  =====================================================================================================
least_homes       the noised number of metered homes of the area, and the public one of all its homes, are at least the
                  study's `least_homes`
least_suppliers   at least the study's `least_suppliers` suppliers' shares are in every sum that the estimate is made of
suppliers_present as many suppliers have homes in the area itself, where that is asked (`spread`)
dominance         none of them has more than the study's `largest_share` of its homes (likewise)
complementary     no withheld figure can be worked out from this one and other published ones (`complementary`)
differencing      with earlier releases it gives away no figure for few homes (`differencing`)
score_shift       the panel scores as all metered homes do (`estimation.diagnostics`)
labels_agree      the panel's answers by class and by area are as many (likewise)
slopes_agree      scores differ between areas as between the panel's homes (likewise)
both_kinds        calibration homes of either kind are there where the old census has such (likewise)
count_fits        no more metered homes are counted than there are households (likewise)
median_told       noise does not leave the median nearly anywhere; of this figure alone (`estimation.electricity`)
================  =====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from skyglow_shared.errors import GeographyError
from skyglow_shared.study import Thresholds

if TYPE_CHECKING:  # estimation applies these rules, so at run time they cannot know estimation
    from skyglow_server.estimation.results import Estimate

LEAST_HOMES, LEAST_SUPPLIERS = "least_homes", "least_suppliers"
COMPLEMENTARY, DIFFERENCING = "complementary", "differencing"
SCORE_SHIFT, LABELS_AGREE, SLOPES_AGREE = "score_shift", "labels_agree", "slopes_agree"
BOTH_KINDS, COUNT_FITS = "both_kinds", "count_fits"
MEDIAN_TOLD = "median_told"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at for one area and topic.

    Attributes
    ----------
    level, area_code, topic : str
    homes : float
        Noised number of metered homes, or the public number of all homes if that is less.
    suppliers : int
        Fewest shares in any of the sums that the topic's estimates are made of.
    """

    level: str
    area_code: str
    topic: str
    homes: float
    suppliers: int


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied to one area and topic, for the output checker to read.

    `reason` says in words what was compared; it holds noised and public numbers only. A check of one `group` is about
    that figure alone, otherwise about all the topic's figures of the area.
    """

    rule: str
    level: str
    area_code: str
    topic: str
    passed: bool
    reason: str
    group: str = ""


def check_all(thresholds: Thresholds, facts: Iterable[Facts]) -> tuple[Check, ...]:
    """Apply every rule to every area and topic; the record of what was checked."""
    return tuple(check for fact in facts for check in (_homes(thresholds, fact), _suppliers(thresholds, fact)))


def _homes(thresholds: Thresholds, fact: Facts) -> Check:
    passed = math.isfinite(fact.homes) and fact.homes >= thresholds.least_homes
    reason = f"noised count of metered homes, at most all homes, is {fact.homes:.0f}; {thresholds.least_homes} wanted"
    return Check(LEAST_HOMES, fact.level, fact.area_code, fact.topic, passed, reason)


def _suppliers(thresholds: Thresholds, fact: Facts) -> Check:
    passed = fact.suppliers >= thresholds.least_suppliers
    reason = f"made of {fact.suppliers} suppliers' shares, at least {thresholds.least_suppliers} wanted"
    return Check(LEAST_SUPPLIERS, fact.level, fact.area_code, fact.topic, passed, reason)


def disclose(estimates: Iterable[Estimate], record: Iterable[Check]) -> tuple[Estimate, ...]:
    """Blank every estimate whose area failed a rule; GeographyError for an area that was never checked."""
    failed: dict[tuple[str, str, str, str], str] = {}
    for check in record:
        key = (check.level, check.area_code, check.topic, check.group)
        failed[key] = failed.get(key) or ("" if check.passed else check.rule)
    return tuple(_disclosed(item, failed) for item in estimates)


def _disclosed(estimate: Estimate, failed: Mapping[tuple[str, str, str, str], str]) -> Estimate:
    place = (estimate.level, estimate.area_code, estimate.topic)
    if (*place, "") not in failed:
        raise GeographyError(f"{estimate.area_code} was never checked for {estimate.topic}; check it before release")
    rule = failed[*place, ""] or failed.get((*place, estimate.group), "")
    if not rule:
        return estimate
    blank = replace(estimate, estimate=None, lower=None, upper=None, unclipped=None, deviation=None, parts={})
    return replace(blank, status="suppressed", reason=rule)
