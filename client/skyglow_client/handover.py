# SPDX-License-Identifier: Apache-2.0
"""A ledger has one holder at a time; who serves lets go of it for as long as a person's command asks for it.

Two files of the supplier's folder, held by locks that end with their process: ``serve.lock`` says that somebody serves
here, ``ledger.wanted`` that somebody else waits for the ledger. Between requests whoever serves closes the ledger, and
opens (and so verifies) it again when it is free. A request that comes meanwhile waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skyglow_client.supplier import Supplier
from skyglow_shared import locks
from skyglow_shared.errors import LedgerBusyError, SkyglowError

_log = logging.getLogger(__name__)
_SERVING, _WANTED = "serve.lock", "ledger.wanted"
_LOOK_SECONDS = 0.2
_WAIT_SECONDS = 60.0  # the longest that a request may take before the ledger is let go


def opened(folder: Path, open_now: Callable[[], Supplier]) -> Supplier:
    """Open the supplier of a folder, and have whoever serves it let go of the ledger first.

    Raises
    ------
    LedgerBusyError
        Another process holds the ledger that does not serve, or whoever serves is busy for too long.
    """
    try:
        return open_now()
    except LedgerBusyError:
        if not locks.taken(folder / _SERVING):
            raise
    with locks.held(folder / _WANTED):
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                return open_now()
            except LedgerBusyError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


@contextmanager
def lending(supplier: Supplier, stop: threading.Event) -> Iterator[None]:
    """Serve within: the ledger is lent to whoever asks; `stop` is set if what comes back fails its checks.

    Raises
    ------
    RunError
        Another process serves this folder.
    LedgerError, OSError
        Why `stop` was set, once serving has ended: whoever watches the process learns of it by its exit code.
    """
    ended = threading.Event()
    failed: list[SkyglowError | OSError] = []
    with locks.alone(supplier.folder / _SERVING, "another process serves this supplier's folder; stop it first"):
        thread = threading.Thread(target=_lend, args=(supplier, ended, stop, failed))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    if failed:
        raise failed[0]


def _lend(
    supplier: Supplier, ended: threading.Event, stop: threading.Event, failed: list[SkyglowError | OSError]
) -> None:
    while not ended.wait(_LOOK_SECONDS):
        if locks.taken(supplier.folder / _WANTED):
            try:
                supplier.lend(lambda: locks.taken(supplier.folder / _WANTED), ended)
            except (SkyglowError, OSError) as error:
                _log.error("serving ends: %s", error if isinstance(error, SkyglowError) else type(error).__name__)
                failed.append(error)
                stop.set()
                return
