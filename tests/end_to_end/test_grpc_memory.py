# SPDX-License-Identifier: Apache-2.0
"""Two thousand rounds and two hundred reconnects leave both sides as large as they were, with as many files open."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import skyglow_server.links.grpc  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
import grpc

from skyglow_server import keys, serve
from skyglow_shared.signing import Identity

ROUNDS, RECONNECTS, SAMPLES = 2_000, 200, 40
WARM = 300  # reconnects until the allocator has what it will hold
NAMES = ("north", "south")
BODY = bytes(100_000)
MIB = 2**20
SUPPLIER = """
import sys
from pathlib import Path

from skyglow_client import serve
from skyglow_client.links import grpc as end
from skyglow_shared import signals
from skyglow_shared.signing import Identity

folder = Path(sys.argv[1])
kit, credentials = serve.load(folder / "link")
patience = end.Patience(first=0.01, longest=0.02)
identity = Identity.load(folder / "identity.key")
end.serve(bytes, identity, kit, credentials, stop=signals.stop_at_signals(), patience=patience)
"""


def size(process):
    """Resident bytes of a process, and how many files it has open."""
    place = Path(f"/proc/{process}")
    pages = int((place / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list((place / "fd").iterdir()))


@pytest.fixture
def office(tmp_path):
    """An office that listens here, and two suppliers in processes of their own."""
    folder = tmp_path / "office"
    keys.init(folder, "127.0.0.1:1")
    federation = serve.federation(folder, listen="127.0.0.1:0", patience=60.0)
    processes = []
    with federation:
        for name in NAMES:
            identity = Identity.generate()
            identity.save(tmp_path / name / "identity.key")
            kit = keys.enrol(folder, name, identity.public_key).rename(tmp_path / name / "link")
            text = (kit / "link.toml").read_text()
            (kit / "link.toml").write_text(text.replace("127.0.0.1:1", f"127.0.0.1:{federation.port}"))
            line = [sys.executable, "-W", "ignore", "-c", SUPPLIER, str(tmp_path / name)]
            processes.append(subprocess.Popen(line, stderr=subprocess.DEVNULL))
        yield federation, {"office": os.getpid(), **{n: p.pid for n, p in zip(NAMES, processes, strict=True)}}
        for process in processes:
            process.terminate()
        for process in processes:
            assert process.wait(20) == 0


def flat(sizes, what):
    """No trend over the second half, but one that is small or within what sizes vary by themselves."""
    half = np.asarray(sizes[len(sizes) // 2 :], dtype=float)
    growth = np.polyfit(np.arange(len(half)), half, 1)[0] * len(half)
    print(f"{what}: {half[-1] / MIB:.1f} MiB, grew by {growth / MIB:+.2f} MiB over half of it")
    assert growth < max(2.0 * MIB, 2 * float(np.std(np.diff(half))) * np.sqrt(len(half))), (what, half.tolist())


def measured(processes, once, times):
    sizes = {name: [] for name in processes}
    files = {name: [] for name in processes}
    for number in range(times):
        once()
        if number % (times // SAMPLES) == 0:
            gc.collect()
            for name, process in processes.items():
                now, opened = size(process)
                sizes[name].append(now)
                files[name].append(opened)
    return sizes, files


@pytest.mark.slow
def test_rounds_leave_no_memory_behind(office):
    federation, processes = office

    def once():
        assert federation.ask(dict.fromkeys(NAMES, BODY)) == dict.fromkeys(NAMES, BODY)

    sizes, files = measured(processes, once, ROUNDS)
    for name in processes:
        flat(sizes[name], f"{name}, {ROUNDS} rounds")
        assert files[name][-1] <= files[name][len(files[name]) // 2]


@pytest.mark.slow
def test_reconnects_leave_neither_memory_nor_files_behind(office):
    federation, processes = office
    assert len(federation.ask(dict.fromkeys(NAMES, b"?"))) == len(NAMES)

    def once():
        before = dict(federation._lines)
        for line in before.values():
            line.end(grpc.StatusCode.ABORTED, "again")
        deadline = time.monotonic() + 20
        while any(federation._lines.get(name) in (None, before.get(name)) for name in NAMES):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert federation.ask(dict.fromkeys(NAMES, BODY)) == dict.fromkeys(NAMES, BODY)

    for _ in range(WARM):
        once()
    sizes, files = measured(processes, once, RECONNECTS)
    for name in processes:
        flat(sizes[name], f"{name}, {RECONNECTS} reconnects")
        assert max(files[name][-5:]) <= max(files[name][:5]) + 2, files[name]
