# SPDX-License-Identifier: Apache-2.0
"""The map: estimates on boundaries as GeoJSON in longitude and latitude (RFC 7946)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyglow_server.publication import words
from skyglow_server.publication.columns import DIGITS
from skyglow_server.publication.grid import longitude_latitude
from skyglow_server.publication.release import Release
from skyglow_shared.errors import GeographyError

NAME = "estimates-msoa.geojson"
CODE = "msoa21cd"
_GRID = "EPSG::27700"


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
        A boundary's code is not one of the study's MSOAs, an MSOA has no boundary, or the grid is another.
    """
    if release.boundaries is None or not release.boundaries.get("features"):
        return ()
    _check(release)
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


def _check(release: Release) -> None:
    boundaries: Mapping[str, Any] = release.boundaries or {}
    if _GRID not in str(boundaries.get("crs", "")):
        raise GeographyError("the boundaries do not say that they are on the British National Grid; use EPSG:27700")
    drawn = [feature["properties"].get(CODE) for feature in boundaries["features"]]
    lost, foreign = set(release.study.msoas) - set(drawn), set(drawn) - set(release.study.msoas)
    if lost or foreign or len(set(drawn)) != len(drawn):
        raise GeographyError(
            f"the boundaries lack {len(lost)} of the study's MSOAs, hold {len(foreign)} that it has not"
            " or hold one twice; use the 2021 boundaries of the study's areas"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _placed(coordinates: Sequence[Any]) -> list[Any]:
    """Rings of any depth in longitude and latitude, to about a metre."""
    if isinstance(coordinates[0], int | float):
        return [round(angle, 5) for angle in longitude_latitude(float(coordinates[0]), float(coordinates[1]))]
    return [_placed(part) for part in coordinates]
