# SPDX-License-Identifier: Apache-2.0
"""The map as an OGC GeoPackage 1.3: one SQLite file with boundaries as they are published and the figures on them.

Written with Python's own SQLite. GDAL would do it too, but writes the time of day into the file: here the same release
gives the same bytes. What was written is read back and held against what was meant before it is handed on.

Geometry is the standard's binary (clause 2.1.3): "GP", version, flags, place of the grid, envelope, then well-known
binary, little-endian throughout. Boundaries of one and of several parts are all multipolygons, as a layer has one type.
"""

import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from skyglow_server.publication import words
from skyglow_server.publication.places import Place
from skyglow_server.publication.release import Release
from skyglow_shared.errors import InternalError

NAME, LAYER = "estimates-msoa.gpkg", "estimates_msoa"
_APPLICATION, _VERSION = 0x47504B47, 10300
_GRID = 27700
_POLYGON, _MULTIPOLYGON = 3, 6
_FLAGS = 0b0011  # little-endian, with an envelope of four numbers
_HEADER = struct.Struct("<2sBBi4d")

_OSGB36 = (
    'GEOGCS["OSGB36",DATUM["Ordnance_Survey_of_Great_Britain_1936",SPHEROID["Airy 1830",6377563.396,299.3249646,'
    'AUTHORITY["EPSG","7001"]],AUTHORITY["EPSG","6277"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4277"]]'
)
_BRITAIN = (
    f'PROJCS["OSGB36 / British National Grid",{_OSGB36},PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",49],PARAMETER["central_meridian",-2],PARAMETER["scale_factor",0.9996012717],'
    'PARAMETER["false_easting",400000],PARAMETER["false_northing",-100000],UNIT["metre",1,AUTHORITY["EPSG","9001"]],'
    'AXIS["Easting",EAST],AXIS["Northing",NORTH],AUTHORITY["EPSG","27700"]]'
)
_WORLD = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4326"]]'
)
_SYSTEMS = (
    ("Undefined Cartesian", -1, "NONE", -1, "undefined", None),
    ("Undefined geographic", 0, "NONE", 0, "undefined", None),
    ("WGS 84", 4326, "EPSG", 4326, _WORLD, None),
    ("OSGB36 / British National Grid", _GRID, "EPSG", _GRID, _BRITAIN, None),
)
_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
    description TEXT DEFAULT '', last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
    srs_id INTEGER, CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
    geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
    CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
    CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
    CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
"""

Ring = Sequence[Sequence[float]]
Parts = tuple[tuple[tuple[tuple[float, float], ...], ...], ...]


def geopackage(release: Release, places: Sequence[Place]) -> bytes:
    """Shares by MSOA on their boundaries, at least one, with what the release says of itself."""
    columns = _columns(places)
    meant = {place.code: (_parts(place), {name: place.figures.get(name) for name in columns}) for place in places}
    about = " ".join(filter(None, [release.banner, release.study.title]))
    content = _written(list(meant.values()), columns, about, f"{release.made.isoformat()}T00:00:00.000Z")
    if read(content) != meant:
        raise InternalError("a GeoPackage does not hold what was put into it; please report this")
    return content


def _written(
    places: Sequence[tuple[Parts, Mapping[str, Any]]], columns: Mapping[str, str], about: str, made: str
) -> bytes:
    kinds = ", ".join(f"{_quoted(name)} {kind}" for name, kind in columns.items())
    layer = f"CREATE TABLE {LAYER} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom MULTIPOLYGON, {kinds});"
    entry = (LAYER, "features", words.LEVELS["MSOA"], about, made, *_envelope(parts for parts, _ in places), _GRID)
    rows = [(None, _binary(parts), *figures.values()) for parts, figures in places]
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};")
        database.executescript(_TABLES + layer)
        _insert(database, "gpkg_spatial_ref_sys", _SYSTEMS)
        _insert(database, "gpkg_contents", [entry])
        _insert(database, "gpkg_geometry_columns", [(LAYER, "geom", "MULTIPOLYGON", _GRID, 0, 0)])
        _insert(database, LAYER, rows)
        database.commit()
        return database.serialize()


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    places = ", ".join("?" * len(rows[0]))
    database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608 - tables are constants


def read(content: bytes) -> dict[str, tuple[Parts, dict[str, Any]]]:
    """Boundaries (polygons of rings of places) and figures by area code, as a GeoPackage of `geopackage` holds them."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content)
        sound = [row[0] for row in database.execute("PRAGMA integrity_check")] == ["ok"]
        if not sound or database.execute("PRAGMA foreign_key_check").fetchall():
            raise InternalError("a GeoPackage is not a sound database; please report this")
        cursor = database.execute(f"SELECT * FROM {LAYER} ORDER BY fid")  # noqa: S608 - a constant
        names = [column[0] for column in cursor.description][2:]
        rows = [(row[1], dict(zip(names, row[2:], strict=True))) for row in cursor]
    return {figures["area_code"]: (_from_binary(blob), figures) for blob, figures in rows}


def _columns(places: Iterable[Place]) -> dict[str, str]:
    """Name and type of every figure that any place has."""
    names = dict.fromkeys(name for place in places for name in place.figures)
    number = ("_estimate", "_lower", "_upper")
    return {name: "DOUBLE" if name.endswith(number) else "TEXT" for name in names}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _parts(place: Place) -> Parts:
    kind, coordinates = place.geometry["type"], place.geometry["coordinates"]
    polygons: Sequence[Sequence[Ring]] = [coordinates] if kind == "Polygon" else coordinates
    return tuple(tuple(tuple((float(at[0]), float(at[1])) for at in ring) for ring in polygon) for polygon in polygons)


def _envelope(all_parts: Iterable[Parts]) -> tuple[float, float, float, float]:
    """Least x, least y, largest x, largest y."""
    x, y = zip(*(at for parts in all_parts for polygon in parts for ring in polygon for at in ring), strict=True)
    return min(x), min(y), max(x), max(y)


def _binary(parts: Parts) -> bytes:
    west, south, east, north = _envelope([parts])
    pieces = [_HEADER.pack(b"GP", 0, _FLAGS, _GRID, west, east, south, north)]
    pieces.append(struct.pack("<BII", 1, _MULTIPOLYGON, len(parts)))
    for polygon in parts:
        pieces.append(struct.pack("<BII", 1, _POLYGON, len(polygon)))
        for ring in polygon:
            pieces.append(struct.pack(f"<I{2 * len(ring)}d", len(ring), *(number for at in ring for number in at)))
    return b"".join(pieces)


def _from_binary(blob: bytes) -> Parts:
    at = _HEADER.size

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from(form, blob, at)
        at += struct.calcsize(form)
        return values

    def ring() -> tuple[tuple[float, float], ...]:
        numbers = take(f"<{2 * take('<I')[0]}d")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    polygons = take("<BII")[2]
    return tuple(tuple(ring() for _ in range(take("<BII")[2])) for _ in range(polygons))
