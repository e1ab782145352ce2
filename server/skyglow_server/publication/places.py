# SPDX-License-Identifier: Apache-2.0
"""The map: estimates on boundaries as GeoJSON in longitude and latitude (RFC 7946)."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from skyglow_server.publication import words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.grid import longitude_latitude
from skyglow_server.publication.release import Release
from skyglow_shared.errors import GeographyError

NAME = "estimates-msoa.geojson"
CODE = "msoa21cd"
_GRID = re.compile(r"EPSG:([\d.]*:)?27700\b")
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
        The boundaries are not `fitted`.
    """
    if release.boundaries is None or release.boundaries.get("features") == []:
        return ()
    fitting = fitted(release.boundaries, release.study.msoas)
    figures: dict[str, dict[str, str | float | None]] = {}
    for (topic, level), items in release.tables.items():
        for item in items if level == "MSOA" else ():
            if item.group == "all":
                own = figures.setdefault(item.area_code, {"area_code": item.area_code, "area_name": item.area_name})
                numbers = zip(("estimate", "lower", "upper"), (item.estimate, item.lower, item.upper), strict=True)
                own |= {f"{topic}_{name}": _rounded(number) for name, number in numbers}
                own |= {f"{topic}_quality": words.quality(item), f"{topic}_shorthand": words.shorthand(item)}
    features = sorted(fitting["features"], key=lambda feature: feature["properties"][CODE])
    codes = [feature["properties"][CODE] for feature in features]
    return tuple(
        Place(code, feature["geometry"], figures.get(code, {"area_code": code}))
        for code, feature in zip(codes, features, strict=True)
    )


def fitted(boundaries: Mapping[str, Any], msoas: Iterable[str]) -> dict[str, Any]:
    """These MSOAs alone, out of boundaries that may be a whole country's, with names of properties lower-case.

    Raises
    ------
    GeographyError
        An MSOA has no boundary or two, the grid is another, or a boundary is no polygon on it.
    """
    if not _GRID.search(str(boundaries.get("crs", ""))):
        raise GeographyError("the boundaries do not say that they are on the British National Grid; use EPSG:27700")
    found, wanted = boundaries.get("features"), set(msoas)
    named = [_named(feature) for feature in found] if isinstance(found, list) else []
    features = [feature for feature in named if feature["properties"].get(CODE) in wanted]
    codes = [feature["properties"][CODE] for feature in features]
    if set(codes) != wanted:
        raise GeographyError(
            f"the boundaries lack {len(wanted - set(codes))} of the study's MSOAs; use those of MSOAs of 2021 that hold"
            f" all of the study's places, with the codes in a property {CODE}"
        )
    if len(codes) > len(wanted):
        raise GeographyError("the boundaries hold one of the study's MSOAs twice; keep one feature an MSOA")
    for code, feature in zip(codes, features, strict=True):
        if not _is_boundary(feature.get("geometry")):
            raise GeographyError(
                f"the boundary of {code} is no polygon in metres of the British National Grid; use the published"
                " boundaries in EPSG:27700"
            )
    return {**boundaries, "features": features}


def _named(feature: object) -> dict[str, Any]:
    """A feature with the names of its properties lower-case, and a code that is a text; else one of no place."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(feature, dict) or not isinstance(properties, dict):
        return {"properties": {}}
    lower = {name.lower(): value for name, value in properties.items()}
    return {**feature, "properties": lower if isinstance(lower.get(CODE), str) else {}}


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
