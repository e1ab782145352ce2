# SPDX-License-Identifier: Apache-2.0
"""Progress for people at a terminal, and one line a step for logs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
}


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Give a progress function: bars on a terminal, lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield lambda phase, done, total: None
    elif sys.stderr.isatty():
        yield from _bars()
    else:
        yield _lines()


def _bars() -> Iterator[Callable[[str, int, int], None]]:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(LABELS.get(phase, phase), total=total)
            progress.update(tasks[phase], completed=done, total=total)

        yield show


def _lines() -> Callable[[str, int, int], None]:
    begun = time.monotonic()
    quarters: dict[str, int] = {}

    def show(phase: str, done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarters.get(phase) != quarter:
            quarters[phase] = quarter
            sys.stderr.write(f"{time.monotonic() - begun:7.1f} s  {LABELS.get(phase, phase)}: {done} of {total}\n")
            sys.stderr.flush()

    return show
