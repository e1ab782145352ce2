# SPDX-License-Identifier: Apache-2.0
"""The quality-and-methods page: what the figures are and how far to trust them, in plain words."""

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence

from skyglow_server.publication import tidy, words
from skyglow_server.publication.check_folder import rules_of
from skyglow_server.publication.release import Release
from skyglow_server.publication.templating import environment
from skyglow_shared.study import digest

NAME = "quality-and-methods.html"
_LABELS = ("precise", "reasonably precise", "acceptable", words.CAUTION)

Row = Sequence[str | int]


def page(release: Release) -> bytes:
    """Write the page, one HTML file that loads nothing."""
    template = environment("skyglow_server.publication", {"day": _day}).get_template(NAME)
    text = template.render(
        release=release,
        study=release.study,
        titles=[words.title(topic) for topic in release.topics],
        labels=[label.capitalize() for label in _LABELS],
        quality=list(_quality(release)),
        sources=[
            [words.title(topic), level, source, f"{100 * float(share):.1f}"]
            for topic, level, source, share in tidy.sources(release)
        ],
        charged=[[name, f"{epsilon:.3f}"] for name, epsilon in sorted(release.charged.items())],
        rules=list(_rules(release)),
        origin=list(_origin(release)),
    )
    return text.encode()


def _day(date: datetime.date) -> str:
    return f"{date.day} {date:%B %Y}"


def _quality(release: Release) -> Iterator[Row]:
    for (topic, level), items in release.tables.items():
        counts = Counter(words.quality(item) for item in items)
        yield [words.title(topic), level, *(counts[label] for label in _LABELS)]


def _rules(release: Release) -> Iterator[Row]:
    for topic in (*release.topics, *dict.fromkeys(item.topic for item in release.use)):
        for name, counts in rules_of(release.checks, topic).items():
            yield [words.title(topic), name.replace("_", " "), words.rule(name), *counts.values()]


def _origin(release: Release) -> Iterator[Row]:
    yield ["Study digest", digest(release.study)]
    for name, head in sorted(release.ledger_heads.items()):
        yield [f"Ledger of {name}", head]
    yield from ([name, version] for name, version in sorted(release.versions.items()))
