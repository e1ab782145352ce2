# SPDX-License-Identifier: Apache-2.0
"""What a round's computation may take of the supplier's machine: time and memory, and then it is stopped.

Only the computation is: what it costs was charged before, nothing is sealed after, and the supplier goes on. Memory is
what the process may have beyond what it had when the computation began; readings that are mapped from the store do not
count. The process's other threads share that memory.
"""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from skyglow_shared.errors import LimitError

_AGAIN_SECONDS = 1.0  # a first alarm may be lost in a callback that swallows what is raised
_MIB = 2**20


@contextmanager
def within(seconds: float | None, mebibytes: int | None) -> Iterator[None]:
    """Stop what is computed within if it takes longer, or more memory, than this; None is no limit.

    Python is interrupted between two of its instructions, so a single call into NumPy or torch ends first. Time is held
    to in the main thread alone, which is where a link answers.

    Raises
    ------
    LimitError
        It took too long, or there is not so much memory.
    """
    try:
        with _time(seconds), _memory(mebibytes):
            yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):  # torch has no kind of its own
            raise
        raise LimitError(
            "a round needs more memory than this supplier gives it; ask the supplier to raise most_memory_mib",
            rule="most_memory_mib",
        ) from None


def _time(seconds: float | None) -> "nullcontext[None]":
    if seconds is None or threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return _alarm(seconds)  # type: ignore[return-value]


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise LimitError(
            "a round took longer than this supplier's policy allows; ask the supplier to raise most_seconds",
            rule="most_seconds",
        )

    former = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    finally:  # the alarm may ring just before it is turned off; the next is a second away
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def _memory(mebibytes: int | None) -> Iterator[None]:
    if mebibytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _held() + mebibytes * _MIB
    already = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([most, *already]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _held() -> int:
    """Bytes that this process has of its own, as the limit counts them."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    message = "this system does not tell how much memory is held; ask the supplier to leave most_memory_mib out"
    raise LimitError(message, rule="most_memory_mib")
