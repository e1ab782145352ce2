# SPDX-License-Identifier: Apache-2.0
"""The end of a run on a terminal: what was found, how well, at what cost, and where it lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_TOPICS = {"all_aged_66_plus": "homes all aged 66+", "occupancy": "homes occupied"}
_LEVELS = {"LSOA": "LSOA", "MSOA": "MSOA", "LAD": "district"}


def print_summary(summary: Mapping[str, Any], out: Path, console: Console) -> None:
    """Print the summary of a run.

    Parameters
    ----------
    summary : mapping
        As in summary.json.
    out : Path
        The run's folder.
    console : rich Console
    """
    table = Table(
        title=f"{summary['study']}: estimates against the simulated truth, percentage points", title_justify="left"
    )
    for heading in ("topic", "level"):
        table.add_column(heading)
    for heading in ("error (rmse)", "bias", "95 % interval width", "intervals that hold the truth"):
        table.add_column(heading, justify="right")
    for topic, levels in summary["topics"].items():
        for level, figures in levels.items():
            if "rmse" in figures:
                table.add_row(
                    _TOPICS.get(topic, topic),
                    _LEVELS.get(level, level),
                    f"{100 * figures['rmse']:.2f}",
                    f"{100 * figures['bias']:+.2f}",
                    f"{100 * figures['interval_width']:.1f}",
                    f"{100 * figures['coverage']:.0f} %",
                )
    console.print(table)
    for name, figures in summary["models"].items():
        quality = ", ".join(f"{key.replace('_', ' ')} {figures[key]:.3f}" for key in ("auc", "mcc") if key in figures)
        console.print(f"{name.replace('_', ' ')} on homes not seen: {quality}")
    costs = [supplier["epsilon_upper"] for supplier in summary["suppliers"].values()]
    delta = next(iter(summary["suppliers"].values()))["delta"]
    console.print(
        f"privacy: each supplier was charged epsilon {max(costs):.2f} at delta {delta:g}, everything included"
    )
    console.print(f"took {sum(summary['seconds'].values()):.0f} s; everything is in {out}")
