# SPDX-License-Identifier: Apache-2.0
"""The accessible spreadsheet, by the statistical service's own writer.

Follows the Analysis Function's "Releasing statistics in spreadsheets": a cover, contents and notes, one marked-up table
a sheet with its title in A1, no empty or merged cells, nothing said by colour alone.
"""

import datetime
import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import use_sheets, words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.release import Release
from skyglow_shared.study import digest

with warnings.catch_warnings():  # it leaves a file open while it is imported
    warnings.simplefilter("ignore", ResourceWarning)
    import gptables

_DIGITS = DIGITS - 2
_NOTES = (
    (
        "interval",
        "If the study were made again many times, about 95 of 100 such intervals would contain the true figure.",
    ),
    (
        "quality",
        "From the coefficient of variation (standard error over estimate): precise up to 5%, reasonably precise up to"
        " 10%, acceptable up to 20%, above that use with caution, marked [u].",
    ),
    (
        "noise",
        "Random noise of known size was added to every sum before it left a supplier, so that no household can be"
        " recognised. The intervals contain it.",
    ),
    ("withheld", "Figures marked [c] are withheld by a release rule; the rule looked at noised counts only."),
)
_USE = "Local time. Limits of the parts, the median and vacant homes are in electricity-use.csv."
_HALF_HOURS = "Estimates only; their intervals are in the CSV file of the same topic."

Row = list[str | float]


def write(path: Path, release: Release) -> None:
    """Write the workbook; the same release gives the same bytes."""
    sheets = dict(_sheets(release))
    sheets |= _use_sheets(release, len(sheets) + 1)
    said = " ".join(sheet.title for sheet in sheets.values())
    notes = pd.DataFrame([note for note in _NOTES if _mark(note[0]) in said], columns=["Note number", "Note text"])
    workbook = gptables.core.api.produce_workbook(
        filename=str(path),
        sheets=sheets,
        cover=_cover(release),
        notes_table=notes,
        contentsheet_options={"additional_elements": ["subtitles"]},
        auto_width=False,
    )
    workbook.set_properties(
        {
            "title": release.study.title,
            "author": release.producer,
            "comments": release.banner,
            "created": datetime.datetime.combine(release.made, datetime.time()),
        }
    )
    for sheet in workbook.worksheets():
        sheet.set_column(0, 1, 28)
        sheet.set_column(2, 51, 14)
    workbook.get_worksheet_by_name("Cover").set_column(0, 0, 90)
    workbook.close()


def _cover(release: Release) -> gptables.Cover:
    study = release.study
    about = [
        "Shares of all households, metered or not, from noised sums of smart meter readings and a noised survey panel.",
        f"Legal gateway: {study.legal_gateway}",
        f"Readings from {study.period.start:%-d %B %Y} to {study.period.end:%-d %B %Y}.",
        f"Reference date: {study.reference_date:%-d %B %Y}. Areas: 2021 statistical geographies, 2022 districts.",
        f"Study digest: {digest(study)}",
        f"Released {release.made:%-d %B %Y} under the Open Government Licence v3.0.",
    ]
    return gptables.Cover(
        title=study.title,
        intro=[text for text in (release.banner, study.public_good) if text],
        about=about,
        contact=[text for text in (release.producer, release.contact) if text],
    )


def _sheets(release: Release) -> Iterable[tuple[str, gptables.GPTable]]:
    number = 0
    for (topic, level), items in release.tables.items():
        many = any(item.group != "all" for item in items)
        for day in ("weekday", "weekend") if many else ("",):
            number += 1
            chosen = [item for item in items if item.group.startswith(day)] if many else items
            table = _by_half_hour(chosen) if many else _one_a_row(chosen)
            yield (
                f"Table {number}",
                gptables.GPTable(
                    table=table,
                    table_name=f"table_{number}",
                    title=f"Table {number}: {words.title(topic)}, {words.LEVELS[level]}{_on(day)}"
                    + "".join(map(_mark, _notes(chosen, many=many))),
                    subtitles=[text for text in (release.banner, _HALF_HOURS if many else "") if text],
                    instructions="This worksheet contains one table. Shorthand is explained above the table.",
                    legend=[f"{mark} {words.SHORTHAND[mark]}" for mark in _marks(chosen)],
                    scope="Percentage of all households",
                    source=release.producer,
                    index_columns={1: 0},
                ),
            )


def _use_sheets(release: Release, first: int) -> dict[str, gptables.GPTable]:
    """Electricity use, where the release has it."""
    found = {}
    for number, sheet in enumerate(use_sheets.sheets(release.use), start=first):
        found[f"Table {number}"] = gptables.GPTable(
            table=sheet.table,
            table_name=f"table_{number}",
            title=f"Table {number}: {sheet.title}" + "".join(map(_mark, ["interval", *_notes(sheet.items, many=True)])),
            subtitles=[text for text in (release.banner, _USE) if text],
            instructions="This worksheet contains one table. Shorthand is explained above the table.",
            legend=[f"{mark} {words.SHORTHAND[mark]}" for mark in _marks(sheet.items)],
            scope=use_sheets.SCOPE,
            source=release.producer,
            index_columns={1: 0},
        )
    return found


def _notes(items: Iterable[Estimate], *, many: bool) -> list[str]:
    """Names of the notes that a table needs."""
    withheld = ["withheld"] if words.CONFIDENTIAL in _marks(items) else []
    return [*([] if many else ["interval", "quality"]), "noise", *withheld]


def _mark(note: str) -> str:
    """A note's place in a text, as the writer wants it; it becomes the note's number."""
    return f"$${note}$$"


def _on(day: str) -> str:
    return {"": "", "weekday": ", weekdays", "weekend": ", weekends"}[day]


def _marks(items: Iterable[Estimate]) -> list[str]:
    used = {words.shorthand(item) for item in items}
    return [mark for mark in words.SHORTHAND if mark in used]


def _one_a_row(items: Iterable[Estimate]) -> pd.DataFrame:
    columns = ["Area code", "Area name", "Estimate (%)", "Lower limit (%)", "Upper limit (%)", "Quality"]
    return pd.DataFrame([_row(item) for item in items], columns=columns)


def _row(item: Estimate) -> Row:
    mark = words.shorthand(item)
    if item.estimate is None:
        return [item.area_code, item.area_name, *[mark] * 4]
    quality = " ".join(filter(None, [words.quality(item), mark]))
    limits = [words.UNAVAILABLE if end is None else _percent(end) for end in (item.lower, item.upper)]
    return [item.area_code, item.area_name, _percent(item.estimate), *limits, quality or words.UNAVAILABLE]


def _by_half_hour(items: Iterable[Estimate]) -> pd.DataFrame:
    rows: dict[str, Row] = {}
    times: dict[str, None] = {}
    for item in items:
        row = rows.setdefault(item.area_code, [item.area_code, item.area_name])
        row.append(words.shorthand(item) if item.estimate is None else _percent(item.estimate))
        times.setdefault(item.group.split(" ")[-1])
    return pd.DataFrame(list(rows.values()), columns=["Area code", "Area name", *times])


def _percent(share: float) -> float:
    return round(100 * share, _DIGITS)
