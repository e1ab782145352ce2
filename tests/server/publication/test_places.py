# SPDX-License-Identifier: Apache-2.0
"""Maps lie where the areas lie, and boundaries that are not the study's are refused."""

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
def test_boundaries_of_other_areas_are_refused(release, boundaries, spoil):
    spoil(boundaries["features"])
    with pytest.raises(GeographyError, match="boundaries"):
        places.drawn(release)


def test_another_grid_is_refused(release, boundaries):
    del boundaries["crs"]
    with pytest.raises(GeographyError, match="British National Grid"):
        places.drawn(release)
