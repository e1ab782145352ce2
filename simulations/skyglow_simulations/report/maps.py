# SPDX-License-Identifier: Apache-2.0
"""The map of MSOAs and of districts, coloured by share, each area reachable by pointer and keyboard."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.scales import Classes
from skyglow_simulations.report.svg import Point, picture, tag, title
from skyglow_simulations.report.wording import area_words

_WIDTH = 560.0
_TALLEST = 640.0
_UP, _DOWN = "M0,-6L5.6,4.4L-5.6,4.4Z", "M0,6L5.6,-4.4L-5.6,-4.4Z"
_HATCH = "url(#hatch)"

Ring = list[Point]


def draw(
    boundaries: Mapping[str, Any],
    estimates: Sequence[Estimate],
    within: Mapping[str, str],
    classes: Classes,
    label: str,
) -> Markup:
    """Draw the map; areas without a published estimate are hatched, areas apart from their district are marked.

    Districts lie over it in a layer that the page's switch shows in place of the MSOAs'.

    Parameters
    ----------
    boundaries : GeoJSON FeatureCollection
        Features with properties ``msoa21cd`` and ``msoa21nm``, coordinates in metres, north up.
    estimates : sequence of Estimate
        One an MSOA, and one a district.
    within : mapping of str to str
        District of each MSOA, by code.
    classes : Classes
    label : str
        The drawing's accessible name.
    """
    known = {item.area_code: item for item in estimates}
    shapes = [(feature["properties"], list(_polygons(feature["geometry"]))) for feature in boundaries["features"]]
    places = [point for _, polygons in shapes for rings in polygons for ring in rings for point in ring]
    left, right = min(x for x, _ in places), max(x for x, _ in places)
    bottom, top = min(y for _, y in places), max(y for _, y in places)
    scale = min(_WIDTH / (right - left), _TALLEST / (top - bottom))

    def place(point: Point) -> Point:
        return (point[0] - left) * scale, (top - point[1]) * scale

    areas, marks, parts = [], [], defaultdict[str, list[Ring]](list)
    for names, polygons in shapes:
        code = names["msoa21cd"]
        item, district = known.get(code), known.get(within.get(code, ""))
        rings = [[place(point) for point in ring] for rings in polygons for ring in rings]
        parts[within.get(code, "")] += rings
        areas.append(_area(code, names.get("msoa21nm", code), item, rings, classes))
        centre = None if district is None else district.estimate
        marks.append(_mark(code, side(item, centre), _centre(max(rings, key=_doubled_area, default=[]))))
    districts = [item for item in estimates if item.level == "LAD"]
    wholes = [_area(one.area_code, one.area_name, one, _outline(parts[one.area_code]), classes) for one in districts]
    size = ((right - left) * scale + 4, (top - bottom) * scale + 4)
    # the outline of the area that is read is drawn over its neighbours
    over = tag("path", {"d": "", "class": "outline", "aria-hidden": "true"})
    layers = (
        tag("g", {"data-level": "MSOA"}, *areas),
        tag("g", {"data-level": "LAD", "style": "display:none"}, *wholes),
        over,
        tag("g", {"data-level": "MSOA", "aria-hidden": "true"}, *marks),
    )
    drawn = tag("g", {"transform": "translate(2 2)"}, *layers)
    return picture(size, label, tag("defs", {}, _hatch()), drawn, kind="map")


def side(item: Estimate | None, district: float | None) -> int:
    """1 where a whole interval lies above the district's estimate, -1 where below, else 0."""
    if item is None or item.lower is None or item.upper is None or district is None:
        return 0
    return int(item.lower > district) - int(item.upper < district)


def _area(code: str, name: str, item: Estimate | None, rings: Sequence[Ring], classes: Classes) -> Markup:
    drawn = "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in ring) + "Z" for ring in rings)
    fill = _HATCH if item is None or item.estimate is None else classes.colour(item.estimate)
    attributes = {"d": drawn, "fill": fill, "data-code": code, "class": "area", "tabindex": 0, "role": "img"}
    words = area_words(name, item)
    return tag("path", {**attributes, "fill-rule": "evenodd", "aria-label": words}, title(words))


def _mark(code: str, side: int, at: Point) -> Markup:
    shape = {1: _UP, -1: _DOWN}.get(side, "")
    where = f"translate({at[0]:.1f} {at[1]:.1f})"
    return tag("path", {"d": shape, "class": "mark", "data-mark": code, "transform": where})


def _hatch() -> Markup:
    return tag(
        "pattern",
        {"id": "hatch", "width": 6, "height": 6, "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"},
        tag("rect", {"width": 6, "height": 6, "fill": "#ffffff"}),
        tag("rect", {"width": 2, "height": 6, "fill": "#6b7280"}),
    )


def _polygons(geometry: Mapping[str, Any]) -> Iterator[list[Ring]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        yield [[(float(point[0]), float(point[1])) for point in ring] for ring in polygon]


def _outline(rings: Sequence[Ring]) -> list[Ring]:
    """Rings about areas taken together: an edge between two of them, one's way there and the other's back, is no edge.

    What is left is as often left at a corner as it is come to, so every walk along it ends where it began.
    """
    edges = Counter(edge for ring in rings for edge in pairwise(ring))
    ahead: dict[Point, list[Point]] = {}
    for (start, end), times in edges.items():
        if times > edges[end, start]:
            ahead.setdefault(start, []).extend([end] * (times - edges[end, start]))
    found = []
    while ahead:
        ring = [next(iter(ahead))]
        while ring[-1] in ahead:
            at = ring[-1]
            ring.append(ahead[at].pop())
            if not ahead[at]:
                del ahead[at]
        found.append(ring)
    return found


def _doubled_area(ring: Ring) -> float:
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(ring, [*ring[1:], *ring[:1]], strict=True)))


def _centre(ring: Ring) -> Point:
    """A place well inside a ring: the middle of the widest stretch of land on the best of a few horizontal lines."""
    if not ring:
        return 0.0, 0.0
    low, high = min(y for _, y in ring), max(y for _, y in ring)
    best = (-1.0, ring[0])
    for part in (0.3, 0.4, 0.5, 0.6, 0.7):
        level = low + (high - low) * part
        sides = zip(ring, [*ring[1:], *ring[:1]], strict=True)
        cuts = sorted(x + (level - y) / (v - y) * (u - x) for (x, y), (u, v) in sides if (y <= level) != (v <= level))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False):
            best = max(best, (end - start, ((start + end) / 2, level)))
    return best[1]
