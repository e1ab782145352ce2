# SPDX-License-Identifier: Apache-2.0
"""Progress for people at a terminal, and one line a step for logs."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: What each phase is called on the screen.
LABELS = {
    "population": "people, homes and load",
    "readings": "suppliers clean and store",
    "approval": "suppliers approve the study",
    "training": "training rounds",
    "calibration": "calibration",
    "release": "release of area sums",
    "evaluation": "estimates and truth",
    "report": "report",
    "levels": "noise of every level",
    "cities": "cities",
}

Draw = Callable[[str, int, int, str], None]


@dataclass(slots=True)
class Screen:
    """Shows progress; called with (phase, steps done, steps in all).

    Attributes
    ----------
    draw : callable
        Puts it on the screen, with a note.
    budget : mapping of str to float
        Epsilon charged to each supplier once a phase is complete; shown beside it.
    """

    draw: Draw
    budget: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is."""
        spent = self.budget.get(phase) if done == total else None
        self.draw(phase, done, total, "" if spent is None else f"privacy spent: epsilon {spent:.2f}")


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Screen]:
    """Give a screen: bars on a terminal, lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield Screen(lambda phase, done, total, note: None)
    elif sys.stderr.isatty():
        with _bars() as draw:
            yield Screen(draw)
    else:
        yield Screen(_lines())


@contextmanager
def _bars() -> Iterator[Draw]:
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def draw(phase: str, done: int, total: int, note: str) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(LABELS.get(phase, phase), total=total, note="")
            progress.update(tasks[phase], completed=done, total=total, note=note)

        yield draw


def _lines() -> Draw:
    begun = time.monotonic()
    quarters: dict[str, int] = {}

    def draw(phase: str, done: int, total: int, note: str) -> None:
        quarter = 4 * done // max(total, 1)
        if quarters.get(phase) != quarter:
            quarters[phase] = quarter
            words = f"{LABELS.get(phase, phase)}: {done} of {total}" + (f" ({note})" if note else "")
            sys.stderr.write(f"{time.monotonic() - begun:7.1f} s  {words}\n")
            sys.stderr.flush()

    return draw
