# SPDX-License-Identifier: Apache-2.0
"""Areas in order of their estimates, every one with its interval, and the answer's own interval at the top."""

from collections.abc import Sequence

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.svg import Axis, group, line, picture, tag, text, title
from skyglow_simulations.report.wording import WITHHELD, area_words, percent

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 560.0, 190.0, 540.0, 34.0, 17.0
_LONGEST = 22


def draw(
    estimates: Sequence[Estimate], district: Estimate | None, ends: tuple[float, float, float], label: str
) -> Markup:
    """Draw one row an area, highest first, withheld ones last.

    Parameters
    ----------
    estimates : sequence of Estimate
    district : Estimate or None
        Drawn as a line with its band behind the rows.
    ends : (float, float, float)
        Low end, high end and step of the axis.
    label : str
    """
    low, high, step = ends
    x = Axis(low, high, _LEFT, _RIGHT)
    ordered = sorted(estimates, key=lambda item: -1.0 if item.estimate is None else item.estimate, reverse=True)
    bottom = _TOP + _ROW * len(ordered) + 4
    ticks = []
    for tick in x.ticks(step):
        ticks += [
            line((x(tick), _TOP - 8), (x(tick), bottom), "grid"),
            text((x(tick), _TOP - 14), percent(tick, 0 if step >= 0.01 else 1), text_anchor="middle"),
        ]
    rows = [_row(item, _TOP + _ROW * (place + 0.5), x) for place, item in enumerate(ordered)]
    return picture(
        (_WIDTH, bottom + 6),
        label,
        group("ticks", *ticks),
        _band(district, x, bottom),
        *rows,
        kind="chart ranking",
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        row=_ROW,
        bottom=bottom,
    )


def answer(district: Estimate, truth: float | None, high: float, label: str) -> Markup:
    """The district's estimate and interval on one line, drawn as a light in the dark."""
    if district.estimate is None or district.lower is None or district.upper is None:
        return Markup("")
    x = Axis(0.0, high, 20.0, 540.0)
    step = 0.05 if high <= 0.5 else 0.1
    parts = [line((x(0), 40), (x(high), 40), "sky")]
    for tick in x.ticks(step):
        parts += [
            line((x(tick), 40), (x(tick), 46), "sky"),
            text((x(tick), 64), percent(tick, 0), text_anchor="middle"),
        ]
    width = x(district.upper) - x(district.lower)
    parts += [
        tag("rect", {"x": x(district.lower), "y": 31, "width": width, "height": 18, "rx": 9, "class": "glow"}),
        tag("circle", {"cx": x(district.estimate), "cy": 40, "r": 6.5, "class": "light"}),
    ]
    if truth is not None:
        at = x(truth)
        parts.append(tag("path", {"d": f"M{at:.1f},14l5.5,8l-5.5,8l-5.5,-8Z", "class": "true"}))
    return picture((560, 72), label, *parts, kind="answer")


def _row(item: Estimate, y: float, x: Axis) -> Markup:
    known = item.estimate is not None and item.lower is not None and item.upper is not None
    start, middle, end = (x(float(value or x.low)) for value in (item.lower, item.estimate, item.upper))
    hidden = {"visibility": "visible" if known else "hidden"}
    return group(
        "row",
        tag("rect", {"x": 0, "y": -_ROW / 2, "width": _WIDTH, "height": _ROW, "class": "back"}),
        text((_LEFT - 10, 4.5), _short(item.area_name), text_anchor="end"),
        tag("line", {"x1": start, "x2": end, "y1": 0, "y2": 0, "class": "interval", **hidden}),
        tag("circle", {"cx": middle, "cy": 0, "r": 3.8, "class": "dot", **hidden}),
        text((_LEFT + 6, 4.5), "" if known else WITHHELD, **{"class": "none"}),
        title(area_words(item.area_name, item)),
        data_code=item.area_code,
        transform=f"translate(0 {y:.1f})",
    )


def _short(name: str) -> str:
    """A name that fits its column; its end, which tells areas of one town apart, is kept."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 5].rstrip()}…{name[-4:]}"


def _band(district: Estimate | None, x: Axis, bottom: float) -> Markup:
    if district is None or district.estimate is None or district.lower is None or district.upper is None:
        return Markup("")
    width = x(district.upper) - x(district.lower)
    return group(
        "district",
        tag("rect", {"x": x(district.lower), "y": _TOP - 6, "width": width, "height": bottom - _TOP + 6}),
        line((x(district.estimate), _TOP - 6), (x(district.estimate), bottom), ""),
    )
