# SPDX-License-Identifier: Apache-2.0
"""What an earlier release let out, read from its folder: to compare the next with it, and to check the next against it.

Differencing needs to know which areas had a figure, change needs the figures themselves. A table that lost lines, or
its study, would seem to have let out less than it did, and a later release would be let through that gives a figure
away: so a folder is believed only if its files are as they were written and its tables have a line for every area.
"""

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from skyglow_server.disclosure.footprint import Footprint, footprint_of
from skyglow_server.disclosure.meeting import groups
from skyglow_server.estimation.electricity import TOPIC as ELECTRICITY
from skyglow_server.estimation.inputs import LEVELS
from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.publication import electricity, tidy
from skyglow_server.publication.check_folder import CHECKSUMS
from skyglow_server.publication.folder import STUDY
from skyglow_shared.errors import FormatError
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study

#: The source of error that two studies share.
SHARED = "area model"

Key = tuple[str, str, str, str]
Rows = Mapping[Key, Mapping[str, str]]

_TABLES, _READ = "estimates-*.csv", (STUDY, tidy.SOURCES, electricity.NAME)
_NUMBERS = ("estimate", "lower", "upper", "unclipped", "standard_error", "share_of_variance")


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
        It is no release's folder, a table of it cannot be read, is not as it was written or is not of its study.
    StudyError
        Its study cannot be read.
    """
    folder = path / "release" if (path / "release").is_dir() else path
    place = "/".join(folder.resolve().parts[-2:])
    try:
        _check_written(folder, place)
        study = decode_study((folder / STUDY).read_bytes())
        rows = _by_key(sorted(folder.glob(_TABLES)), tidy.COLUMNS)
        use = _by_key(folder.glob(electricity.NAME), electricity.COLUMNS)
        shared = {
            (row["topic"], row["level"]): float(row["share_of_variance"])
            for row in _rows(folder / tidy.SOURCES, tidy.SOURCE_COLUMNS)
            if row["source"] == SHARED
        }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise FormatError(f"{place} is not a release's folder ({type(error).__name__}); name another") from None
    if any(not 0 <= share <= 1 for share in shared.values()):
        raise FormatError(f"{tidy.SOURCES} of {place} has a share beyond 0 to 1; put back what was published")
    _check_whole(place, study, rows, {OCCUPANCY, *(model.name for model in study.models)})
    _check_whole(place, study, use, {ELECTRICITY})
    if not rows and not use:
        raise FormatError(f"{place} holds no table of figures; put back all that was published, or name another folder")
    return Published(study, rows, shared, use)


def _check_written(folder: Path, place: str) -> None:
    """FormatError unless what is read here is as the folder's digests say, where it holds any."""
    for file in sorted((folder / CHECKSUMS).glob("*.txt")):
        name = file.name.removesuffix(".txt")
        if name not in _READ and not fnmatch(name, _TABLES):
            continue
        table = folder / name
        if not table.is_file() or hashlib.sha256(table.read_bytes()).hexdigest() != file.read_text("utf-8").strip():
            raise FormatError(
                f"{name} of {place} is not there as it was written; put back what was published, or, if that was"
                f" another, bring {CHECKSUMS}/{file.name} into line with it"
            )


def _check_whole(place: str, study: Study, rows: Rows, topics: set[str]) -> None:
    """FormatError unless every topic's table has every area of its levels, each with the same groups."""
    wanted: dict[str, set[str]] = {level: {getattr(area, level.lower()) for area in study.areas} for level in LEVELS}
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for topic, level, code, group in rows:
        found.setdefault((topic, level), {}).setdefault(code, set()).add(group)
    for (topic, level), areas in found.items():
        groups = next(iter(areas.values()))
        if topic not in topics or areas.keys() != wanted.get(level) or any(own != groups for own in areas.values()):
            raise FormatError(f"the tables of {place} are not whole or not its study's; put back what was published")


def _by_key(tables: Iterable[Path], columns: Iterable[str]) -> Rows:
    found: dict[Key, Mapping[str, str]] = {}
    for table in tables:
        before = len(found)
        for row in _rows(table, columns):
            key = (row["topic"], row["level"], row["area_code"], row["group"])
            if found.setdefault(key, row) is not row:
                raise FormatError(f"{table.name} has a figure twice; put back what was published")
        if len(found) == before:
            raise FormatError(f"{table.name} has no figures; put back what was published")
    return found


def _rows(table: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != list(columns):
            raise FormatError(f"{table.name} has other columns than a release's table; name another folder")
        for row in reader:
            if None in row or None in row.values() or not all(_is_number(row.get(name, "")) for name in _NUMBERS):
                raise FormatError(f"{table.name} has a line that is cut off or no figure; put back what was published")
            yield row


def _is_number(text: str) -> bool:
    """Whether a field is empty or a finite number."""
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


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


def footprints_for(release: Published, study: Study, others: Iterable[Published] = ()) -> Iterator[Footprint]:
    """Footprints of a release, under the names of all a study's topics that they tell of (`disclosure.meeting`).

    Which homes a topic counts, which it does not, or the same homes by another question, is the same figure to whoever
    subtracts; so is a sum of topics, of `others` too: every earlier release that is at hand.
    """
    asked = [model for one in (release, *others) for model in one.study.models]
    own = len(release.study.models)
    group = groups([*asked, *study.models])
    of_topic = {model.name: number for model, number in zip(asked[:own], group[:own], strict=True)}
    for footprint in footprints_of(release):
        met = of_topic.get(footprint.topic)
        here = {model.name for model, number in zip(study.models, group[len(asked) :], strict=True) if number == met}
        yield from (replace(footprint, topic=name) for name in sorted({footprint.topic, *here}))
