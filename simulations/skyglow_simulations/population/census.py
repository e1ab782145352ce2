# SPDX-License-Identifier: Apache-2.0
"""Census 2021 tables for areas of England and Wales.

Reads either the small extract that ships with skyglow or a folder with the full tables as the ONS publishes them
(``ts003-lsoa.csv`` or ``.csv.gz``, and so on). Source: Office for National Statistics, Open Government Licence v3.0.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_server.publication import places
from skyglow_shared.errors import DataError, FormatError, GeographyError
from skyglow_shared.files import write_atomically
from skyglow_shared.study import COMPOSITION_CLASSES, QUESTIONS, Area

TABLES = ("ts003", "ts017", "ts059", "ts065")
_LOOKUP = "lsoa21-msoa21-lad22"
_BOUNDARIES = "msoa.geojson"
_SHIPPED = "E06000045"
_LEVELS = ("LSOA21", "MSOA21", "LAD22")
_SLACK = 20  # households by which disclosure control may set two tables apart
_SINGLE, _COUPLE = "Single family household: ", "Married or civil partnership couple: "
_COMPOSITION: Mapping[str, tuple[str, ...]] = {
    "one_person_66_plus": ("One person household: Aged 66 years and over",),
    "family_66_plus": (f"{_SINGLE}All aged 66 years and over",),
    "one_person_under_66": ("One person household: Other",),
    "family_no_dependent_children": (
        f"{_SINGLE}{_COUPLE}No children",
        f"{_SINGLE}{_COUPLE}All children non-dependent",
        f"{_SINGLE}Cohabiting couple family: No children",
        f"{_SINGLE}Cohabiting couple family: All children non-dependent",
        f"{_SINGLE}Lone parent family: All children non-dependent",
        f"{_SINGLE}Other single family household: Other family composition",
    ),
    "family_dependent_children": (
        f"{_SINGLE}{_COUPLE}Dependent children",
        f"{_SINGLE}Cohabiting couple family: With dependent children",
        f"{_SINGLE}Lone parent family: With dependent children",
    ),
    "other": (
        "Other household types: With dependent children",
        "Other household types: Other, including all full-time students and all aged 66 years and over",
    ),
}


@dataclass(frozen=True, slots=True)
class Census:
    """What the simulator knows of a district, one row an LSOA, sorted by code.

    Attributes
    ----------
    areas : tuple of Area
    names : dict
        Area name by GSS code, all levels.
    classes : ndarray of int, shape (areas, 6)
        Households by composition class.
    sizes : ndarray of int, shape (areas, 8)
        Households by number of people, 1 … 8 or more.
    employed : ndarray of float, shape (areas,)
        Employed share of residents aged 16 and over.
    boundaries : dict or None
        GeoJSON of the areas' MSOAs, British National Grid metres.
    """

    areas: tuple[Area, ...]
    names: Mapping[str, str]
    classes: NDArray[np.int64]
    sizes: NDArray[np.int64]
    employed: NDArray[np.float64]
    boundaries: dict[str, object] | None

    @property
    def district(self) -> str:
        """GSS code of the district."""
        return self.areas[0].lad


def load(district: str, folder: Path | None = None) -> Census:
    """Load a district's tables.

    Parameters
    ----------
    district : str
        GSS code of a local authority district, e.g. ``E06000045``.
    folder : Path or None
        Folder with the tables; None = the extract shipped with skyglow, which has Southampton alone.

    Raises
    ------
    GeographyError
        The code is malformed or in none of the tables, areas differ between tables, or boundaries lack some.
    FormatError
        A table is missing, unreadable or has other columns.
    DataError
        An area has no households, or the tables disagree on how many it has.
    """
    if not re.fullmatch(r"[EW]0[6-9]\d{6}", district):
        raise GeographyError("a district is a code such as E06000045: E06–E09 or W06, then six digits")
    if folder is None:
        folder = _extract(district)
        if not folder.is_dir():
            raise GeographyError(f"the tables of {district} do not ship with skyglow; give a folder with --census DIR")
    lookup = [row for row in _lookup(folder) if row["LAD22CD"] == district]
    if not lookup:
        raise GeographyError(
            f"no area of the lookup lies in {district}; give a district as of 2022 (newer councils have other codes)"
        )
    return _assemble(lookup, folder)


def load_areas(lsoas: Sequence[str], folder: Path | None = None) -> Census:
    """Load the tables of any LSOAs, or of all there are if none is named; otherwise as `load`."""
    if folder is None:
        folder = _extract(_SHIPPED)
    lookup = _lookup(folder)
    wanted, known = set(lsoas), {row["LSOA21CD"] for row in lookup}
    unknown = sorted(wanted - known)
    if unknown:
        raise GeographyError(
            f"{unknown[0]} ({len(unknown)} in all) is no LSOA of 2021 in these tables; correct --lsoas, translate "
            "codes of 2011 with the ONS's lookup, or give a folder with --census DIR"
        )
    return _assemble([row for row in lookup if not wanted or row["LSOA21CD"] in wanted], folder)


def _extract(district: str) -> Path:
    return Path(str(resources.files("skyglow_simulations") / "extract" / district))


def _lookup(folder: Path) -> list[dict[str, str]]:
    rows = _read(folder, _LOOKUP)
    wanted = [f"{level}{part}" for level in _LEVELS for part in ("CD", "NM")]
    if not rows or not set(wanted) <= rows[0].keys():
        raise FormatError(f"the area lookup must have the columns {', '.join(wanted)}; use the ONS lookup of 2021/22")
    return rows


def _assemble(lookup: list[dict[str, str]], folder: Path) -> Census:
    """Join the tables of the lookup's areas."""
    lookup.sort(key=lambda row: row["LSOA21CD"])
    codes = [row["LSOA21CD"] for row in lookup]
    if len(set(codes)) < len(codes):
        raise GeographyError("the lookup names an area twice; keep one row an LSOA")
    tables = {name: _rows_of(name, _read(folder, name), codes) for name in TABLES}
    classes = np.stack([_columns(tables["ts003"], "ts003", _COMPOSITION[name]) for name in COMPOSITION_CLASSES], axis=1)
    empty = np.flatnonzero(classes.sum(axis=1) == 0)
    if len(empty):
        raise DataError(
            f"{codes[empty[0]]} ({len(empty)} in all) has no households in ts003; leave it out of the lookup"
        )
    sizes = np.stack([_columns(tables["ts017"], "ts017", (_size_column(size),)) for size in range(1, 9)], axis=1)
    if (abs(sizes.sum(axis=1) - classes.sum(axis=1)) > _SLACK + 0.05 * classes.sum(axis=1)).any():
        raise DataError("ts003 and ts017 count different numbers of households; use tables of one census")
    working = _columns(tables["ts059"], "ts059", ("Total: All usual residents aged 16 years and over in employment",))
    others = _columns(
        tables["ts065"], "ts065", ("Total: All usual residents aged 16 years and over not in employment",)
    )
    names = {row[f"{level}CD"]: row[f"{level}NM"] for row in lookup for level in _LEVELS}
    areas = tuple(Area(row["LSOA21CD"], row["MSOA21CD"], row["LAD22CD"]) for row in lookup)
    employed = working / np.maximum(working + others, 1)
    return Census(areas, names, classes, sizes, employed, _boundaries(folder, {area.msoa for area in areas}))


