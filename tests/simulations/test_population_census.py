# SPDX-License-Identifier: Apache-2.0
"""Census tables in: Southampton as published, and every way in which tables can be wrong."""

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from skyglow_shared.errors import DataError, FormatError, GeographyError
from skyglow_shared.study import COMPOSITION_CLASSES
from skyglow_simulations.population import census, households
from skyglow_simulations.population.randoms import number_of, random_of

DISTRICT = "E06000045"
EXTRACT = Path(str(resources.files("skyglow_simulations") / "extract" / DISTRICT))
FULL = Path(__file__).parents[2].parent / "shared" / "data" / "census2021"
LOOKUP = "lsoa21-msoa21-lad22.csv"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "census"
    shutil.copytree(EXTRACT, folder)
    return folder


def change(path: Path, edit: Callable[[list[list[str]]], object]) -> None:
    """Rewrite a table's rows (the header is row 0)."""
    rows = list(csv.reader(io.StringIO(path.read_text())))
    edit(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


def test_southampton_is_as_published():
    town = census.load(DISTRICT)
    assert town.district == DISTRICT
    assert len(town.areas) == 152
    assert len({area.msoa for area in town.areas}) == 33
    assert [area.lsoa for area in town.areas] == sorted(area.lsoa for area in town.areas)
    assert town.classes.sum() == 102_290
    assert dict(zip(COMPOSITION_CLASSES, town.classes.sum(axis=0).tolist(), strict=True)) == {
        "one_person_66_plus": 11_454,
        "family_66_plus": 6_186,
        "one_person_under_66": 22_256,
        "family_no_dependent_children": 9_172 + 4_303 + 8_065 + 666 + 3_910 + 1_071,
        "family_dependent_children": 13_263 + 4_605 + 7_360,
        "other": 9_979,
    }
    assert town.sizes.sum(axis=0).tolist() == [33_720, 32_882, 15_629, 12_326, 4_939, 1_823, 584, 377]
    assert (town.employed.min(), town.employed.max()) == pytest.approx((0.254, 0.820), abs=0.001)  # the least: students
    assert town.names[DISTRICT] == "Southampton"


def test_lsoas_nest_in_msoas_by_name():
    town = census.load(DISTRICT)
    assert all(town.names[area.lsoa][:-1] == town.names[area.msoa] for area in town.areas)


def test_boundaries_are_metres_of_the_national_grid():
    town = census.load(DISTRICT)
    assert town.boundaries is not None
    features = town.boundaries["features"]
    assert isinstance(features, list)
    assert {feature["properties"]["msoa21cd"] for feature in features} == {area.msoa for area in town.areas}

    def points(part: list) -> list[list[int]]:
        return [part] if isinstance(part[0], int) else [point for inner in part for point in points(inner)]

    every = np.array([point for feature in features for point in points(feature["geometry"]["coordinates"])])
    assert (every.min(axis=0) > (435_000, 109_000)).all()
    assert (every.max(axis=0) < (450_000, 119_000)).all()


def test_boundaries_may_hold_other_places_and_must_hold_the_districts_own(tables: Path):
    path = tables / "msoa.geojson"
    whole = json.loads(path.read_text())
    for feature in whole["features"]:
        feature["properties"] = {name.upper(): value for name, value in feature["properties"].items()}
    foreign = {"type": "Feature", "properties": {"MSOA21CD": "W02000001"}, "geometry": None}
    path.write_text("\ufeff" + json.dumps({**whole, "features": [foreign, *whole["features"]]}))
    assert census.load(DISTRICT, tables).boundaries == census.load(DISTRICT).boundaries
    path.write_text(json.dumps({**whole, "features": [foreign, *whole["features"][1:]]}))
    with pytest.raises(GeographyError, match="lack 1 of the study's MSOAs"):
        census.load(DISTRICT, tables)
    path.unlink()
    assert census.load(DISTRICT, tables).boundaries is None


def test_areas_table_holds_what_the_census_says(tmp_path: Path):
    town = census.load(DISTRICT)
    census.write_areas(town, town.classes.sum(axis=1).tolist(), tmp_path / "areas.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "areas.csv").read_text())))
    assert list(rows[0])[:7] == ["lsoa21cd", "lsoa21nm", "msoa21cd", "msoa21nm", "lad22cd", "lad22nm", "households"]
    assert list(rows[0])[7:13] == list(COMPOSITION_CLASSES)
    assert list(rows[0])[13:] == [*(f"people_{size}" for size in range(1, 9)), "employed"]
    sizes = [[int(row[f"people_{size}"]) for size in range(1, 9)] for row in rows]
    assert sizes == town.sizes.tolist()
    assert [float(row["employed"]) for row in rows] == pytest.approx(town.employed, abs=1e-4)
    assert [[int(row[name]) for name in COMPOSITION_CLASSES] for row in rows] == town.classes.tolist()
    assert [int(row["households"]) for row in rows] == town.classes.sum(axis=1).tolist()


def test_a_folder_of_the_full_tables_gives_the_same(tables: Path, tmp_path: Path):
    geography = tmp_path / "geography"
    geography.mkdir()
    for path in [*tables.glob("ts*.csv"), tables / LOOKUP]:
        place = geography if path.name == LOOKUP else tables
        (place / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    (tables / "msoa.geojson").rename(geography / "msoa.geojson")
    town, shipped = census.load(DISTRICT, tables), census.load(DISTRICT)
    assert town.boundaries == shipped.boundaries
    assert town.areas == shipped.areas
    assert np.array_equal(town.classes, shipped.classes)
    assert np.array_equal(town.sizes, shipped.sizes)
    assert np.array_equal(town.employed, shipped.employed)


def test_order_of_rows_and_spelling_of_headers_do_not_matter(tables: Path):
    change(tables / "ts003-lsoa.csv", lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
    change(tables / LOOKUP, lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
    path = tables / "ts017-lsoa.csv"
    path.write_text(path.read_text().replace("; measures: Value", ""))
    assert np.array_equal(census.load(DISTRICT, tables).classes, census.load(DISTRICT).classes)


@pytest.mark.parametrize("code", ["E06000099", "E06", "S12000033", "southampton", "../E06000045", ""])
def test_an_unknown_district_is_refused(code: str, tables: Path):
    for folder in (None, tables):
        with pytest.raises(GeographyError):
            census.load(code, folder)


def drop_column(rows: list[list[str]], ending: str) -> None:
    index = next(index for index, name in enumerate(rows[0]) if ending in name)
    for row in rows:
        del row[index]


def zero_households(rows: list[list[str]]) -> None:
    rows[5][3:] = ["0"] * len(rows[5][3:])


FAULTS = {
    "a column is missing": ("ts003", lambda rows: drop_column(rows, "Lone parent family: With dependent"), FormatError),
    "a total is missing": ("ts059", lambda rows: drop_column(rows, "Total"), FormatError),
    "no area codes": ("ts065", lambda rows: drop_column(rows, "geography code"), FormatError),
    "two columns of one name": ("ts017", lambda rows: [row.append(row[-1]) for row in rows], FormatError),
    "words for counts": ("ts003", lambda rows: rows[3].__setitem__(6, "c"), FormatError),
    "an empty cell": ("ts017", lambda rows: rows[3].__setitem__(6, ""), FormatError),
    "a column too many": (
        "ts003",
        lambda rows: [
            row.append("Household composition: Total of totals" if not n else "0") for n, row in enumerate(rows)
        ],
        FormatError,
    ),
    "negative counts": ("ts017", lambda rows: rows[3].__setitem__(6, "-4"), FormatError),
    "a short row": ("ts059", lambda rows: rows[3].pop(), FormatError),
    "a long row": ("ts059", lambda rows: rows[3].append("1"), FormatError),
    "one area twice": ("ts065", lambda rows: rows.append(rows[1]), FormatError),
    "nothing but a header": ("ts003", lambda rows: rows.__delitem__(slice(1, None)), GeographyError),
    "nothing at all": ("ts003", lambda rows: rows.clear(), FormatError),
    "an area is missing": ("ts003", lambda rows: rows.pop(), GeographyError),
    "an area without households": ("ts003", zero_households, DataError),
    "tables that disagree": ("ts017", lambda rows: rows[4].__setitem__(5, "4000"), DataError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_table_is_typed(fault: str, tables: Path):
    table, edit, error = FAULTS[fault]
    change(tables / f"{table}-lsoa.csv", edit)
    with pytest.raises(error) as caught:
        census.load(DISTRICT, tables)
    assert "4000" not in str(caught.value)


def test_faults_of_the_lookup_are_typed(tables: Path):
    path = tables / LOOKUP
    whole = path.read_text()
    change(path, lambda rows: rows.append(rows[1]))
    with pytest.raises(GeographyError):
        census.load(DISTRICT, tables)
    path.write_text(whole)
    change(path, lambda rows: drop_column(rows, "MSOA21CD"))
    with pytest.raises(FormatError):
        census.load(DISTRICT, tables)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ts003-lsoa.csv", b"\xff\xfe\x00not text"),
        ("ts003-lsoa.csv.gz", gzip.compress(b"date,geography\n" * 500, mtime=0)[:60]),
        ("ts003-lsoa.csv.gz", b"not compressed at all"),
        ("ts003-lsoa.csv.gz", gzip.compress(b"a,b\n" * 900, mtime=0)[:20] + b"\x00" * 40),
        ("msoa.geojson", b"{"),
        ("msoa.geojson", b"[1, 2]"),
    ],
)
def test_unreadable_files_are_typed(name: str, content: bytes, tables: Path):
    if name.endswith(".gz"):
        (tables / name.removesuffix(".gz")).unlink()
    (tables / name).write_bytes(content)
    with pytest.raises(FormatError):
        census.load(DISTRICT, tables)


def test_a_missing_table_is_named(tables: Path):
    (tables / "ts017-lsoa.csv").unlink()
    with pytest.raises(FormatError, match="ts017"):
        census.load(DISTRICT, tables)


def test_any_areas_of_any_district(tables: Path):
    town = census.load(DISTRICT)
    some = [town.areas[row].lsoa for row in (7, 3, 90)]
    picked = census.load_areas(some)
    assert [area.lsoa for area in picked.areas] == sorted(some)
    assert np.array_equal(picked.classes, town.classes[[3, 7, 90]])
    change(tables / LOOKUP, lambda rows: [row.__setitem__(4, "W06000015") for row in rows[1:60]])
    every = census.load_areas([], tables)
    assert every.areas[0].lad == "W06000015"
    assert np.array_equal(every.classes, town.classes)


def test_an_unknown_area_is_named():
    with pytest.raises(GeographyError, match=r"E01000001 .*--lsoas"):
        census.load_areas([census.load(DISTRICT).areas[0].lsoa, "E01000001"])


def test_an_area_without_households_and_a_surplus_column_are_named(tables: Path):
    change(tables / "ts003-lsoa.csv", zero_households)
    with pytest.raises(DataError, match=r"E01\d{6} .*no households"):
        census.load(DISTRICT, tables)
    change(tables / "ts017-lsoa.csv", lambda rows: [row.append("x: y" if not n else "1") for n, row in enumerate(rows)])
    with pytest.raises(FormatError, match="surplus"):
        census.load(DISTRICT, tables)


def absolute_errors(town: census.Census) -> tuple[float, float]:
    """Total absolute error of generated households, as a share: by composition, by size."""
    plans = households.plan_areas(town, scale=1, seed=2, drift=0)
    homes = [
        households.draw(plan, random_of(2, number_of(area.lsoa))) for plan, area in zip(plans, town.areas, strict=True)
    ]
    classes = np.stack([np.bincount(own.composition, minlength=6) for own in homes])
    sizes = np.stack([np.bincount(own.size, minlength=9)[1:] for own in homes])
    total = town.classes.sum()
    return abs(classes - town.classes).sum() / total, abs(sizes - town.sizes).sum() / total


def test_generated_households_are_the_census():
    composition, size = absolute_errors(census.load(DISTRICT))
    assert composition == 0
    assert size < 0.005


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_dir(), reason="the full census tables are not beside the repository")
@pytest.mark.parametrize("district", ["E09000030", "E07000181", "W06000015", "W06000008", "E06000052"])
def test_generated_households_are_the_census_elsewhere(district: str):
    composition, size = absolute_errors(census.load(district, FULL))
    assert composition < 0.001
    assert size < 0.01
