# SPDX-License-Identifier: Apache-2.0
"""A disk that really is full, the office's and a supplier's: nothing is lost, nothing charged twice, and all go on.

Each lies on a small disk of its own (a tmpfs in a private mount namespace), which is filled while a study runs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import os, subprocess, sys, time
from pathlib import Path

from skyglow_server import serve  # first: it says what TLS gRPC may speak
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_simulations.links.ports import free_port
from skyglow_shared.study import digest
from skyglow_simulations import deployed, experiment, run
from skyglow_simulations.run import Folder, Parameters
import shutil

folder = Folder(Path(sys.argv[1]))
_, parameters = run.resume(folder.path)
done = deployed.begin(folder, parameters, deployed.QUIET)
twin = deployed.twin(done)
small = {"office": folder.office, "north": folder.supplier("north")}
for place in small.values():  # on a disk with four megabytes to spare
    aside = place.with_name(place.name + "-aside")
    place.rename(aside)
    place.mkdir()
    used = sum(path.stat().st_size // 4096 + 1 for path in aside.rglob("*") if path.is_file()) * 4096
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + 4 * 2**20}", "none", place], check=True)
    shutil.copytree(aside, place, dirs_exist_ok=True)


def rounds():
    store = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
    places = [place for place in store.places(digest(done.study)) if place.phase != "approvals"]
    return len(places)


def fill(place):
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def empty(place):
    (place / "filler").unlink()


said = []
with deployed.started(folder) as processes:
    for who, mark in (("north", 4), ("office", 12)):
        office = deployed.start(folder, "office", "office")
        while rounds() < mark:
            assert office.poll() is None, "the office ended before its disk was full"
            time.sleep(0.01)
        fill(small[who])
        said.append((who, office.wait(120)))
        assert all(process.poll() is None for process in processes.values()), "a supplier ended"
        again = deployed.start(folder, "office", "office").wait(120)
        said.append((who, again))
        empty(small[who])
    assert deployed.start(folder, "office", "office").wait(240) == 0
print(said)
deployed.compare(done, twin)
expected = sum(phase.rounds for phase in done.study.phases)
with experiment.opened(folder, parameters) as held:
    for name in deployed.NAMES:
        ledger = held[name].gate.ledger
        assert len(ledger.charges()[digest(done.study)]) == expected, name
        ledger.verify()
print("the same as on a disk with room")
"""


@pytest.mark.slow
def test_a_study_whose_disks_are_filled_goes_on_when_there_is_room(tmp_path):
    if os.getuid() or not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount a disk of its own: root, and unshare")
    folder = tmp_path / "run"
    prepare = (
        "import sys; from pathlib import Path; from skyglow_server import serve; "
        "from skyglow_simulations.links.ports import free_port; from skyglow_simulations import deployed, run; "
        "from skyglow_simulations.run import Parameters; "
        "p = Parameters(scale=0.01, seed=3, workers=1, trust='local'); f = run.start(Path(sys.argv[1]), p); "
        "d = deployed.begin(f, p, deployed.QUIET); d.prepare(); d.approve(); deployed.enrol(f, p, free_port())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", prepare, folder], check=True, env=environment)
    line = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", DRIVER, folder]
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=environment, timeout=900)
    logs = "".join(f"{path.name}: {path.read_text()[-1500:]}\n" for path in Path(folder / "logs").glob("*.log"))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    said, same = done.stdout.strip().splitlines()[-2:]
    assert same == "the same as on a disk with room"
    # LedgerError: the supplier could not write what it would charge; DatabaseError: the office could not store a round
    assert said == "[('north', 50), ('north', 50), ('office', 62), ('office', 62)]", said + logs
    assert "No space left" not in logs
