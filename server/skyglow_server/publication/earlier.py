# SPDX-License-Identifier: Apache-2.0
"""What an earlier release let out, read from its folder: to compare the next with it, and to check the next against it.

Differencing needs to know which areas had a figure, change needs the figures themselves.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skyglow_server.disclosure.footprint import Footprint, footprint_of
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.publication import electricity, tidy
from skyglow_server.publication.folder import STUDY
from skyglow_shared.errors import FormatError
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study

#: The source of error that two studies share.
SHARED = "area model"

Key = tuple[str, str, str, str]
Rows = Mapping[Key, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Published:
    """A release as its folder tells it.

    Attributes
    ----------
    study : Study
    rows : mapping of (topic, level, area code, group) to the row of its table
        Shares of homes.
    shared : mapping of (topic, level) to float
        Mean share of the variance that is the area model's.
    use : as `rows`
        Electricity use, where the study asks for it.
    """

    study: Study
    rows: Rows
    shared: Mapping[tuple[str, str], float]
    use: Rows = field(default_factory=dict)


def read_release(path: Path) -> Published:
    """Read a release's folder, or the one in a run's folder.

    Raises
    ------
    FormatError
        It is no release's folder, or a table of it cannot be read.
    StudyError
        Its study cannot be read.
    """
    folder = path / "release" if (path / "release").is_dir() else path
    try:
        study = decode_study((folder / STUDY).read_bytes())
        rows = _by_key(sorted(folder.glob("estimates-*.csv")), tidy.COLUMNS)
        use = _by_key(folder.glob(electricity.NAME), electricity.COLUMNS)
        shared = {
            (row["topic"], row["level"]): float(row["share_of_variance"])
            for row in _rows(folder / tidy.SOURCES, tidy.SOURCE_COLUMNS)
            if row["source"] == SHARED
        }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise FormatError(f"{path.name} is not a release's folder ({type(error).__name__}); name another") from None
    return Published(study, rows, shared, use)


def _by_key(tables: Iterable[Path], columns: Iterable[str]) -> Rows:
    return {
        (row["topic"], row["level"], row["area_code"], row["group"]): row
        for table in tables
        for row in _rows(table, columns)
    }


def _rows(table: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != list(columns):
            raise FormatError(f"{table.name} has other columns than a release's table; name another folder")
        yield from reader


def read_footprints(path: Path) -> tuple[Footprint, ...]:
    """Footprints of every topic of a release's folder, in the LSOAs of its own vintage; raises as `read_release`."""
    return footprints_of(read_release(path))


def footprints_of(release: Published) -> tuple[Footprint, ...]:
    """Footprints of every topic of a release, in the LSOAs of its own vintage."""
    shown: dict[str, dict[tuple[str, str], bool]] = {}
    for (topic, level, code, _), row in (*release.rows.items(), *release.use.items()):
        own = shown.setdefault(topic, {})
        own[level, code] = own.get((level, code), False) or row["estimate"] != ""
    found = []
    for topic, places in shown.items():
        whole = footprint_of(release.study, topic, [level for level in LEVELS if any(at == level for at, _ in places)])
        every = ((cell.level, cell.code) for cell in whole.cells)
        found.append(whole.without(place for place in every if not places.get(place, False)))
    return tuple(found)
