# SPDX-License-Identifier: Apache-2.0
"""Jobs in several processes: in order, and none outlives the run that began it."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skyglow_simulations.processes import each

SLEEPERS = """
import os, time
from skyglow_simulations.processes import each

def job(number):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    list(each(job, range(2), 2))
"""


def test_results_are_in_order_and_a_failure_ends_all():
    assert list(each(math.isqrt, [0, 1, 4, 9, 16], 2)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="nonnegative"):
        list(each(math.isqrt, [4, -4, 9], 2))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_run_that_was_killed(tmp_path, sent):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as run:
        workers = {int(run.stdout.readline()) for _ in range(2)}
        assert all(alive(worker) for worker in workers)
        run.send_signal(sent)
        run.wait()
        until = time.monotonic() + 30
        while any(alive(worker) for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)
        left = {worker for worker in workers if alive(worker)}
        for worker in left:
            os.kill(worker, signal.SIGKILL)
        assert not left


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and waits to be seen does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
