# SPDX-License-Identifier: Apache-2.0
"""The quality-and-methods page: what the figures are and how far to trust them, in plain words."""

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence

from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.publication import tidy, words
from skyglow_server.publication.check_folder import rules_of
from skyglow_server.publication.provenance import unknown_head
from skyglow_server.publication.release import Release
from skyglow_server.publication.templating import environment
from skyglow_shared.layout import trains
from skyglow_shared.study import digest as study_digest

NAME = "quality-and-methods.html"
_LEVELS = {"LAD": "Districts", "MSOA": "MSOAs", "LSOA": "LSOAs"}
_TRUST = {
    "local": "Every supplier’s sums are private by themselves (trust mode: local).",
    "aggregate": "Only what the suppliers’ sums add up to could be read by the office (trust mode: aggregate).",
}
_LABELS = ("precise", "reasonably precise", "acceptable", words.CAUTION)

Row = Sequence[str | int]


def page(release: Release) -> bytes:
    """Write the page, one HTML file that loads nothing."""
    template = environment("skyglow_server.publication", {"day": _day}).get_template(NAME)
    text = template.render(
        release=release,
        study=release.study,
        trained=trains(release.study),
        answering=any(block.counts_trainers for block in release.study.blocks),
        titles=[f"{words.title(topic)}: {', '.join(_levels(release, topic))}" for topic in release.topics],
        small_curves=(OCCUPANCY, "LSOA") in release.tables,
        trust=_TRUST[release.study.trust_mode],
        labels=[label.capitalize() for label in _LABELS],
        quality=list(_quality(release)),
        levels=list(_LEVELS.values()),
        sources=list(_sources(release)),
        charged=[[name, f"{epsilon:.3f}"] for name, epsilon in sorted(release.charged.items())],
        rules=list(_rules(release)),
        origin=list(_origin(release)),
    )
    return text.encode()


def _day(date: datetime.date) -> str:
    return f"{date.day} {date:%B %Y}"


def _levels(release: Release, topic: str) -> list[str]:
    """Which areas a topic has figures for, in words, the largest first."""
    return [words for level, words in _LEVELS.items() if (topic, level) in release.tables]


def _quality(release: Release) -> Iterator[Row]:
    for (topic, level), items in (*release.tables.items(), *release.use_tables.items()):
        counts = Counter(words.quality(item) for item in items)
        withheld = sum(item.estimate is None for item in items)
        yield [words.title(topic), _LEVELS[level], *(counts[label] for label in _LABELS), withheld]


def _sources(release: Release) -> Iterator[Row]:
    """A row a topic and source of error: its share of the variance (%) at every level."""
    shares: dict[tuple[str, str], dict[str, str]] = {}
    for topic, level, source, share in tidy.sources(release):
        shares.setdefault((topic, source), {})[level] = f"{100 * float(share):.1f}"
    for (topic, source), by_level in shares.items():
        yield [words.title(topic), source, *(by_level.get(level, "–") for level in _LEVELS)]


def _rules(release: Release) -> Iterator[Row]:
    for topic in dict.fromkeys(topic for topic, _ in (*release.tables, *release.use_tables)):
        for name, counts in rules_of(release.checks, {topic}).items():
            yield [words.title(topic), name.replace("_", " "), words.rule(name), *counts.values()]


def _origin(release: Release) -> Iterator[Row]:
    yield ["Study digest", study_digest(release.study)]
    for name in sorted(supplier.name for supplier in release.study.suppliers):
        yield [f"Ledger of {name}", release.ledger_heads.get(name) or f"not known: {unknown_head(release.study)}"]
    yield from ([f"Public table {name}", digest] for name, digest in sorted(release.inputs.items()))
    yield from ([name, version] for name, version in sorted(release.versions.items()))
