# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader sees the old one or the new one, never half of either."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def is_full(error: OSError) -> bool:
    """Whether the disk has no more room, or none for this user; some writers say so without a number."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` to `path` durably: temporary file in the same folder, fsync, rename, fsync of the folder."""
    _write(path, content, mode, lambda temporary: temporary.replace(path))


def write_first(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` to `path` likewise, unless there is a file already: of several writers the first one's stays."""

    def put(temporary: Path) -> None:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                temporary.replace(path)
        temporary.unlink(missing_ok=True)

    _write(path, content, mode, put)


def _write(path: Path, content: bytes, mode: int, put: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        put(Path(temporary))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
