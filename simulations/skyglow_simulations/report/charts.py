# SPDX-License-Identifier: Apache-2.0
"""The report's charts: estimate against truth, methods compared, curves of the day."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.scales import axis
from skyglow_simulations.report.svg import Axis, Point, line, path, picture, tag, text, title
from skyglow_simulations.report.wording import WITHHELD, area_words, clock, percent, points

SLOTS = 48
_OFF_SCALE = 2.5  # a method this many times worse than the next worst is drawn beyond the axis


def against_truth(pairs: Sequence[tuple[Estimate, float]], label: str) -> Markup:
    """Estimates with their 95 % intervals over the truth; the diagonal is perfection.

    Parameters
    ----------
    pairs : sequence of (Estimate, float)
        Published estimates with intervals, and their truths.
    label : str
    """
    values = [value for item, true in pairs for value in (float(item.upper or 0), true)]
    low, high, step = axis(values, zero=True, most=7)
    x, y = Axis(low, high, 84, 528), Axis(low, high, 430, 16)
    parts = [*_grid(x, y, step), line((x(low), y(low)), (x(high), y(high)), "diagonal")]
    # misses are drawn last: they must not hide behind the many that hold
    for item, true in sorted(pairs, key=lambda pair: not holds(*pair)):
        estimate, lower, upper = (float(value or 0) for value in (item.estimate, item.lower, item.upper))
        words = f"{area_words(item.area_name, item)}; truth {percent(true)}"
        kind = "holds" if holds(item, true) else "misses"
        parts.append(line((x(true), y(lower)), (x(true), y(upper)), f"interval {kind}"))
        at = x(true), y(estimate)
        if kind == "holds":
            parts.append(tag("circle", {"cx": at[0], "cy": at[1], "r": 3.2, "class": kind}, title(words)))
        else:
            parts.append(_cross(at, words))
    parts += [
        text((306, 488), "true share of homes", text_anchor="middle", **{"class": "axis"}),
        text((18, 222), "estimate", text_anchor="middle", transform="rotate(-90 18 222)", **{"class": "axis"}),
    ]
    return picture((560, 496), label, *parts)


def holds(item: Estimate, true: float) -> bool:
    """Whether an interval contains the truth."""
    return item.lower is not None and item.upper is not None and item.lower <= true <= item.upper


def methods(errors: Mapping[str, float], ours: str, label: str) -> Markup:
    """Errors of methods as dots, smallest first; ours is the filled one.

    Parameters
    ----------
    errors : mapping of method to root-mean-square error
    ours : str
    label : str
    """
    ordered = sorted(errors.items(), key=lambda pair: pair[1])
    worst = _drawn_worst([error for _, error in ordered])
    x = Axis(0, worst * 1.02 or 1, 8, 312)
    parts = [line((x(0), 6), (x(0), 46 * len(ordered) + 4), "base")]
    for place, (method, error) in enumerate(ordered):
        y = 46.0 * place + 34
        kind = "ours" if method == ours else "other"
        beyond = error > worst
        end = 318.0 if beyond else x(error)
        parts += [
            text((x(0) + 8, y - 12), method, **{"class": kind}),
            line((x(0), y), (end, y), f"stem {kind}{' beyond' if beyond else ''}"),
        ]
        if beyond:
            parts.append(tag("path", {"d": f"M{end:.1f},{y - 6:.1f}l10,6l-10,6", "class": "arrow"}))
        else:
            parts.append(tag("circle", {"cx": end, "cy": y, "r": 6, "class": kind}))
        parts.append(text((end + 14, y + 5), points(error), **{"class": kind}))
    return picture((370, 46 * len(ordered) + 8), label, *parts)


def day(
    estimates: Sequence[Estimate],
    truth: Sequence[float] | None,
    public: Sequence[float] | None,
    low: float,
    label: str,
    *,
    small: bool = False,
) -> Markup:
    """Share of homes occupied through one day: band, estimate, truth and the public mean curve.

    Parameters
    ----------
    estimates : sequence of Estimate, length 48
    truth, public : sequence of float, length 48, optional
    low : float
        Lower end of the axis; nothing drawn lies below it.
    label : str
    small : bool
        Without axes, for a page of many.
    """
    size = (180.0, 84.0) if small else (560.0, 330.0)
    x = Axis(0, 24, 4 if small else 70, size[0] - (4 if small else 36))
    y = Axis(low, 1.0, size[1] - (4 if small else 36), 6 if small else 18)
    parts: list[Markup] = []
    if not small:
        for tick in y.ticks(0.1):
            parts += [
                line((x(0), y(tick)), (x(24), y(tick)), "grid"),
                text((x(0) - 8, y(tick) + 5), percent(tick, 0), text_anchor="end"),
            ]
        parts += [text((x(hour), size[1] - 12), clock(2 * round(hour)), text_anchor="middle") for hour in x.ticks(4)]
    known = [item for item in estimates if None not in (item.estimate, item.lower, item.upper)]
    plot = {"left": x.start, "right": x.end, "bottom": y.start, "top": y.end, "low": str(low)}
    if len(known) != SLOTS:
        middle = text((size[0] / 2, size[1] / 2), WITHHELD, text_anchor="middle", **{"class": "none"})
        if small:
            return picture(size, f"{label}: {WITHHELD}", *parts, middle, kind="chart small")
        blank = [tag("path", {"d": "", "class": kind}) for kind in ("band", "truth", "estimate")]  # for another area
        return picture(size, f"{label}: {WITHHELD}", *parts, *blank, middle, kind="chart day", **plot)

    def curve(values: Sequence[float]) -> list[Point]:
        return [(x((slot + 0.5) / 2), y(value)) for slot, value in enumerate(values)]

    upper, lower = (curve([float(getattr(item, end)) for item in known]) for end in ("upper", "lower"))
    parts.append(path([*upper, *reversed(lower)], "band", closed=True))
    parts += [path(curve(values), kind) for values, kind in ((public, "public"), (truth, "truth")) if values]
    parts.append(path(curve([float(item.estimate or 0) for item in known]), "estimate"))
    if small:
        return picture(size, label, *parts, kind="chart small")
    return picture(size, label, *parts, kind="chart day", **plot)


def _drawn_worst(ordered: Sequence[float]) -> float:
    """The largest error drawn to scale."""
    worst = ordered[-1]
    return ordered[-2] if len(ordered) > 2 and worst > _OFF_SCALE * ordered[-2] > 0 else worst


def _grid(x: Axis, y: Axis, step: float) -> list[Markup]:
    parts = []
    for tick in x.ticks(step):
        words = percent(tick, 0 if step >= 0.01 else 1)
        parts += [
            line((x(tick), y(y.low)), (x(tick), y(y.high)), "grid"),
            line((x(x.low), y(tick)), (x(x.high), y(tick)), "grid"),
            text((x(tick), y(y.low) + 23), words, text_anchor="middle"),
            text((x(x.low) - 8, y(tick) + 5), words, text_anchor="end"),
        ]
    return parts


def _cross(at: Point, words: str) -> Markup:
    x, y = at
    drawn = f"M{x - 4:.1f},{y - 4:.1f}L{x + 4:.1f},{y + 4:.1f}M{x - 4:.1f},{y + 4:.1f}L{x + 4:.1f},{y - 4:.1f}"
    return tag("path", {"d": drawn, "class": "misses"}, title(words))
