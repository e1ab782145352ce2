# SPDX-License-Identifier: Apache-2.0
"""How a service is told to stop: SIGTERM, or SIGINT from a keyboard."""

import signal
import threading
from collections.abc import Callable


def stop_at_signals(then: Callable[[], None] = lambda: None) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it from the main thread.

    Parameters
    ----------
    then : callable
        Called after the event is set; it runs within a signal's handler and must not wait.
    """
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        then()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop
