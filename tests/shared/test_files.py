# SPDX-License-Identifier: Apache-2.0
"""A reader sees the old file or the new one, whenever the writer dies."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skyglow_shared.files import write_atomically, write_first

DIE = """
import os, signal, sys
from pathlib import Path
from skyglow_shared import files

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

owner, name = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "chmod": (Path, "chmod")}[sys.argv[2]]
setattr(owner, name, die)
files.write_atomically(Path(sys.argv[1]), b"new" * 100_000)
"""


@pytest.mark.parametrize("moment", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("before", [b"old", None])
def test_a_writer_killed_before_the_rename_leaves_the_old_file(tmp_path, moment, before):
    path = tmp_path / "estimates.csv"
    if before is not None:
        path.write_bytes(before)
    killed = subprocess.run([sys.executable, "-c", DIE, str(path), moment], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (path.read_bytes() if path.exists() else None) == before
    write_atomically(path, b"new")  # what the dead writer left lying is not in the way
    assert path.read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "estimates.csv"
    path.write_bytes(b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("estimates.csv", b"old")]


def test_content_mode_and_missing_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content, mode in ((b"", 0o600), (b"\x00" * 10, 0o644)):
        write_atomically(path, content, mode=mode)
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_the_folder_is_made_durable_too(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def spy(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").resolve())
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(tmp_path / "file", b"content")
    assert synced[-1] == tmp_path.resolve()
    assert len(synced) == 2


@pytest.mark.parametrize("links", [True, False])
def test_of_several_writers_the_first_ones_file_stays(tmp_path, monkeypatch, links):
    if not links:

        def none(*_):
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(Path, "hardlink_to", none)
    path = tmp_path / "folder" / "identity.key"
    write_first(path, b"first", mode=0o600)
    write_first(path, b"second", mode=0o644)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]
