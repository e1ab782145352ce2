# SPDX-License-Identifier: Apache-2.0
"""The accessible spreadsheet, by the statistical service's own writer.

Follows the Analysis Function's "Releasing statistics in spreadsheets": a cover, contents and notes, one marked-up table
a sheet with its title in A1, no empty or merged cells, nothing said by colour alone.
"""

import datetime
import warnings
from pathlib import Path

import pandas as pd

from skyglow_server.publication import words
from skyglow_server.publication.release import Release
from skyglow_server.publication.sheets import Sheet, sheets
from skyglow_shared.study import digest

with warnings.catch_warnings():  # it leaves a file open while it is imported
    warnings.simplefilter("ignore", ResourceWarning)
    import gptables

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


def write(path: Path, release: Release) -> None:
    """Write the workbook; the same release gives the same bytes."""
    tables = {f"Table {n}": _table(release, n, sheet) for n, sheet in enumerate(sheets(release), start=1)}
    said = " ".join(table.title for table in tables.values())
    notes = pd.DataFrame([note for note in _NOTES if _mark(note[0]) in said], columns=["Note number", "Note text"])
    workbook = gptables.core.api.produce_workbook(
        filename=str(path),
        sheets=tables,
        cover=_cover(release),
        notes_table=notes,
        contentsheet_options={"additional_elements": ["subtitles"]},
        auto_width=False,
        workbook_options={"strings_to_formulas": False},
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


def _table(release: Release, number: int, sheet: Sheet) -> gptables.GPTable:
    marks = {words.shorthand(item) for item in sheet.items}
    notes = [*sheet.notes, "noise", *(["withheld"] if words.CONFIDENTIAL in marks else [])]
    return gptables.GPTable(
        table=sheet.table,
        table_name=f"table_{number}",
        title=f"Table {number}: {sheet.title}" + "".join(map(_mark, notes)),
        subtitles=[text for text in (release.banner, sheet.about) if text],
        instructions="This worksheet contains one table."
        + (" Shorthand is explained above the table." if marks - {""} else ""),
        legend=[f"{mark} {meaning}" for mark, meaning in words.SHORTHAND.items() if mark in marks],
        scope=sheet.scope,
        source=release.producer,
        index_columns={1: 0},
    )


def _mark(note: str) -> str:
    """A note's place in a text, as the writer wants it; it becomes the note's number."""
    return f"$${note}$$"
