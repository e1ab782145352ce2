# SPDX-License-Identifier: Apache-2.0
"""A study across a bad network: slow, lossy, narrow, cut in two, with a supplier that stalls and lines half open.

Office and suppliers run in network namespaces of their own. Between them lies a wire of this test's making, two TUN
devices and a loop that delays, drops and rations their packets, for not every kernel has `tc netem`. TCP is real.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skyglow_server import serve  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
import numpy as np

from skyglow_server import keys
from skyglow_server.checkpoints import Checkpoints
from skyglow_shared.errors import AttemptError, RunError
from skyglow_shared.signing import Identity
from skyglow_shared.study import digest
from skyglow_simulations import chaos, chaos_checks, deployed, run
from skyglow_simulations.run import Parameters

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SPACES = ("skyglow-a", "skyglow-b")
HOST, OTHER = "10.99.0.1", "10.99.0.2"
PORT = 17553
PATIENCE = 20.0
ECHOES = ("north", "south", "east")
CLEAR = (RunError.exit_code, AttemptError.exit_code)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def unable():
    if os.geteuid() or not Path("/dev/net/tun").exists() or not shutil.which("ip"):
        return "needs root, /dev/net/tun and ip"
    made = subprocess.run(["ip", "netns", "add", "skyglow-try"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", "skyglow-try"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "network namespaces cannot be made here"


class Wire:
    """Two namespaces and what lies between them: `delay` each way, `loss`, `rate` in bits a second, `cut`."""

    def __init__(self, delay=0.1, loss=0.01, rate=10e6, seed=1):
        self.delay, self.loss, self.rate = delay, loss, rate
        self.cut = threading.Event()
        self.dice, self.packets, self.lost = random.Random(seed), 0, 0  # noqa: S311
        self._ended = threading.Event()

    def __enter__(self):
        self.ends = []
        for space, address in zip(SPACES, (HOST, OTHER), strict=True):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)
            ip("netns", "add", space)
            device = f"sky{len(self.ends)}"
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
            self.ends.append(end)
            ip("link", "set", device, "netns", space)
            for words in (("addr", "add", f"{address}/24", "dev", device), ("link", "set", device, "up")):
                ip("-n", space, *words)
            ip("-n", space, "link", "set", "lo", "up")
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *details):
        self._ended.set()
        self.thread.join()
        for end in self.ends:
            os.close(end)
        for space in SPACES:
            ip("netns", "delete", space)

    def _carry(self):
        waiting, free, number = [], [0.0, 0.0], 0
        while not self._ended.is_set():
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, end, packet = heapq.heappop(waiting)
                if not self.cut.is_set():
                    with contextlib.suppress(OSError):
                        os.write(self.ends[end], packet)
            pause = min(0.05, waiting[0][0] - now) if waiting else 0.05
            for ready in select.select(self.ends, [], [], max(pause, 0))[0]:
                packet = os.read(ready, 65536)
                here = self.ends.index(ready)
                self.packets += 1
                if self.cut.is_set() or self.dice.random() < self.loss:
                    self.lost += 1
                    continue
                now = time.monotonic()
                free[here] = max(free[here], now) + 8 * len(packet) / self.rate
                number += 1
                heapq.heappush(waiting, (free[here] + self.delay, number, 1 - here, packet))


#: Asks its suppliers for echoes, one after another, and writes down when, how long it took, and who answered.
OFFICE = """
import json, sys, time
from pathlib import Path

from skyglow_server import keys, serve

folder = Path(sys.argv[1])
with serve.federation(folder, listen=keys.address_of(folder), patience=6.0) as federation:
    with (folder / "rounds").open("a", buffering=1) as out:
        number = 0
        while True:
            number += 1
            body = b"%d " % number + bytes(100_000 if number % 5 == 0 else 100)
            begun = time.monotonic()
            replies = federation.ask(dict.fromkeys(keys.admitted(folder), body))
            assert all(reply == body for reply in replies.values())
            out.write(json.dumps([begun, time.monotonic() - begun, len(body), sorted(replies)]) + "\\n")
"""
SUPPLIER = """
import sys
from pathlib import Path

from skyglow_client import serve
from skyglow_client.links import grpc as end
from skyglow_shared import signals
from skyglow_shared.signing import Identity

