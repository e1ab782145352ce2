# SPDX-License-Identifier: Apache-2.0
"""The map of MSOAs, coloured by share, each area reachable by pointer and keyboard."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.svg import picture, tag, title

#: One hue from light to dark; neighbouring steps differ in lightness enough for every kind of colour vision.
RAMP = ("#f3eed9", "#d9d3a5", "#a8bd8f", "#6fa287", "#3f8282", "#245f74", "#153d5c")
_WIDTH = 560.0


def thresholds(values: Sequence[float]) -> list[float]:
    """Upper ends of all but the last colour: equal steps over the values' range."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return [low + (high - low) * step / len(RAMP) for step in range(1, len(RAMP))]


def colour(value: float, ends: Sequence[float]) -> str:
    """The colour of a value."""
    return RAMP[sum(value > end for end in ends)]


def draw(boundaries: Mapping[str, Any], estimates: Sequence[Estimate], label: str) -> Markup:
    """Draw the map; areas without a published estimate are hatched.

    Parameters
    ----------
    boundaries : GeoJSON FeatureCollection
        Features with property ``msoa21cd``, coordinates in metres, north up.
    estimates : sequence of Estimate
        One an MSOA.
    label : str
        The drawing's accessible name.
    """
    known = {item.area_code: item for item in estimates}
    ends = thresholds([item.estimate for item in estimates if item.estimate is not None])
    shapes = [(feature["properties"], list(_rings(feature["geometry"]))) for feature in boundaries["features"]]
    places = [point for _, rings in shapes for ring in rings for point in ring]
    left, right = min(x for x, _ in places), max(x for x, _ in places)
    bottom, top = min(y for _, y in places), max(y for _, y in places)
    scale = _WIDTH / (right - left)
    hatch = tag(
        "pattern",
        {"id": "hatch", "width": 6, "height": 6, "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"},
        tag("rect", {"width": 6, "height": 6, "fill": "#ffffff"}),
        tag("rect", {"width": 2, "height": 6, "fill": "#8a8f98"}),
    )
    areas = []
    for names, rings in shapes:
        item = known.get(names["msoa21cd"])
        drawn = "".join(
            "M" + "L".join(f"{(x - left) * scale:.1f},{(top - y) * scale:.1f}" for x, y in ring) + "Z" for ring in rings
        )
        fill = "url(#hatch)" if item is None or item.estimate is None else colour(item.estimate, ends)
        attributes = {"d": drawn, "fill": fill, "data-code": names["msoa21cd"], "class": "area", "tabindex": 0}
        areas.append(tag("path", {**attributes, "role": "img"}, title(words(item, names["msoa21nm"]))))
    size = (_WIDTH + 2, (top - bottom) * scale + 2)
    return picture(size, label, tag("defs", {}, hatch), tag("g", {"transform": "translate(1 1)"}, *areas), kind="map")


def words(item: Estimate | None, name: str) -> str:
    """An area's estimate in words."""
    if item is None or item.estimate is None or item.lower is None or item.upper is None:
        return f"{name}: withheld"
    return f"{name}: {100 * item.estimate:.1f} % (between {100 * item.lower:.1f} and {100 * item.upper:.1f} %)"


def _rings(geometry: Mapping[str, Any]) -> Iterator[list[tuple[float, float]]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        for ring in polygon:
            yield [(float(point[0]), float(point[1])) for point in ring]
