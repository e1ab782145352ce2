# SPDX-License-Identifier: Apache-2.0
"""What an earlier release let out, read from its folder, so that the next can be checked against it."""

import csv
from pathlib import Path

from skyglow_server.disclosure.footprint import Footprint, footprint_of
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.publication import electricity, tidy
from skyglow_server.publication.folder import STUDY
from skyglow_shared.errors import FormatError
from skyglow_shared.soundness import decode_study


def read_footprints(path: Path) -> tuple[Footprint, ...]:
    """Footprints of every topic of a release's folder, in the LSOAs of its own vintage.

    Raises
    ------
    FormatError
        The folder is not a release, or a table of it cannot be read.
    StudyError
        Its study cannot be read.
    """
    try:
        study = decode_study((path / STUDY).read_bytes())
        tables = [*sorted(path.glob("estimates-*.csv")), *path.glob(electricity.NAME)]
        shown = [_published(table) for table in tables]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise FormatError(f"{path.name} is not a release's folder ({type(error).__name__}); name another") from None
    found = []
    for areas in shown:
        for topic, published in areas.items():
            levels = [level for level in LEVELS if any(known == level for known, _ in published)]
            whole = footprint_of(study, topic, levels)
            hidden = [(c.level, c.code) for c in whole.cells if not published.get((c.level, c.code), False)]
            found.append(whole.without(hidden))
    return tuple(found)


def _published(table: Path) -> dict[str, dict[tuple[str, str], bool]]:
    """Whether each (level, code) of a table has a figure, by topic."""
    found: dict[str, dict[tuple[str, str], bool]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames not in (list(tidy.COLUMNS), list(electricity.COLUMNS)):
            raise FormatError(f"{table.name} has other columns than a release's table; name another folder")
        for row in reader:
            place = row["level"], row["area_code"]
            own = found.setdefault(row["topic"], {})
            own[place] = own.get(place, False) or row["estimate"] != ""
    return found
