# SPDX-License-Identifier: Apache-2.0
"""One job on many items, in this process or in several."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
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
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(job, items, chunksize=at_once)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