def write_areas(census: Census, households: Sequence[int], path: Path) -> None:
    """Write the public areas table: codes, names, households today; composition, size and employment at the census.

    Parameters
    ----------
    census : Census
    households : sequence of int
        How many households each LSOA has at the study's date, as an address register would say.
    path : Path
    """
    levels = ("lsoa", "msoa", "lad")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["lsoa21cd", "lsoa21nm", "msoa21cd", "msoa21nm", "lad22cd", "lad22nm", "households", *COMPOSITION_CLASSES]
    writer.writerow([*header, *(f"people_{size}" for size in QUESTIONS["household_size"]), "employed"])
    shares = [f"{share:.4f}" for share in census.employed]
    columns = zip(census.areas, households, census.classes.tolist(), census.sizes.tolist(), shares, strict=True)
    for area, today, counts, sizes, employed in columns:
        codes = [getattr(area, level) for level in levels]
        named = (part for code in codes for part in (code, census.names[code]))
        writer.writerow([*named, today, *counts, *sizes, employed])
    write_atomically(path, text.getvalue().encode())


def _read(folder: Path, name: str) -> list[dict[str, str]]:
    """Read the first file of that name: plain or compressed, with or without ``-lsoa``, here or in ../geography."""
    for place in (folder, folder.parent / "geography"):
        for stem in (name, f"{name}-lsoa"):
            for suffix, opener in ((".csv", _plain), (".csv.gz", _compressed)):
                path = place / f"{stem}{suffix}"
                if path.is_file():
                    return _parse(path, opener)
    raise FormatError(f"there is no {name}-lsoa.csv or .csv.gz in {folder.name}; put the full table there")


