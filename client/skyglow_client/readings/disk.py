# SPDX-License-Identifier: Apache-2.0
"""Room on the disk: taken before it is written to, so that a full disk is an error and never a crash."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from skyglow_shared.errors import DataError
from skyglow_shared.files import is_full

_Number = TypeVar("_Number", np.float32, np.bool_)


def scratch(path: Path, shape: tuple[int, ...], dtype: "np.dtype[_Number]") -> NDArray[_Number]:
    """Make an array backed by a file, all of whose room is taken at once.

    Without that, writing to it on a full disk would end the process (``SIGBUS``).

    Raises
    ------
    OSError
        The disk is full.
    """
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    array: NDArray[_Number] = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on every system
        handle = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, os.fstat(handle).st_size)
        finally:
            os.close(handle)
    return array


@contextmanager
def room_for(what: str, path: Path) -> Iterator[None]:
    """DataError in place of what the system says when there is no room left."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DataError(
            f"the disk of {path.name} has no room for {what}; free some, or give another folder. Nothing was changed"
        ) from None
