# SPDX-License-Identifier: Apache-2.0
"""The end of a run on a terminal: what was found, how well, at what cost, and where it lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyglow_simulations.report import wording

#: Names that would take too much of a line.
_SHORT = {
    "all_aged_66_plus": "homes all aged 66 or over",
    "dependent_children": "families with children",
    "paid_work": "homes with paid work",
}
_LEVELS = {"LSOA": "small areas (LSOA)", "MSOA": "neighbourhoods (MSOA)", "LAD": "district"}


def print_summary(summary: Mapping[str, Any], out: Path, console: Console) -> None:
    """Print the summary of a run; made for 80 columns.

    Parameters
    ----------
    summary : mapping
        As in summary.json.
    out : Path
        The run's folder.
    console : rich Console
    """
    console.print()
    console.print(
        f"[bold]{escape(summary['study'])}[/bold]: estimates beside the simulated truth, in percentage points"
    )
    console.print(_accuracy(summary["topics"]))
    for name, figures in summary["models"].items():
        console.print(f"  {escape(name.replace('_', ' '))}, on homes not seen: {_quality(figures)}")
    for line in _privacy(summary["suppliers"]):
        console.print(f"  {line}")
    console.print(f"  took {sum(summary['seconds'].values()):.0f} seconds; open the report:")
    console.print(f"  {out / 'report.html'}", soft_wrap=True, highlight=False, markup=False)


def _accuracy(topics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("typical\nerror", "bias", "width of\ninterval", "holds\ntruth", "withheld"):
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for topic, levels in topics.items():
        table.add_row(f"[bold]{escape(_SHORT.get(topic, wording.topic(topic)))}[/bold]")
        for level, figures in levels.items():
            table.add_row(
                f"  {_LEVELS.get(level, level)}",
                _number(figures, "rmse", ".1f"),
                _number(figures, "bias", "+.1f"),
                _number(figures, "interval_width", ".1f"),
                wording.held(figures, 0),
                f"{figures['suppressed']:.0f}",
            )
    return table


def _number(figures: Mapping[str, float], key: str, form: str) -> str:
    return f"{100 * figures[key]:{form}}" if key in figures else "–"


def _quality(figures: Mapping[str, float]) -> str:
    named = {"auc": "AUC", "mcc": "Matthews correlation"}
    return ", ".join(f"{words} {figures[key]:.2f}" for key, words in named.items() if key in figures)


def _privacy(suppliers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not suppliers:
        return []
    worst = max(suppliers.values(), key=lambda cost: float(cost["epsilon_upper"]))
    return [
        f"privacy: epsilon {worst['epsilon_upper']:.2f} of the {worst['policy_epsilon']:g} that each supplier allows",
        f"         (delta {worst['delta']:g}; everything that left is counted)",
    ]
