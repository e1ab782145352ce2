# SPDX-License-Identifier: Apache-2.0
"""The map: estimates on boundaries as GeoJSON in longitude and latitude (RFC 7946)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from skyglow_server.publication import words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.grid import longitude_latitude
from skyglow_server.publication.release import Release
from skyglow_shared.errors import GeographyError
from skyglow_shared.study import Study

NAME = "estimates-msoa.geojson"
CODE = "msoa21cd"
_GRID = "EPSG::27700"
_METRES = ((1_000.0, 700_000.0), (1_000.0, 1_300_000.0))  # no land lies on the grid's axes
_LEAST_RING = 4


def geojson(places: Iterable["Place"]) -> bytes:
    """Shares by MSOA on their boundaries."""
    features = [
        {
            "type": "Feature",
            "id": place.code,
            "geometry": {
                "type": place.geometry["type"],
                "coordinates": _placed(place.geometry["coordinates"]),
            },
            "properties": place.figures,
        }
        for place in places
    ]
    whole = {"type": "FeatureCollection", "features": features}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Place:
    """One MSOA: its boundary in metres of the British National Grid, and its figures by name."""

    code: str
    geometry: Mapping[str, Any]
    figures: Mapping[str, str | float | None]


def drawn(release: Release) -> tuple[Place, ...]:
    """The study's MSOAs by code, with every topic's share; none where there are no boundaries.

    Raises
    ------
    GeographyError
        The boundaries do not pass `check`.
    """
    if release.boundaries is None or release.boundaries.get("features") == []:
        return ()
    check(release.boundaries, release.study)
    figures: dict[str, dict[str, str | float | None]] = {}
    for (topic, level), items in release.tables.items():
        for item in items if level == "MSOA" else ():
            if item.group == "all":
                own = figures.setdefault(item.area_code, {"area_code": item.area_code, "area_name": item.area_name})
                numbers = zip(("estimate", "lower", "upper"), (item.estimate, item.lower, item.upper), strict=True)
                own |= {f"{topic}_{name}": _rounded(number) for name, number in numbers}
                own |= {f"{topic}_quality": words.quality(item), f"{topic}_shorthand": words.shorthand(item)}
    features = sorted(release.boundaries["features"], key=lambda feature: feature["properties"][CODE])
    codes = [feature["properties"][CODE] for feature in features]
    return tuple(
        Place(code, feature["geometry"], figures.get(code, {"area_code": code}))
        for code, feature in zip(codes, features, strict=True)
    )


def check(boundaries: Mapping[str, Any], study: Study) -> None:
    """Hold boundaries against a study's MSOAs.

    Raises
    ------
    GeographyError
        A code is not one of the study's MSOAs or there twice, an MSOA has no boundary, the grid is another, or a
        boundary is no polygon on it.
    """
    if _GRID not in str(boundaries.get("crs", "")):
        raise GeographyError("the boundaries do not say that they are on the British National Grid; use EPSG:27700")
    features = boundaries.get("features")
    drawn = [_code(feature) for feature in features] if isinstance(features, list) else []
    lost, foreign = set(study.msoas) - set(drawn), set(drawn) - set(study.msoas)
    if lost or foreign or len(set(drawn)) != len(drawn):
        raise GeographyError(
            f"the boundaries lack {len(lost)} of the study's MSOAs, hold {len(foreign)} that it has not"
            " or hold one twice; use the 2021 boundaries of the study's areas"
        )
    for code, feature in zip(drawn, features or (), strict=True):
        if not _is_boundary(feature.get("geometry")):
            raise GeographyError(
                f"the boundary of {code} is no polygon in metres of the British National Grid; use the published"
                " boundaries in EPSG:27700"
            )


def _code(feature: object) -> str:
    """The code that a feature says; empty where it says none."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    code = properties.get(CODE) if isinstance(properties, dict) else None
    return code if isinstance(code, str) else ""


def _is_boundary(geometry: object) -> bool:
    if not isinstance(geometry, dict):
        return False
    polygons = geometry.get("coordinates")
    if geometry.get("type") == "Polygon":
        polygons = [polygons]
    elif geometry.get("type") != "MultiPolygon":
        return False
    return _filled(polygons) and all(_filled(polygon) and all(map(_is_ring, polygon)) for polygon in polygons)


def _filled(parts: object) -> TypeGuard[list[Any]]:
    return isinstance(parts, list) and bool(parts)


def _is_ring(ring: object) -> bool:
    return isinstance(ring, list) and len(ring) >= _LEAST_RING and all(map(_is_place, ring)) and ring[0] == ring[-1]


def _is_place(place: object) -> bool:
    """Whether it is two numbers, and a height at most, that can be metres in Britain: degrees cannot."""
    if not isinstance(place, list) or not all(type(number) in {int, float} for number in place):
        return False
    return len(place) in {2, 3} and all(low <= at <= high for at, (low, high) in zip(place, _METRES, strict=False))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _placed(coordinates: Sequence[Any]) -> list[Any]:
    """Rings of any depth in longitude and latitude, to about a metre."""
    if isinstance(coordinates[0], int | float):
        return [round(angle, 5) for angle in longitude_latitude(float(coordinates[0]), float(coordinates[1]))]
    return [_placed(part) for part in coordinates]