def _plain(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _compressed(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8-sig")


def _parse(path: Path, opener: Callable[[Path], str]) -> list[dict[str, str]]:
    try:
        header, *rows = csv.reader(io.StringIO(opener(path)))
        names = [_tidy(name) for name in header]
        if len(set(names)) < len(names):
            raise ValueError("two columns of one name")
        return [dict(zip(names, row, strict=True)) for row in rows if row]
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        message = f"{path.name} cannot be read as a CSV table ({type(error).__name__}); fetch it again"
        raise FormatError(message) from None


def _tidy(header: str) -> str:
    """One spelling for headers: single spaces, without the trailing ``; measures: Value``."""
    return re.sub(r"\s+", " ", header).replace(" ,", ",").replace("; measures: Value", "").strip()


def _published(table: str) -> set[str]:
    """The columns of counts that a table has as the ONS publishes it, as in the shipped extract."""
    with (_extract(_SHIPPED) / f"{table}-lsoa.csv").open(encoding="utf-8-sig", newline="") as file:
        return {_normal(_tidy(name)) for name in next(csv.reader(file)) if ": " in name}


def _rows_of(table: str, rows: Sequence[dict[str, str]], codes: Sequence[str]) -> list[dict[str, str]]:
    present = {_normal(name) for name in rows[0] if ": " in name} if rows else _published(table)
    for kind, names in (("lacks", _published(table) - present), ("has surplus", present - _published(table))):
        if names:
            raise FormatError(f"{table} {kind} the column {min(names)!r}; use the table as the ONS publishes it")
    by_code = {row.get("geography code", ""): row for row in rows}
    if len(by_code) < len(rows):
        raise FormatError(f"{table} has no column 'geography code', or the same code twice; fetch it again")
    missing = sum(code not in by_code for code in codes)
    if missing:
        raise GeographyError(f"{table} lacks {missing} areas of the district; use tables and lookup of one vintage")
    return [by_code[code] for code in codes]


def _columns(rows: Sequence[dict[str, str]], table: str, endings: Sequence[str]) -> NDArray[np.int64]:
    """Sum of the columns whose header is ``<topic>: <ending>`` (or starts so, for totals)."""
    total = np.zeros(len(rows), dtype=np.int64)
    for ending in endings:
        wanted = _normal(ending)
        found = [header for header in rows[0] if _normal(header.split(": ", 1)[-1]).startswith(wanted)]
        exact = [header for header in found if _normal(header.split(": ", 1)[-1]) == wanted] or found
        if len(exact) != 1:
            raise FormatError(
                f"{table} must have one column ending in {ending!r}; use the table as the ONS publishes it"
            )
        try:
            total += np.array([int(row[exact[0]]) for row in rows])
        except ValueError:
            raise FormatError(f"a column of {table} holds something other than whole numbers; fetch it again") from None
    if (total < 0).any():
        raise FormatError(f"a column of {table} holds negative counts; fetch it again")
    return total


def _normal(text: str) -> str:
    return re.sub(r"[\s,]+", " ", text).strip()


def _size_column(size: int) -> str:
    return {1: "1 person in household", 8: "8 or more people in household"}.get(size, f"{size} people in household")


def _boundaries(folder: Path, msoas: set[str]) -> dict[str, object] | None:
    """The areas' own boundaries, out of ``msoa.geojson`` here or in ../geography; None where there is none."""
    at = (folder / _BOUNDARIES, folder.parent / "geography" / _BOUNDARIES)
    path = next((path for path in at if path.is_file()), None)
    if path is None:
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        plain = None
    if not (isinstance(plain, dict) and isinstance(plain.get("features"), list)):
        raise FormatError(f"{path.name} is not GeoJSON; make the extract again or remove the file")
    return places.fitted(plain, msoas)
