# SPDX-License-Identifier: Apache-2.0
"""Whether a topic's sums can be of the same homes at all, and teach: if not, all its figures are withheld.

=============  ========================================================================================================
score_shift    the mean score of the calibration homes is that of all metered homes, of which they are a sample, but for
               what is known of who answers
labels_agree   the same homes' positive answers by class and by area are as many
slopes_agree   areas whose old share was higher score more by as much as the calibration homes' classes lead to expect
both_kinds     calibration homes of either kind, that count and that do not, are there where the old census has many
count_fits     no more metered homes are counted than the public table has households
=============  ========================================================================================================

Each of the first three compares two figures by the standard deviation that their difference has if all is well. A
difference of more than five of them comes by chance in one study of a million; for slopes, whose deviation holds what
areas may differ by for reasons of their own, and how far shares may have drawn together since the census, three and a
half are enough, if the old census counted the kind of homes itself: of a topic whose old share is itself worked out,
areas may differ by more. A panel that is no sample, answers that belong to other homes, a model exchanged between
phases or a supplier that counts otherwise shows here.

A kind is missing if its noised count, over all its strata, is below three standard deviations of its noise, and the old
census leads to expect six: answers were recoded, or a part of the panel was lost. Where a panel is so small that noise
may hide a kind anyway nothing is amiss: what is not known of its scores is in the intervals.

A count of metered homes may be above all households by three deviations of its noise and a twentieth, for dwellings
that are newer than the table; where every second home has no smart meter, a supplier that counts double is not seen.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from skyglow_server.disclosure.rules import BOTH_KINDS, COUNT_FITS, LABELS_AGREE, SCORE_SHIFT, SLOPES_AGREE, Check
from skyglow_server.estimation.calibration import class_means, contrast
from skyglow_server.estimation.evidence import (
    Evidence,
    employment,
    known_meters,
    left_in,
    metered_homes,
    old_mix,
    overall_mix,
)
from skyglow_server.estimation.inputs import LEAST_NOISES, LEVELS, AreaTable, BlockSum
from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.selection import chances_of
from skyglow_shared.study import COMPOSITION_CLASSES

WHOLE = "study"  # the level of a check on all areas at once
_MOST, _MOST_SLOPES = 5.0, 3.5
_MOST_NOISES = 3.0  # by which a count of homes may be above what it can be
_NEW_DWELLINGS = 0.05  # how many of its households the public table may lack
_FEWEST_AREAS = 20  # of which a slope between areas is taken
_SCORE_VARIANCE = 1.0  # the most that scores within [-1, 1] can vary


def diagnose(evidence: Evidence, topic: str, planning: Planning = PLANNING) -> Iterable[Check]:
    """Yield a check of the whole topic by rule, and where it fails one for every area.

    Of `planning` only what is known of who answers is looked at.
    """
    counted = len(evidence.positive) == len(COMPOSITION_CLASSES)
    slopes = _MOST_SLOPES if counted else _MOST
    places = [(level, code) for level in LEVELS for code, _ in evidence.areas.areas(level)]
    for rule, difference, most, words in (
        (SCORE_SHIFT, _score_shift(evidence, planning), _MOST, "mean score of calibration homes against all metered"),
        (LABELS_AGREE, _labels(evidence), _MOST, "positive answers by class against those by area"),
        (SLOPES_AGREE, _slopes(evidence), slopes, "scores between areas against those between calibration homes"),
    ):
        passed = bool(abs(difference) <= most)
        reason = f"{words}: {abs(difference):.1f} standard deviations apart, at most {most:g} wanted"
        yield from _told(rule, topic, places, passed, reason)
    kinds = tuple(_kinds(evidence))
    passed = all(homes >= LEAST_NOISES or expected < 2 * LEAST_NOISES for homes, expected in kinds)
    words = "calibration homes of the rarer kind: {:.1f} times their noise, {:.1f} expected"
    yield from _told(BOTH_KINDS, topic, places, passed, words.format(*min(kinds)))


def check_count(topic: str, places: Iterable[tuple[str, str]], areas: AreaTable, counted: BlockSum) -> Iterator[Check]:
    """Yield a check of a topic's count of homes in all areas, and where it fails one for every place.

    Parameters
    ----------
    topic : str
    places : iterable of (level, code)
        The topic's areas.
    areas : AreaTable
    counted : BlockSum
        Sum by LSOA whose first column counts metered homes.
    """
    homes, households = float(counted.values[:, 0].sum()), float(areas.households.sum())
    noise = float(counted.deviation[0]) * np.sqrt(len(counted.values))
    most = (1 + _NEW_DWELLINGS) * households + _MOST_NOISES * noise
    reason = (
        f"noised count of all metered homes is {homes:.0f}, at most {most:.0f} wanted of {households:.0f} households"
    )
    yield from _told(COUNT_FITS, topic, places, bool(homes <= most), reason)


def _told(rule: str, topic: str, places: Iterable[tuple[str, str]], passed: bool, reason: str) -> Iterator[Check]:
    yield Check(rule, WHOLE, "all", topic, passed, reason)
    if not passed:
        yield from (Check(rule, level, code, topic, False, reason) for level, code in places)


def _score_shift(evidence: Evidence, planning: Planning) -> float:
    """How many standard deviations lie between the two mean scores; zero where a sum is too small to say."""
    expected, doubt = _answering(evidence, planning) if planning.response else (0.0, 0.0)
    homes, total = evidence.scores.values.sum(axis=0)[:2]
    panel, own = evidence.classes.values.sum(axis=0)[:2]
    areas, classes = len(evidence.scores.values), len(evidence.classes.values)
    metered = _mean(homes, total, evidence.scores.deviation * np.sqrt(areas), 0.0)
    sampled = _mean(panel, own, evidence.classes.deviation * np.sqrt(classes), _SCORE_VARIANCE)
    return (sampled[0] - metered[0] - expected) / float(np.sqrt(sampled[1] ** 2 + metered[1] ** 2 + doubt**2))


def _answering(evidence: Evidence, planning: Planning) -> tuple[float, float]:
    """How far homes that answer are expected to score from those in the areas' sums, by the known chances; and its sd.

    A half of it is left open: which kinds there are is known of the old census alone.
    """
    mix, kinds = overall_mix(evidence), evidence.positive.size
    metered = mix * chances_of(planning.metering, kinds)
    answering, others = metered * chances_of(planning.response, kinds), metered * left_in(evidence, planning)
    asked = answering / answering.sum()
    means = class_means(evidence.classes, evidence.positive, asked, planning)
    moved = asked - others / others.sum()
    expected, share = float(moved @ means.mean), float(asked @ evidence.positive)
    slope = float(contrast(mix, evidence.positive) @ means.mean)
    known = float(moved @ means.covariance @ moved) + (planning.response_deviation * share * (1 - share) * slope) ** 2
    return expected, float(np.sqrt(known + (expected / 2) ** 2))


def _mean(count: float, total: float, deviation: NDArray[np.float64], variance: float) -> tuple[float, float]:
    """Mean and standard deviation of noised sums; a count that noise may have made is infinitely uncertain."""
    if count < LEAST_NOISES * deviation[0]:
        return 0.0, float("inf")
    mean = total / count
    spread = variance / count + (deviation[1] ** 2 + (mean * deviation[0]) ** 2) / count**2
    return float(mean), float(np.sqrt(spread))


def _labels(evidence: Evidence) -> float:
    by_class, noise = _counted(evidence.classes, evidence.positive)
    by_area = float(evidence.labels.values.sum()) / 2  # of one and minus one
    if evidence.labels_of_all and evidence.trained is not None:
        others, further = _counted(evidence.trained, evidence.positive)
        by_class, noise = by_class + others, noise + further
    elif evidence.labels_of_all:  # who calibrates is a fair draw
        by_class, noise = 2 * by_class, 4 * noise + max(2 * by_class, 0.0)
    noise += len(evidence.labels.values) * float(np.sum(evidence.labels.deviation**2)) / 4
    return (by_class - by_area) / float(np.sqrt(noise))


def _counted(counts: BlockSum, kind: NDArray[np.bool_]) -> tuple[float, float]:
    """Noised number of homes of some strata by class counts, and the variance of its noise."""
    return float(counts.values[kind, 0].sum()), int(kind.sum()) * float(counts.deviation[0]) ** 2


def _kinds(evidence: Evidence) -> Iterator[tuple[float, float]]:
    """Noised number of homes that count, and of those that do not, and how many the old census leads to expect.

    Both in standard deviations of the noise in the number.
    """
    labelled = float(evidence.labels.values[:, 0].sum()) / (2 if evidence.labels_of_all else 1)
    every, mix = max(float(evidence.classes.values[:, 0].sum()), labelled), overall_mix(evidence)
    for kind in (evidence.positive, ~evidence.positive):
        homes, noise = _counted(evidence.classes, kind)
        unit = float(np.sqrt(max(noise, np.finfo(float).tiny)))
        yield homes / unit, every * float(mix[kind].sum()) / unit


def _slopes(evidence: Evidence) -> float:
    """How far the slope of areas' mean scores on their old shares is from that between classes; zero of few areas."""
    mix, positive, known = overall_mix(evidence), evidence.positive, known_meters(evidence)
    if int(known.sum()) < _FEWEST_AREAS:
        return 0.0
    homes, _ = metered_homes(evidence, PLANNING)
    score = (evidence.scores.values[:, 1] / homes)[known]
    share = (old_mix(evidence) @ positive)[known]
    design = np.column_stack([np.ones(score.size), employment(evidence.areas)[known], share])
    inverse = np.linalg.pinv(design.T @ design)
    residual = score - design @ (inverse @ design.T @ score)
    between = float(inverse[2] @ design.T @ score)
    error = float(inverse[2, 2] * (residual @ residual) / (score.size - design.shape[1]))
    means = class_means(evidence.classes, positive, mix, PLANNING)
    weights = contrast(mix, positive)
    slope = float(weights @ means.mean)
    moved = slope * PLANNING.drift_slope_deviation  # shares may have drawn together, or apart, since the old census
    variance = error + float(weights @ means.covariance @ weights) + PLANNING.score_context**2 + moved**2
    return (between - slope) / float(np.sqrt(variance))
