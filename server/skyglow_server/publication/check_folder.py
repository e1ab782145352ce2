# SPDX-License-Identifier: Apache-2.0
"""The form in which output checkers open a release: ACRO's results file, as SACRO-Viewer loads it.

One record a table with its figures' checks, one a further file. A withheld figure is flagged at its cell by the rule
that withheld it. Nothing that failed a rule is in the folder, so no record has the status ``fail``: a table with
withheld figures is for review, one without has passed. Every file has its SHA-256 beside it; the viewer warns when they
differ.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from skyglow_server.disclosure.rules import Check
from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import electricity, official, tidy, words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.release import Release

NAME, CONFIG, CHECKSUMS = "results.json", "config.json", "checksums"
#: Version of ACRO whose form of results this is.
FORM = "1.0.2"
_FIGURES = ("estimate", "lower", "upper", "unclipped", "standard_error")


def results(release: Release, files: Mapping[str, str]) -> bytes:
    """Make the results file.

    Parameters
    ----------
    release : Release
    files : mapping of str to str
        What each further file is, by name.
    """
    records = {}
    for topic in release.topics:
        items = release.of_topic(topic)
        records[f"table-{words.dashed(topic)}"] = _table(release, topic, items)
    if release.use:
        records["table-electricity-use"] = _use(release)
    if release.compared:
        records["table-comparison-official"] = _compared(release)
    for name, about in files.items():
        records[name] = _record(release, name, "review; made from the tables of this folder", about, [{"name": name}])
    tool = {"@type": "SoftwareApplication", "name": "skyglow", "version": release.versions.get("skyglow-server", "")}
    whole = {"version": FORM, "tool": tool, "results": records}
    return json.dumps(whole, indent=1, ensure_ascii=False).encode() + b"\n"


def config(release: Release) -> bytes:
    """The risk profile that the viewer shows: what protects the figures, and the thresholds of the rules."""
    study = release.study
    profile = {
        "least_homes": study.thresholds.least_homes,
        "least_suppliers": study.thresholds.least_suppliers,
        "largest_share": study.thresholds.largest_share,
        "rounding": 10**-DIGITS,
        "privacy_unit": "one household, added or removed",
        "epsilon": study.epsilon,
        "delta": study.delta,
        "trust_mode": study.trust_mode,
    }
    return json.dumps(profile, indent=1).encode() + b"\n"


def checksums(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """SHA-256 of every file, by the name under which the viewer looks for it."""
    return {f"{CHECKSUMS}/{name}.txt": hashlib.sha256(content).hexdigest().encode() for name, content in files.items()}


def _table(release: Release, topic: str, items: list[Estimate]) -> dict[str, Any]:
    columns = [list(tidy.COLUMNS).index(name) - 1 for name in _FIGURES]  # the viewer counts from after the first
    return _checked(release, words.dashed(topic), items, (tidy.table_name(topic), words.title(topic), columns))


def _use(release: Release) -> dict[str, Any]:
    items = electricity.ordered(release.use)
    columns = [list(electricity.COLUMNS).index(name) - 1 for name in _FIGURES if name in electricity.COLUMNS]
    return _checked(release, words.dashed(items[0].topic), items, (electricity.NAME, electricity.TITLE, columns))


def _compared(release: Release) -> dict[str, Any]:
    columns = [list(official.COLUMNS).index(name) - 1 for name in ("agrees", *_FIGURES, "difference")]
    items = [one.own for one in release.compared]
    return _checked(release, "comparison-official", items, (official.NAME, official.TITLE, columns))


def _checked(release: Release, uid: str, items: list[Estimate], table: tuple[str, str, list[int]]) -> dict[str, Any]:
    cells: dict[str, list[list[int]]] = {}
    name, title, columns = table
    for row, item in enumerate(items):
        if item.estimate is None:
            cells.setdefault(item.reason or "not_available", []).extend([row, column] for column in columns)
    withheld = {rule: len(found) // len(columns) for rule, found in cells.items()}
    status = "review" if withheld else "pass"
    counted = "; ".join(f"{rule}: {count} figures withheld" for rule, count in withheld.items())
    sdc = {"summary": {"suppressed": bool(withheld), **withheld}, "cells": cells}
    record = _record(
        release,
        f"table-{uid}",
        f"{status}; {counted or 'every figure passes every rule'}",
        f"{title}: {len(items)} figures",
        [{"name": name, "sdc": sdc}],
    )
    rules = rules_of(release.checks, {item.topic for item in items})
    record["properties"] = {"method": "small-area estimate", "rules": rules}
    record["outcome"] = {"estimate": {str(row): item.reason or "ok" for row, item in enumerate(items)}}
    return record


def rules_of(checks: Iterable[Check], topics: Collection[str]) -> dict[str, dict[str, int]]:
    """How often each rule was applied to some topics, and how often it failed."""
    found: dict[str, dict[str, int]] = {}
    for check in checks:
        if check.topic in topics:
            own = found.setdefault(check.rule, {"applied": 0, "failed": 0})
            own["applied"] += 1
            own["failed"] += not check.passed
    return found


def _record(release: Release, uid: str, summary: str, comment: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    status = summary.split(";", 1)[0]
    return {
        "uid": uid,
        "status": status,
        "type": "table" if uid.startswith("table-") else "custom",
        "properties": {},
        "files": [{"sdc": {}, **file} for file in files],
        "outcome": {},
        "command": f"skyglow study {release.study.name}",
        "summary": summary,
        "timestamp": release.made.isoformat() + "T00:00:00",
        "comments": [text for text in (release.banner, comment) if text],
        "exception": "",
        "fair": {},
    }
