# SPDX-License-Identifier: Apache-2.0
"""Figures of merit against numbers worked out by hand, and the end of a run on a terminal."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from skyglow_server.estimation import Estimate
from skyglow_simulations.report.summary import auc, mcc, topic_figures
from skyglow_simulations.report.terminal import print_summary


def test_auc_counts_ties_half():
    scores, labels = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    assert auc(scores, labels) == 3.5 / 4  # of four pairs three are in order, one is a tie
    assert auc(-scores, labels) == 0.5 / 4
    assert auc(np.zeros(4), labels) == 0.5


def test_auc_without_one_of_the_kinds_is_not_a_number():
    assert math.isnan(auc(np.array([0.1, 0.2]), np.ones(2)))


def test_mcc_by_hand():
    predicted = np.array([True, True, True, False, False, False])
    labels = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    assert mcc(predicted, labels) == pytest.approx((2 * 2 - 1 * 1) / math.sqrt(3 * 3 * 3 * 3))
    assert mcc(labels > 0, labels) == 1
    assert mcc(labels == 0, labels) == -1
    assert mcc(np.ones(6, dtype=bool), labels) == 0


def item(code: str, estimate: float | None, lower: float | None = None, upper: float | None = None) -> Estimate:
    status = "published" if estimate is not None else "suppressed"
    return Estimate(code, code, "MSOA", "topic", "all", estimate, lower, upper, status)


def test_topic_figures_by_hand():
    truth = {(code, "topic", "all"): value for code, value in (("a", 0.2), ("b", 0.3), ("c", 0.5))}
    shown = [item("a", 0.23, 0.21, 0.25), item("b", 0.26, 0.22, 0.30), item("c", None)]
    figures = topic_figures(shown, truth)["topic"]["MSOA"]
    assert figures["rmse"] == pytest.approx(math.sqrt((0.03**2 + 0.04**2) / 2))
    assert figures["mae"] == pytest.approx(0.035)
    assert figures["bias"] == pytest.approx(-0.005)
    assert (figures["published"], figures["suppressed"]) == (2, 1)
    assert figures["coverage"] == 0.5  # the end of an interval belongs to it
    assert figures["interval_width"] == pytest.approx(0.06)


def test_topic_figures_without_intervals_or_without_estimates():
    truth = {("a", "topic", "all"): 0.2}
    assert "coverage" not in topic_figures([item("a", 0.2)], truth)["topic"]["MSOA"]
    assert topic_figures([item("a", None)], truth)["topic"]["MSOA"] == {"published": 0, "suppressed": 1}


def test_the_terminal_summary_fits_80_columns():
    level = {"rmse": 0.0331, "mae": 0.02, "bias": -0.0079, "published": 152, "suppressed": 3}
    level |= {"coverage": 0.908, "interval_width": 0.117}
    cost = {"epsilon_lower": 3.8128, "epsilon_upper": 3.8149, "delta": 1e-6, "policy_epsilon": 4.0}
    summary = {
        "study": "southampton",
        "topics": {
            "all_aged_66_plus": {"LSOA": level, "MSOA": level, "LAD": {"published": 0, "suppressed": 1}},
            "occupancy": {"MSOA": level, "LAD": {**level, "published": 1, "coverage": 0.0}},
        },
        "models": {"all_aged_66_plus": {"auc": 0.733, "mcc": 0.26}, "presence_rule": {"mcc": 0.603}},
        "suppliers": {"north": cost, "south": {**cost, "epsilon_upper": 3.9}},
        "seconds": {"rounds": 10.2, "report": 1.3},
    }
    console = Console(width=80, record=True, file=io.StringIO())
    print_summary(summary, Path("out/southampton-20261121-054131"), console)
    lines = console.export_text().splitlines()
    assert max(len(line) for line in lines) <= 80
    said = "\n".join(lines)
    row = next(line.split() for line in lines if "small areas (LSOA)" in line)
    assert row[-5:] == ["3.3", "-0.8", "11.7", "91%", "3"]
    assert next(line.split() for line in lines if "district" in line)[-5:] == ["–", "–", "–", "–", "1"]
    assert [line.split()[-2] for line in lines if "district" in line][-1] == "no", "of one interval a share says little"
    assert "3.90 of the 4" in said and "out/southampton-20261121-054131/report.html" in said
    assert sum("report.html" in line for line in lines) == 1, "the path is on one line, to be copied"
