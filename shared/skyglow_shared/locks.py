# SPDX-License-Identifier: Apache-2.0
"""Locks that end with the process that holds them, and can be looked at by others."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyglow_shared.errors import RunError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if there is none; wait for it if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock of a file, which is made if there is none; RunError with such a message if a process has it.

    It is tried for a second: whoever only looks (`taken`) has the lock for a moment.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + 1.0
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunError(otherwise) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def taken(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