folder = Path(sys.argv[1])
kit, credentials = serve.load(folder / "link")
patience = end.Patience(first=0.2, longest=2.0)
identity = Identity.load(folder / "identity.key")
end.serve(bytes, identity, kit, credentials, stop=signals.stop_at_signals(), patience=patience)
"""


def within(space):
    return ("ip", "netns", "exec", space)


@pytest.fixture
def processes(tmp_path):
    """An office and three suppliers that echo, on either side of the wire; ended at the end."""
    office = tmp_path / "office"
    keys.init(office, f"{HOST}:{PORT}")
    started = {}

    def start(name):
        place, space, program = (office, *office_side) if name == "office" else (tmp_path / name, *supplier_side)
        line = [*within(space), sys.executable, "-W", "ignore", "-c", program, str(place)]
        with (tmp_path / f"{name}.log").open("ab") as log:
            started[name] = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return started[name]

    office_side, supplier_side = (SPACES[0], OFFICE), (SPACES[1], SUPPLIER)
    for name in ECHOES:
        identity = Identity.generate()
        identity.save(tmp_path / name / "identity.key")
        keys.enrol(office, name, identity.public_key).rename(tmp_path / name / "link")
    yield start
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.slow
def test_rounds_across_a_bad_network(processes, tmp_path):
    if why := unable():
        pytest.skip(why)
    log = tmp_path / "office" / "rounds"

    def rounds():
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("]")]

    def whole_after(moment, seconds=60.0):
        """Seconds from a moment until the end of the first round after it that everybody answered."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for begun, took, _, names in rounds():
                if begun + took > moment and names == sorted(ECHOES):
                    return begun + took - moment
            time.sleep(0.05)
        raise AssertionError(f"no whole round in {seconds} s: {rounds()[-3:]}")

    with Wire() as wire:
        running = {name: processes(name) for name in ("office", *ECHOES)}
        whole_after(time.monotonic())
        time.sleep(15)
        small = [took for _, took, size, names in rounds() if size < 1000 and len(names) == len(ECHOES)]
        large = [took for _, took, size, names in rounds() if size > 1000 and len(names) == len(ECHOES)]
        figures = [
            f"100 ms each way, 1 % loss, 10 Mbit/s: no-op round {np.median(small):.2f} s, slowest {max(small):.2f} s "
            f"of {len(small)}; with 100 kB to and from each of three {np.median(large):.2f} s of {len(large)}"
        ]
        wire.cut.set()
        time.sleep(5)
        wire.cut.clear()
        figures.append(f"partition of 5 s: a whole round {whole_after(time.monotonic()):.1f} s after it")

        running["south"].send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        time.sleep(14)
        during = [(took, names) for start, took, _, names in rounds() if start > begun]
        assert during
        assert all(took < 8 and names == ["east", "north"] for took, names in during[:2]), during
        running["south"].send_signal(signal.SIGCONT)
        after = whole_after(time.monotonic())
        figures.append(f"a supplier that stalls: rounds of 6 s, its patience, without it; whole {after:.1f} s after")

        wire.cut.set()
        running["east"].kill()  # behind the cut: at the office its line stays half open
        running["east"].wait()
        east = processes("east")
        time.sleep(4)
        wire.cut.clear()
        figures.append(f"a half-open line: a whole round {whole_after(time.monotonic()):.1f} s after the cut")
        assert east.poll() is None
    sides = [names for *_, names in rounds()]
    assert all(set(names) <= set(ECHOES) for names in sides)
    print("\n" + "\n".join(figures))


@pytest.mark.slow
def test_a_study_across_a_bad_network_ends_as_it_should(tmp_path):
    if why := unable():
        pytest.skip(why)
    parameters = Parameters(scale=0.02, seed=4, workers=1, trust="aggregate")
    folder = run.start(tmp_path / "run", parameters)
    chaos._prepare(folder, parameters)
    shutil.rmtree(deployed.office_folder(folder))
    deployed.enrol(folder, parameters, PORT, HOST)
    study = deployed.begin(folder, parameters, deployed.QUIET).study
    store = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
    rounds = lambda: sum(place.step == "unmask" for place in store.places(digest(study)))  # noqa: E731
    figures = []

    def started_office():
        return deployed.start(folder, "office", "office", within=within(SPACES[0]), patience=PATIENCE)

    def until(many, seconds=200.0):
        """Wait for so many rounds; an office that ended with a clear state is started again, as a service would be."""
        nonlocal office, restarts
        begun = time.monotonic()
        while rounds() < many and office.poll() != 0:
            assert time.monotonic() - begun < seconds, (folder.path / "logs" / "office.log").read_text()[-3000:]
            if office.poll():
                assert office.poll() in CLEAR, (folder.path / "logs" / "office.log").read_text()[-3000:]
                office, restarts = started_office(), restarts + 1
            time.sleep(0.05)
        return time.monotonic() - begun

    with Wire() as wire, contextlib.ExitStack() as stack:
        start = lambda name: deployed.start(folder, "supplier", name, within=within(SPACES[1]))  # noqa: E731
        suppliers = {name: start(name) for name in deployed.NAMES}
        stack.callback(lambda: [process.kill() or process.wait() for process in suppliers.values()])
        office, restarts = started_office(), 0
        stack.callback(lambda: office.kill() or office.wait())
        until(2)
        figures.append(f"{until(12) / 10:.2f} s a round of five steps at 100 ms each way, 1 % loss, 10 Mbit/s")

        wire.cut.set()  # a partition, short of what keep-alives allow
        time.sleep(6)
        wire.cut.clear()
        figures.append(f"first round {until(rounds() + 1):.1f} s after a partition of 6 s")

        suppliers["north"].send_signal(signal.SIGSTOP)
        stalled = rounds()
        figures.append(f"a round with a stalled supplier in {until(stalled + 1):.1f} s: it drops out of it")
        suppliers["north"].send_signal(signal.SIGCONT)
        until(rounds() + 1)

        wire.cut.set()  # a supplier dies behind the partition: its line stays half open at the office
        suppliers["east"].kill()
        suppliers["east"].wait()
        suppliers["east"] = start("east")
        time.sleep(5)
        wire.cut.clear()
        figures.append(f"first round {until(rounds() + 1):.1f} s after a line was left half open")

        wire.cut.set()  # longer than keep-alives allow: every stream dies, and is dialled anew
        time.sleep(40)
        wire.cut.clear()
        until(sum(phase.rounds for phase in study.phases), seconds=400.0)
        assert office.wait(60) == 0, (folder.path / "logs" / "office.log").read_text()[-3000:]
        figures.append(f"the office ended with a clear state and was started again {restarts} times")
        figures.append(f"{wire.packets} packets, {wire.lost} lost")
    print("\n" + "\n".join(figures))
    print(chaos_checks.check(folder, parameters))
