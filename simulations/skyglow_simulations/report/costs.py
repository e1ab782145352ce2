# SPDX-License-Identifier: Apache-2.0
"""The sections on uncertainty's sources and on privacy: what an interval is made of, what was spent, what left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skyglow_server.estimation import Estimate
from skyglow_shared.layout import all_round_numbers, block_shape, column_weights
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Block, Study
from skyglow_simulations.report import wording
from skyglow_simulations.report.data import ReportData, Sent

_WHAT = {
    "gradient": "how the model’s weights should change to fit the sampled panel homes better, added up",
    "class_score": "by household type, how many panel homes there are and the sum of their scores",
    "area_label": "by MSOA, how many panel homes there are, and how many more of them the topic counts than not",
    "diary_profile": "how far the homes’ own diaries are from what the meters say of the same days, added up",
    "area_score": "by LSOA, how many metered homes there are and the sum of their scores",
    "area_profile": "by MSOA, the sum of the homes’ profiles of presence",
    "area_histogram": "by LSOA, how many metered homes score in each of a few bins",
    "class_histogram": "by household type, how many panel homes score in each of a few bins",
    "area_use": "by LSOA, how many metered homes there are, what they use by part of the day, how many are vacant",
    "area_use_histogram": "by MSOA, how many metered homes use how much a day",
    "area_capped_count": "by LSOA, a count in which no supplier adds more homes than a cap",
}
_LEARNS_PRESENCE = (
    "how the weights of the model of presence should change to fit the sampled homes’ diaries better, added up"
)
_COUNTED = ("area_score", "class_score", "area_label", "diary_profile")
_PRIVACY = next(iter(wording.SOURCES))

#: A topic in words, and the levels it is estimated at.
Group = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One block of what left: in words, how many numbers a message, and the noise on them in words."""

    words: str
    numbers: int
    noise: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """What left each supplier in one phase."""

    phase: str
    messages: int
    most_bytes: int
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Source:
    """A source of error and its share of the mean variance, by column."""

    name: str
    shares: list[float]


def sources(data: ReportData, topics: Sequence[str]) -> tuple[list[Group], list[Source]]:
    """Columns by topic, and the share of the variance that each source has in each column."""
    columns = [
        (name, level, items)
        for name in (*topics, "occupancy")
        for level in wording.SHORT_LEVELS
        if (items := [item for item in data.pick(name, level) if item.parts and item.estimate is not None])
    ]
    groups: dict[str, list[str]] = {}
    for name, level, _ in columns:
        groups.setdefault(wording.topic(name), []).append(wording.SHORT_LEVELS[level])
    totals = [_by_source(items) for _, _, items in columns]
    rows = [
        Source(name, [total.get(name, 0.0) for total in totals]) for name in (*wording.SOURCES, wording.OTHER_SOURCES)
    ]
    return list(groups.items()), [row for row in rows if any(row.shares)]


def price(groups: Sequence[Group], rows: Sequence[Source]) -> list[str]:
    """How much narrower intervals were without what protects homes, all else as it is, in words by topic."""
    noise = next((row.shares for row in rows if row.name == _PRIVACY), [])
    shares = iter(noise)
    return [
        f"for {words}, " + ", ".join(f"{wording.percent(_narrower(next(shares)), 0)} ({level})" for level in levels)
        for words, levels in groups
        if noise
    ]


def running_total(study: Study) -> list[tuple[str, float]]:
    """Epsilon that a supplier has been charged once each phase of the plan is complete."""
    events = plan(study, all_round_numbers(study))
    return [
        (wording.phase(phase.name), study_cost(events[: number + 1], study.delta).epsilon_upper)
        for number, phase in enumerate(study.phases)
    ]


def leaving(data: ReportData) -> list[Leaving]:
    """What left each supplier, phase by phase, in words."""
    return [
        Leaving(
            phase=wording.phase(sent.phase),
            messages=sent.shares,
            most_bytes=max(sent.sent_bytes.values(), default=0),
            parts=[_part(data.study, block, sent) for block in data.study.phase(sent.phase).blocks],
        )
        for sent in data.sent
    ]


def certainty(epsilon: float) -> float:
    """Return how sure somebody who thought it even odds that a home was in the data could at most become (δ aside)."""
    return 1 / (1 + math.exp(-epsilon))


def models(data: ReportData) -> list[tuple[str, dict[str, Any]]]:
    """(homes counted, figures) of every model that tells homes apart."""
    return [
        (wording.topic(name), figures) for name, figures in data.summary.get("models", {}).items() if "auc" in figures
    ]


def _narrower(share: float) -> float:
    """How much narrower an interval gets when a source with this share of the variance is gone."""
    return 1 - math.sqrt(max(0.0, 1 - share))


def _by_source(items: Sequence[Estimate]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for item in items:
        for name, variance in item.parts.items():
            sums[wording.source(name)] = sums.get(wording.source(name), 0.0) + variance
    whole = sum(sums.values())
    return {name: value / whole for name, value in sums.items()} if whole > 0 else {}


def _part(study: Study, block: Block, sent: Sent) -> Part:
    groups, width = block_shape(study, block)
    words, deviation = _what(study, block), sent.noise.get(block.name)
    if deviation is None:
        return Part(words, groups * width, "")
    noise = f"{deviation / block.l2_bound:.1f} times the most that one home can change"
    if common := study.phase(sent.phase).noise_multiplier:
        times = deviation / block.l2_bound * common / block.noise_multiplier
        noise += f", {times:.1f} times what it can change in all sums of this phase together"
    if block.source in _COUNTED:
        noise += f"; on a number of homes, {deviation / float(column_weights(study, block)[0]):.1f}"
    return Part(words, groups * width, noise)


def _what(study: Study, block: Block) -> str:
    """What a block's numbers say; which homes are meant is said where a study has several topics."""
    if study.presence_model is not None and block.model == study.presence_model.name:
        return _LEARNS_PRESENCE
    if not block.model or len(study.answer_models) == 1:
        return _WHAT[block.source]
    every = len(block.models) == len(study.answer_models)
    homes = f"all {len(block.models)} topics" if every else " and ".join(map(wording.topic, block.models))
    together = ", under one bound" if block.beside else ""
    return f"{_WHAT[block.source]}; for {homes}{together}"
