# SPDX-License-Identifier: Apache-2.0
"""Figures of merit: how far estimates are from the truth, how well scores and rules separate."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation import Estimate

Truth = Mapping[tuple[str, str, str], float]


def auc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Area under the ROC curve: the chance that a positive home outranks a negative one, ties counted half."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    ranks = np.empty(len(scores))
    ranks[order] = (first + last + 1) / 2
    positive = labels > 0
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def mcc(predicted: NDArray[np.bool_], labels: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    """Matthews correlation; 0 where either side is constant."""
    actual = labels > 0
    both, neither = float((predicted & actual).sum()), float((~predicted & ~actual).sum())
    only_predicted, only_actual = float((predicted & ~actual).sum()), float((~predicted & actual).sum())
    product = (both + only_predicted) * (both + only_actual) * (neither + only_predicted) * (neither + only_actual)
    return 0.0 if product == 0 else float((both * neither - only_predicted * only_actual) / np.sqrt(product))


def topic_figures(estimates: Iterable[Estimate], truth: Truth) -> dict[str, dict[str, dict[str, float]]]:
    """Errors and coverage by topic and level, over published estimates.

    Returns
    -------
    dict
        ``[topic][level]`` → rmse, mae, bias, coverage, interval_width, published, suppressed. Coverage and width are
        left out where there are no intervals.
    """
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for estimate in estimates:
        groups.setdefault((estimate.topic, estimate.level), []).append(estimate)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for (topic, level), members in groups.items():
        figures.setdefault(topic, {})[level] = _figures(members, truth)
    return figures


def _figures(members: list[Estimate], truth: Truth) -> dict[str, float]:
    shown = [item for item in members if item.status == "published" and item.estimate is not None]
    counts = {"published": len(shown), "suppressed": len(members) - len(shown)}
    if not shown:
        return {**counts}
    true = np.array([truth[item.area_code, item.topic, item.group] for item in shown])
    error = np.array([item.estimate for item in shown], dtype=float) - true
    figures = {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "bias": float(np.mean(error)),
        **counts,
    }
    if all(item.lower is not None for item in shown):
        lower, upper = (np.array([getattr(item, end) for item in shown], dtype=float) for end in ("lower", "upper"))
        figures["coverage"] = float(np.mean((lower <= true) & (true <= upper)))
        figures["interval_width"] = float(np.mean(upper - lower))
    return figures
