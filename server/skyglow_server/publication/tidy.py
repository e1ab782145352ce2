# SPDX-License-Identifier: Apache-2.0
"""Tidy CSV, one figure a line, and the CSVW metadata that says what every column is (W3C Tabular Data, 2015)."""

import json
from collections.abc import Iterable
from typing import Any

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import electricity, official, words
from skyglow_server.publication.columns import AREA, SHARE, Columns, line, number, state, table
from skyglow_server.publication.release import Release

METADATA = "csv-metadata.json"
SOURCES = "uncertainty-by-source.csv"
LICENCE = "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/"

COLUMNS: Columns = {
    **AREA,
    "topic": ("string", "What is counted"),
    "group": ("string", "all, or the day type and half-hour of local time"),
    "estimate": (SHARE, "Estimated share of households, 0 to 1; empty when withheld"),
    "lower": (SHARE, "Lower end of the 95% interval"),
    "upper": (SHARE, "Upper end of the 95% interval"),
    "unclipped": ("decimal", "The estimate before it was held to 0 to 1: use this one in further sums"),
    "standard_error": ({"base": "decimal", "minimum": "0"}, "Standard error of the unclipped estimate"),
    **state("; ".join(f"{mark} {meaning}" for mark, meaning in words.SHORTHAND.items())),
}
SOURCE_COLUMNS: Columns = {
    "topic": ("string", "What is counted"),
    "level": ({"base": "string", "format": "LSOA|MSOA|LAD"}, "Kind of area"),
    "source": ("string", "Source of error"),
    "share_of_variance": (SHARE, "Mean share of the variance of published estimates that comes from this source"),
}


def table_name(topic: str) -> str:
    """The name of a topic's CSV file."""
    return f"estimates-{words.dashed(topic)}.csv"


def files(release: Release) -> dict[str, bytes]:
    """Every CSV file of a release and their common metadata, by name."""
    found = {table_name(topic): table(COLUMNS, map(_line, release.of_topic(topic))) for topic in release.topics}
    found[SOURCES] = table(SOURCE_COLUMNS, sources(release))
    if release.use:
        found[electricity.NAME] = use_table(release.use)
    if release.compared:
        found[official.NAME] = table(official.COLUMNS, official.lines(release.compared))
    return {**found, METADATA: json.dumps(_metadata(release), indent=1, ensure_ascii=False).encode() + b"\n"}


def use_table(use: Iterable[Estimate]) -> bytes:
    """The table of electricity use."""
    return table(electricity.COLUMNS, electricity.lines(use))


def sources(release: Release) -> list[list[str]]:
    """(topic, level, source, mean share of the variance) of all that is published with an interval."""
    rows = []
    for (topic, level), items in (*release.tables.items(), *release.use_tables.items()):
        known = [item for item in items if item.deviation and item.parts]
        names = dict.fromkeys(name for item in known for name in item.parts)
        for name in names:
            share = sum(max(item.parts.get(name, 0.0), 0.0) / sum(item.parts.values()) for item in known) / len(known)
            rows.append([topic, level, name, number(min(share, 1.0))])
    return rows


def _line(item: Estimate) -> list[str]:
    return line(item, (item.estimate, item.lower, item.upper, item.unclipped, item.deviation))


def _metadata(release: Release) -> dict[str, Any]:
    study = release.study
    tables = [
        _table(table_name(topic), words.title(topic), COLUMNS, ["area_code", "group"]) for topic in release.topics
    ]
    tables.append(
        _table(SOURCES, "What the intervals are made of", SOURCE_COLUMNS, ["topic", "level", "source"]),
    )
    if release.use:
        tables.append(_table(electricity.NAME, electricity.TITLE, electricity.COLUMNS, ["area_code", "group"]))
    if release.compared:
        tables.append(_table(official.NAME, official.TITLE, official.COLUMNS, ["area_code", "topic"]))
    return {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "en"}],
        "dc:title": study.title,
        "dc:description": " ".join(filter(None, [release.banner, study.public_good])),
        "dc:creator": release.producer,
        "dc:license": {"@id": LICENCE},
        "dc:issued": {"@value": release.made.isoformat(), "@type": "xsd:date"},
        "dc:spatial": "England and Wales, 2021 statistical geographies",
        "tables": tables,
    }


def _table(name: str, title: str, columns: Columns, key: list[str]) -> dict[str, Any]:
    schema = {
        "columns": [
            {
                "name": column,
                "titles": column,
                "dc:description": meaning,
                "datatype": datatype,
                "required": column in key,
            }
            for column, (datatype, meaning) in columns.items()
        ],
        "primaryKey": key,
    }
    return {"url": name, "dc:title": title, "dialect": {"header": True}, "tableSchema": schema}
