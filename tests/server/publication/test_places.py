# SPDX-License-Identifier: Apache-2.0
"""Maps lie where the areas lie, and boundaries that do not cover the study are refused."""

import json
from dataclasses import replace
from math import degrees

import pytest

from skyglow_server.publication import grid, places
from skyglow_shared.errors import GeographyError


def test_the_grid_is_the_ordnance_surveys():
    """The worked example of annexe C: a water tower at Caister."""
    latitude, longitude = grid.grid_to_airy(651409.903, 313177.270)
    assert degrees(latitude) == pytest.approx(52 + 39 / 60 + 27.2531 / 3600, abs=1e-8)
    assert degrees(longitude) == pytest.approx(1 + 43 / 60 + 4.5177 / 3600, abs=1e-8)


def test_the_shift_of_the_datum_is_that_of_the_seven_parameters():
    """The same tower by satellite: about 100 m east and 50 m south of its old latitude and longitude."""
    assert grid.longitude_latitude(651409.903, 313177.270) == pytest.approx((1.71607, 52.65798), abs=1e-4)


def test_features_carry_figures_and_marks(release):
    found = json.loads(places.geojson(places.drawn(release)))
    first, second = found["features"]
    assert (first["id"], second["id"]) == ("E02000000", "E02000001")
    assert "crs" not in found
    assert first["properties"] == {
        "area_code": "E02000000",
        "area_name": "Town 000",
        "all_aged_66_plus_estimate": 0.2,
        "all_aged_66_plus_lower": 0.18,
        "all_aged_66_plus_upper": 0.22,
        "all_aged_66_plus_quality": "precise",
        "all_aged_66_plus_shorthand": "",
    }
    assert second["properties"]["all_aged_66_plus_estimate"] is None
    assert second["properties"]["all_aged_66_plus_shorthand"] == "[x]"
    longitude, latitude = first["geometry"]["coordinates"][0][0]
    assert (longitude, latitude) == pytest.approx((-1.417, 50.907), abs=2e-3)


def test_without_boundaries_there_is_no_map(release):
    assert places.drawn(replace(release, boundaries=None)) == ()
    assert places.drawn(replace(release, boundaries={"features": []})) == ()


def spoil_code(features):
    features[0]["properties"]["msoa21cd"] = "E02000009"


@pytest.mark.parametrize("spoil", [spoil_code, list.pop, lambda features: features.append(features[0])])
def test_boundaries_that_lack_an_area_or_hold_it_twice_are_refused(release, boundaries, spoil):
    spoil(boundaries["features"])
    with pytest.raises(GeographyError, match="boundaries"):
        places.drawn(release)


def test_of_a_whole_country_the_studys_places_are_drawn(release, boundaries):
    own = places.geojson(places.drawn(release))
    for feature in boundaries["features"]:
        feature["properties"] = {name.upper(): value for name, value in feature["properties"].items()}
    elsewhere = {"MSOA21CD": "W02000001", "OBJECTID": 7}
    boundaries["features"].insert(1, {"type": "Feature", "properties": elsewhere, "geometry": None})
    assert places.geojson(places.drawn(release)) == own


@pytest.mark.parametrize("name", ["EPSG:27700", "urn:ogc:def:crs:EPSG::27700", "urn:ogc:def:crs:EPSG:9.8:27700"])
def test_the_grid_may_be_named_in_any_of_its_ways(release, boundaries, name):
    boundaries["crs"]["properties"]["name"] = name
    assert len(places.drawn(release)) == 2


def test_another_grid_is_refused(release, boundaries):
    del boundaries["crs"]
    with pytest.raises(GeographyError, match="British National Grid"):
        places.drawn(release)


def test_a_grid_of_another_number_is_refused(release, boundaries):
    boundaries["crs"]["properties"]["name"] = "EPSG:277001"
    with pytest.raises(GeographyError, match="British National Grid"):
        places.drawn(release)
