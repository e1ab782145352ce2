# SPDX-License-Identifier: Apache-2.0
"""Replicates as tables: coverage, bias, width by epsilon, topic and level; rejected strata; errors by method.

A replicate's areas and half-hours share their drift, panel and noise, so that the replicate is the observation:
standard errors and tests are over replicates.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from skyglow_server.estimation.inputs import LEVELS, AreaTable
from skyglow_server.estimation.results import Level
from skyglow_simulations.population.census import Census
from skyglow_simulations.replicates import area_table

Array = NDArray[np.float64]
Replicates = Sequence[Mapping[str, Array]]

GOAL = (0.935, 0.965)
_FALSE_ALARM = 0.05
_FEW = 2  # replicates, that tell nothing
_ALL = "all areas"
_HELD, _ERROR, _SQUARE, _WIDTH = range(4)  # rows of a replicate's arrays


def together(districts: Sequence[Replicates]) -> list[dict[str, Array]]:
    """Replicates of several districts as ones of all their areas: of the first of each, of the second, and so on.

    What was not tried in all of them, as a district was too small for it, is left out.
    """
    return [
        {
            key: np.concatenate([one[key] for one in drawn], axis=1)
            for key in drawn[0]
            if all(key in one for one in drawn)
        }
        for drawn in zip(*districts, strict=False)
    ]


def tables(found: Replicates, places: Sequence[Census], *, ours: str) -> tuple[list[str], bool]:
    """Lines to print, and whether coverage is within the goal everywhere and no stratum is shown to be outside it.

    Replicates have the areas of these places, one after the other. A figure over all areas that is outside the goal
    decides whether or not chance may have put it there; the mark tells which.
    """
    if not found:
        return ["no replicate is finished"], False
    lines = [f"{'epsilon':>7}  {'topic':<22}{'level':<6}{'coverage':>15}{'bias, points':>17}{'width':>8}{'rmse':>8}"]
    mine = [key for key in found[0] if key.split("|")[1] == ours]
    areas, enough = [area_table(census) for census in places], len(found) > _FEW
    outside = rejected(found, mine, areas, GOAL) if enough else []
    shown = {key for key, name, *_ in outside if name == _ALL}
    holds = True
    for key in mine:
        figures = pooled(found, key)
        epsilon, _, topic, level = key.split("|")
        inside = GOAL[0] <= figures["coverage"] <= GOAL[1]
        holds &= inside
        mark = "" if inside else "  outside the goal" if key in shown else "  outside the goal, if not by chance"
        lines.append(_line(epsilon, topic, level, figures) + mark)
    for key in (key for key in found[0] if "|withheld|" in key):
        epsilon, _, topic, _ = key.split("|")
        share = float(np.mean([one[key][_HELD].mean() for one in found]))
        if share > 0:
            lines.append(f"{epsilon:>7}  {topic:<22}withheld by diagnostics in {share:.1%} of the studies")
    inexact = rejected(found, mine, areas) if enough else []
    lines.append("")
    for words, ones in ((f"outside {GOAL[0]:.1%} to {GOAL[1]:.1%}", outside), ("not exactly 95 %", inexact)):
        lines.append(f"strata whose coverage is {words}, replicates as clusters, Holm: {len(ones) or 'none'}")
        for key, name, coverage, p in ones:
            lines.append(f"  {key.replace('|', ' ')}: {name}, coverage {coverage:.3f}, p {p:.1e}")
    lines += ["", f"{'rmse, points, at epsilon 1':<36}{'topic':<22}" + "".join(f"{level:>8}" for level in LEVELS)]
    for method, topic in dict.fromkeys(
        tuple(key.split("|")[1:3]) for key in found[0] if key.startswith("1|") and "|withheld" not in key
    ):
        values = (_error(found, f"1|{method}|{topic}|{level}") for level in LEVELS)
        lines.append(f"{method:<36}{topic:<22}" + "".join(f"{value:>8}" for value in values))
    return [*lines, *_presence(found)], holds and enough and not outside


def _presence(found: Replicates) -> list[str]:
    """Errors of occupancy by epsilon: from noise and bounds, and in all, beside those without them and of no study."""
    keys = [key for key in found[0] if "|noise and clip|" in key]
    if not keys:
        return []
    columns = ("noise and clip", "error", "no noise", "public curve")
    lines = ["", f"{'rmse, points':<9}{'epsilon':>9}  {'topic':<22}{'level':<6}" + "".join(f"{c:>16}" for c in columns)]
    for key in keys:
        epsilon, _, topic, level = key.split("|")
        ours = next(one for one in found[0] if one.startswith(f"{epsilon}|") and one.endswith(f"panel|{topic}|{level}"))
        others = (f"1|{method}|{topic}|{level}" for method in ("without noise", "public curve"))
        values = (_error(found, one) for one in (key, ours, *others))
        lines.append(f"{'':<12}{epsilon:>9}  {topic:<22}{level:<6}" + "".join(f"{value:>16}" for value in values))
    return lines


def pooled(found: Replicates, key: str) -> dict[str, float]:
    """Coverage, bias, their standard errors over replicates, mean width and root mean square error."""
    held = np.array([one[key][_HELD].mean() for one in found])
    error = np.array([one[key][_ERROR].mean() for one in found])
    runs = np.sqrt(max(len(found), 1))
    spread = [float(values.std(ddof=1) / runs) if len(found) > 1 else float("nan") for values in (held, error)]
    return {
        "coverage": float(held.mean()),
        "coverage_error": spread[0],
        "bias": float(error.mean()),
        "bias_error": spread[1],
        "width": float(np.mean([one[key][_WIDTH].mean() for one in found])),
        "rmse": float(np.sqrt(np.mean([one[key][_SQUARE].mean() for one in found]))),
    }


def strata(places: Sequence[AreaTable], level: Level) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """(name, areas): thirds of a level's areas by households, share in employment and old share of older homes.

    Of several places these are thirds of each, so that a stratum is of all of them.
    """
    for parts in zip(*(_thirds(areas, level) for areas in places), strict=True):
        chosen = np.concatenate([part for _, part in parts])
        if chosen.any():
            yield parts[0][0], chosen


def _thirds(areas: AreaTable, level: Level) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    weights = areas.weights(level)
    older = weights @ (areas.counts[:, :2].sum(axis=1) / areas.counts.sum(axis=1))
    employed = older if areas.employed is None else weights @ areas.employed
    for name, value in (("size", areas.totals(level, areas.households)), ("employment", employed), ("share", older)):
        third = np.argsort(np.argsort(value)) * 3 // value.size
        for number, word in enumerate(("lowest", "middle", "highest")):
            yield f"{word} {name}", third == number


def rejected(
    found: Replicates, keys: Sequence[str], places: Sequence[AreaTable], within: tuple[float, float] = (0.95, 0.95)
) -> list[tuple[str, str, float, float]]:
    """(key, stratum, coverage, p) whose coverage is not `within`: t-test over replicates, Holm-corrected over all.

    Strata are all areas of every level, and thirds of LSOAs and MSOAs.

    Of a single number the test is two-sided. Of a band it is that of the nearer edge, and a coverage inside has p one.
    """
    tested = []
    for key in keys:
        level = next(level for level in LEVELS if key.endswith(level))
        everywhere = (_ALL, np.ones(found[0][key].shape[1], np.bool_))
        for name, chosen in (everywhere, *(strata(places, level) if level != LEVELS[-1] else ())):
            held = np.array([one[key][_HELD][chosen].mean() for one in found])
            chance = np.sqrt(0.95 * 0.05 / chosen.sum())  # where all replicates are alike, as if areas were independent
            spread = float(held.std(ddof=1) or chance) / np.sqrt(held.size)
            beyond = max(within[0] - held.mean(), held.mean() - within[1], 0.0)
            sides = 2 if within[0] == within[1] else 1
            p = sides * float(student.sf(beyond / spread, held.size - 1)) if beyond else 1.0
            tested.append((key, name, float(held.mean()), p))
    tested.sort(key=lambda row: row[3])
    kept = []
    for place, row in enumerate(tested):
        if row[3] > _FALSE_ALARM / (len(tested) - place):
            break
        kept.append(row)
    return kept


def _error(found: Replicates, key: str) -> str:
    return f"{100 * pooled(found, key)['rmse']:.2f}" if key in found[0] else ""


def _line(epsilon: str, topic: str, level: str, figures: Mapping[str, float]) -> str:
    coverage = f"{figures['coverage']:.3f} ± {figures['coverage_error']:.3f}"
    bias = f"{100 * figures['bias']:+.2f} ± {100 * figures['bias_error']:.2f}"
    return (
        f"{epsilon:>7}  {topic:<22}{level:<6}{coverage:>15}{bias:>17}{100 * figures['width']:>8.2f}"
        f"{100 * figures['rmse']:>8.2f}"
    )
