# SPDX-License-Identifier: Apache-2.0
"""The report's charts: estimate against truth, methods compared, curves of the day, budget spent."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.svg import Axis, line, path, picture, tag, text, title

_SLOTS = 48


def against_truth(pairs: Sequence[tuple[Estimate, float]], label: str) -> Markup:
    """Estimates with their 95 % intervals over the truth; the diagonal is perfection.

    Parameters
    ----------
    pairs : sequence of (Estimate, float)
        Published estimates and their truths.
    label : str
    """
    shown = [(item, true) for item, true in pairs if item.estimate is not None and item.lower is not None]
    top = max([0.1, *(float(item.upper or 0) for item, _ in shown), *(true for _, true in shown)])
    high = min(1.0, 0.1 * -(-top // 0.1))
    x, y = Axis(0, high, 72, 540), Axis(0, high, 430, 14)
    step = 0.1 if high > 0.3 else 0.05
    parts = [*_grid(x, y, step), line((x(0), y(0)), (x(high), y(high)), "diagonal")]
    for item, true in shown:
        estimate, lower, upper = float(item.estimate or 0), float(item.lower or 0), float(item.upper or 0)
        holds = lower <= true <= upper
        words = f"{item.area_name}: estimate {100 * estimate:.1f} %, truth {100 * true:.1f} %"
        kind = "holds" if holds else "misses"
        mark = (
            tag("circle", {"cx": x(true), "cy": y(estimate), "r": 3.2, "class": kind}, title(words))
            if holds
            else _cross(x(true), y(estimate), words)
        )
        parts += [line((x(true), y(lower)), (x(true), y(upper)), f"interval {kind}"), mark]
    parts += [
        text((306, 470), "true share of homes", text_anchor="middle", **{"class": "axis"}),
        text((14, 222), "estimate", text_anchor="middle", transform="rotate(-90 14 222)", **{"class": "axis"}),
    ]
    return picture((560, 478), label, *parts)


def methods(errors: Mapping[str, Mapping[str, float]], levels: Mapping[str, str], label: str) -> Markup:
    """Errors of methods as dots on one line a method, one panel a level; ours is the filled one.

    Parameters
    ----------
    errors : mapping of method to mapping of level to root-mean-square error
        Ours first.
    levels : mapping of level to its name on the page
    label : str
    """
    panel, left, row = 240, 270, 34
    height = 46 + row * len(errors)
    parts = []
    for number, (level, level_name) in enumerate(levels.items()):
        start = left + number * panel
        worst = max(values.get(level, 0.0) for values in errors.values())
        x = Axis(0, worst * 1.12 or 1, start, start + panel - 56)
        parts.append(text((start, 16), level_name, **{"class": "heading"}))
        for place, (method, values) in enumerate(errors.items()):
            y = 42 + row * place
            if number == 0:
                parts.append(
                    text((left - 14, y + 5), method, text_anchor="end", **{"class": "ours" if place == 0 else ""})
                )
            if level not in values:
                continue
            kind = "ours" if place == 0 else "other"
            parts += [
                line((start, y), (x(values[level]), y), f"stem {kind}"),
                tag("circle", {"cx": x(values[level]), "cy": y, "r": 6, "class": kind}),
                text((x(values[level]) + 11, y + 5), f"{100 * values[level]:.1f}", **{"class": kind}),
            ]
    return picture((left + panel * len(levels), height), label, *parts)


def day(
    estimates: Sequence[Estimate],
    truth: Sequence[float] | None,
    public: Sequence[float] | None,
    label: str,
    *,
    small: bool = False,
) -> Markup:
    """Share of homes occupied through one day: band, estimate, truth and the public mean curve.

    Parameters
    ----------
    estimates : sequence of Estimate, length 48
    truth, public : sequence of float, length 48, optional
    label : str
    small : bool
        Without axes, for a page of many.
    """
    size = (180.0, 84.0) if small else (560.0, 320.0)
    low = 0.4
    x = Axis(0, 24, 4 if small else 48, size[0] - (4 if small else 26))
    y = Axis(low, 1.0, size[1] - (4 if small else 34), 6 if small else 12)
    parts: list[Markup] = []
    if not small:
        parts += [line((x(0), y(tick)), (x(24), y(tick)), "grid") for tick in y.ticks(0.1)]
        parts += [text((x(0) - 8, y(tick) + 4), f"{100 * tick:.0f} %", text_anchor="end") for tick in y.ticks(0.1)]
        parts += [text((x(hour), size[1] - 12), f"{hour:02.0f}:00", text_anchor="middle") for hour in x.ticks(4)]
    hours = [(slot + 0.5) / 2 for slot in range(_SLOTS)]
    if any(item.estimate is None for item in estimates) or len(estimates) != _SLOTS:
        return picture(size, f"{label}: withheld", *parts, text((size[0] / 2, size[1] / 2), "withheld"))
    upper = [(x(hour), y(max(low, float(item.upper or 0)))) for hour, item in zip(hours, estimates, strict=True)]
    lower = [(x(hour), y(max(low, float(item.lower or 0)))) for hour, item in zip(hours, estimates, strict=True)]
    parts.append(path([*upper, *reversed(lower)], "band", closed=True))
    for values, kind in ((public, "public"), (truth, "truth")):
        if values is not None:
            parts.append(path([(x(hour), y(max(low, value))) for hour, value in zip(hours, values, strict=True)], kind))
    middle = [(x(hour), y(max(low, float(item.estimate or 0)))) for hour, item in zip(hours, estimates, strict=True)]
    return picture(size, label, *parts, path(middle, "estimate"), kind="chart small" if small else "chart")


def _grid(x: Axis, y: Axis, step: float) -> list[Markup]:
    parts = []
    for tick in x.ticks(step):
        parts += [
            line((x(tick), y(y.low)), (x(tick), y(y.high)), "grid"),
            line((x(x.low), y(tick)), (x(x.high), y(tick)), "grid"),
            text((x(tick), y(y.low) + 18), f"{100 * tick:.0f} %", text_anchor="middle"),
            text((x(x.low) - 8, y(tick) + 4), f"{100 * tick:.0f} %", text_anchor="end"),
        ]
    return parts


def _cross(x: float, y: float, words: str) -> Markup:
    drawn = f"M{x - 4:.1f},{y - 4:.1f}L{x + 4:.1f},{y + 4:.1f}M{x - 4:.1f},{y + 4:.1f}L{x + 4:.1f},{y - 4:.1f}"
    return tag("path", {"d": drawn, "class": "misses"}, title(words))
