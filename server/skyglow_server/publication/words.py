# SPDX-License-Identifier: Apache-2.0
"""How a publication says things: topics, levels, shorthand, quality.

Shorthand is the Government Statistical Service's harmonised list. Quality labels follow the bands of the coefficient of
variation in which the Office for National Statistics speaks of precision.
"""

from collections.abc import Mapping

from skyglow_server.estimation.results import Estimate

TITLES: Mapping[str, str] = {
    "all_aged_66_plus": "Households in which everyone is aged 66 or over",
    "one_person": "Households of one person",
    "three_or_more_people": "Households of three or more people",
    "dependent_children": "Single-family households with dependent children",
    "paid_work": "Households in which somebody is in paid work",
    "electricity_use": "Electricity use of homes",
    "occupancy": "Households with somebody at home, by half-hour of the day",
}
LEVELS: Mapping[str, str] = {
    "LSOA": "Lower layer Super Output Areas (LSOA)",
    "MSOA": "Middle layer Super Output Areas (MSOA)",
    "LAD": "Local authority districts",
}
CONFIDENTIAL, UNRELIABLE, UNAVAILABLE, NOT_APPLICABLE = "[c]", "[u]", "[x]", "[z]"
SHORTHAND: Mapping[str, str] = {
    CONFIDENTIAL: "confidential: withheld by a release rule",
    UNRELIABLE: "low reliability: the coefficient of variation is above 20%",
    UNAVAILABLE: "not available: it could not be estimated",
    NOT_APPLICABLE: "not applicable: this statistic is not made for this level",
}
RULES: Mapping[str, str] = {
    "least_homes": "too few metered homes, by the noised count",
    "least_suppliers": "too few suppliers in the sums",
    "suppliers_present": "too few suppliers have homes in the area, allowing for noise",
    "dominance": "one supplier may have nearly all of the area's homes, allowing for noise",
    "complementary": "would reveal another withheld figure",
    "score_shift": "the panel does not score as all metered homes do",
    "labels_agree": "the panel's answers by class and by area contradict each other",
    "slopes_agree": "scores differ between areas otherwise than between the panel's homes",
    "both_kinds": "the panel lacks homes of one of the two kinds",
    "count_fits": "more metered homes are counted than there are households, noise allowed for",
    "median_told": "noise leaves nearly every value possible for the median",
    "differencing": "with an earlier release it would reveal a figure for few homes",
}
_CANNOT_BE_MADE = frozenset({"score_shift", "labels_agree", "slopes_agree", "both_kinds", "count_fits", "median_told"})
_BANDS = ((0.05, "precise"), (0.1, "reasonably precise"), (0.2, "acceptable"))
CAUTION = "use with caution"


def title(topic: str) -> str:
    """A topic as a title."""
    return TITLES.get(topic, f"Households counted as “{topic.replace('_', ' ')}”")


def rule(name: str) -> str:
    """Why a figure is withheld."""
    return RULES.get(name, name.replace("_", " ") or "withheld by a release rule")


def variation(item: Estimate) -> float | None:
    """Coefficient of variation: standard error over estimate; None where there is no number or no interval."""
    if item.estimate is None or item.deviation is None:
        return None
    return item.deviation / item.estimate if item.estimate > 0 else float("inf")


def quality(item: Estimate) -> str:
    """Quality in plain words; empty where there is no number."""
    ratio = variation(item)
    if ratio is None:
        return ""
    return next((words for most, words in _BANDS if ratio <= most), CAUTION)


def shorthand(item: Estimate) -> str:
    """The mark that goes with a figure: empty for one that is published and reliable."""
    if item.estimate is None:
        return CONFIDENTIAL if item.reason and item.reason not in _CANNOT_BE_MADE else UNAVAILABLE
    return UNRELIABLE if quality(item) == CAUTION else ""


def dashed(name: str) -> str:
    """A topic's name as a part of a file's name."""
    return name.replace("_", "-")
