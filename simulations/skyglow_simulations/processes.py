# SPDX-License-Identifier: Apache-2.0
"""One job on many items, in this process or in several."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(job: Callable[[Item], Result], items: Sequence[Item], workers: int, *, at_once: int = 1) -> Iterator[Result]:
    """Results of a job on every item, in the items' order; a failure stops what has not begun.

    Parameters
    ----------
    job : callable
        What other processes can import.
    items : sequence
    workers : int
        Processes; with one, or for one item, everything happens in this process.
    at_once : int
        How many items a process takes at a time.
    """
    if workers == 1 or len(items) == 1:
        yield from map(job, items)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            yield from pool.map(job, items, chunksize=at_once)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Let this process end when the one that began it is gone, killed too; a pool's would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
