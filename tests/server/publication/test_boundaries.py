# SPDX-License-Identifier: Apache-2.0
"""Boundaries are refused unless they are polygons in metres, one an area: a map neither breaks nor misleads."""

import math

import pytest

from skyglow_server.publication import places
from skyglow_shared.errors import GeographyError

RING = [[441000, 112000], [441900, 112000], [441900, 112900], [441000, 112000]]

FEATURES = {
    "no feature": None,
    "a text": "E02000001",
    "nothing said": {},
    "no properties": {"properties": None, "geometry": {"type": "Polygon", "coordinates": [RING]}},
    "a list for a code": {"properties": {"msoa21cd": ["E02000001"]}, "geometry": None},
}

GEOMETRIES = {
    "none": None,
    "of nothing": {},
    "a point": {"type": "Point", "coordinates": [441000, 112000]},
    "a collection": {"type": "GeometryCollection", "geometries": []},
    "no polygons": {"type": "MultiPolygon", "coordinates": []},
    "no rings": {"type": "Polygon", "coordinates": []},
    "an empty ring": {"type": "Polygon", "coordinates": [[]]},
    "a ring too deep": {"type": "MultiPolygon", "coordinates": [RING]},
    "two places": {"type": "Polygon", "coordinates": [RING[:2]]},
    "an open ring": {"type": "Polygon", "coordinates": [[*RING[:3], [441900, 112100]]]},
    "one number a place": {"type": "Polygon", "coordinates": [[[441000]] * 4]},
    "words": {"type": "Polygon", "coordinates": [[["east", "north"]] * 4]},
    "truth values": {"type": "Polygon", "coordinates": [[[True, True]] * 4]},
    "no number": {"type": "Polygon", "coordinates": [[[math.nan, 112000], *RING[1:3], [math.nan, 112000]]]},
    "endless": {"type": "Polygon", "coordinates": [[[math.inf, 112000], *RING[1:3], [math.inf, 112000]]]},
    "off the grid": {"type": "Polygon", "coordinates": [[[1e300, 112000], *RING[1:3], [1e300, 112000]]]},
    "degrees": {"type": "Polygon", "coordinates": [[[-1.4, 50.9], [-1.3, 50.9], [-1.3, 51.0], [-1.4, 50.9]]]},
    "degrees, east": {"type": "Polygon", "coordinates": [[[1.4, 50.9], [1.3, 50.9], [1.3, 51.0], [1.4, 50.9]]]},
}


@pytest.mark.parametrize("case", FEATURES)
def test_what_is_no_area_is_refused(release, boundaries, case):
    boundaries["features"][0] = FEATURES[case]
    with pytest.raises(GeographyError, match="lack 1"):
        places.drawn(release)


@pytest.mark.parametrize("case", GEOMETRIES)
def test_what_is_no_polygon_on_the_grid_is_refused(release, boundaries, case):
    boundaries["features"][0]["geometry"] = GEOMETRIES[case]
    with pytest.raises(GeographyError, match="E02000001 is no polygon"):
        places.drawn(release)


@pytest.mark.parametrize("features", [None, {}, "all", []])
def test_a_file_of_no_boundaries_is_refused(release, boundaries, features):
    with pytest.raises(GeographyError, match="lack 2"):
        places.fitted({**boundaries, "features": features}, release.study.msoas)


def test_a_height_is_let_pass_and_not_drawn(release, boundaries):
    boundaries["features"][0]["geometry"]["coordinates"] = [[[*place, 12.5] for place in RING]]
    drawn = {place.code: place for place in places.drawn(release)}
    assert b"12.5" not in places.geojson([drawn["E02000001"]])
