# SPDX-License-Identifier: Apache-2.0
"""A job that a service does now and then beside its own work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, job: Callable[[], None], *, at_once: bool = False) -> Iterator[None]:
    """Within, a thread does a job again and again; at the end the one that is being done is finished.

    Parameters
    ----------
    seconds : float
        Between the end of one and the start of the next.
    job : callable
        What it raises ends the thread: it must see to its own errors.
    at_once : bool
        Whether the first is done now, and not only after that time.
    """
    ended = threading.Event()

    def loop() -> None:
        if at_once:
            job()
        while not ended.wait(seconds):
            job()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
