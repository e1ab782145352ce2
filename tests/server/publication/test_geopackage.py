# SPDX-License-Identifier: Apache-2.0
"""The GeoPackage says what the GeoJSON says, on the grid that the boundaries came on, and is one to other readers."""

import json
import sqlite3
import struct
from contextlib import closing

import pyogrio
import pytest

from skyglow_server.publication import geopackage, places
from skyglow_shared.errors import GeographyError, InternalError

HOLE = [[441100, 112100], [441100, 112200], [441200, 112200], [441200, 112100], [441100, 112100]]


@pytest.fixture
def content(release):
    return geopackage.geopackage(release, places.drawn(release))


def rows(content, query):
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content)
        return database.execute(query).fetchall()


def test_it_holds_the_figures_and_boundaries_of_the_map(release, boundaries, content):
    found = geopackage.read(content)
    features = json.loads(places.geojson(places.drawn(release)))["features"]
    drawn = {feature["id"]: feature["properties"] for feature in features}
    assert {code: figures for code, (_, figures) in found.items()} == drawn
    rings = {
        feature["properties"]["msoa21cd"]: feature["geometry"]["coordinates"] for feature in boundaries["features"]
    }
    for code, (parts, _) in found.items():
        assert [[list(map(list, ring)) for ring in polygon] for polygon in parts] == [rings[code]]


def test_its_head_and_tables_are_the_standards(content):
    assert content[:16] == b"SQLite format 3\0"
    assert content[68:72] == b"GPKG"
    assert struct.unpack(">I", content[60:64]) == (10300,)
    assert rows(content, "SELECT data_type, srs_id, min_x, max_x FROM gpkg_contents") == [
        ("features", 27700, 441000.0, 442900.0)
    ]
    assert rows(content, "SELECT geometry_type_name, srs_id, z, m FROM gpkg_geometry_columns") == [
        ("MULTIPOLYGON", 27700, 0, 0)
    ]
    assert {row[0] for row in rows(content, "SELECT srs_id FROM gpkg_spatial_ref_sys")} == {-1, 0, 4326, 27700}


def test_a_boundarys_envelope_is_least_and_largest_x_then_y(content):
    blobs = [row[0] for row in rows(content, "SELECT geom FROM estimates_msoa ORDER BY fid")]
    assert [struct.unpack_from("<4d", blob, 8) for blob in blobs] == [
        (441000.0, 441900.0, 112000.0, 112900.0),
        (442000.0, 442900.0, 112000.0, 112900.0),
    ]
    assert {struct.unpack_from("<2sBBi", blob) for blob in blobs} == {(b"GP", 0, 3, 27700)}


def test_holes_and_parts_survive(release, boundaries):
    first, second = (feature["geometry"] for feature in boundaries["features"])
    second["coordinates"].append(HOLE)
    first.update(type="MultiPolygon", coordinates=[first["coordinates"], [HOLE]])
    found = geopackage.read(geopackage.geopackage(release, places.drawn(release)))
    assert [[len(ring) for ring in polygon] for polygon in found["E02000001"][0]] == [[5], [5]]
    assert [[len(ring) for ring in polygon] for polygon in found["E02000000"][0]] == [[5, 5]]


def test_the_same_release_gives_the_same_bytes(release, content):
    assert geopackage.geopackage(release, places.drawn(release)) == content


def test_a_line_is_no_boundary(release, boundaries):
    boundaries["features"][0]["geometry"]["type"] = "LineString"
    with pytest.raises(GeographyError, match="no polygon"):
        geopackage.geopackage(release, places.drawn(release))


def test_what_was_not_written_as_it_was_meant_is_noticed(release, monkeypatch):
    monkeypatch.setattr(geopackage, "_binary", lambda place: b"\0" * geopackage._HEADER.size + bytes(9))
    with pytest.raises(InternalError):
        geopackage.geopackage(release, places.drawn(release))


def test_gdal_reads_it(content, tmp_path):
    path = tmp_path / "map.gpkg"
    path.write_bytes(content)
    about = pyogrio.read_info(path)
    assert (about["crs"], about["geometry_type"], about["features"]) == ("EPSG:27700", "MultiPolygon", 2)
