# SPDX-License-Identifier: Apache-2.0
"""What nobody foresaw, in a process of each part: exit code 70, one line, and of the error's text no word."""

import re
import subprocess
import sys

import pytest

_VALUE = "4711.25 kWh in the home of A. N. Other"
_PROGRAM = """
import sys
import {module} as broken
from skyglow_shared.command import main

def fault(*_, **__):
    usage = {value!r}
    raise ValueError(usage)

setattr({owner}, {name!r}, fault)
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "owner", "name", "words"),
    [
        ("skyglow_client.command", "broken", "load_or_generate", ["supplier", "key"]),
        ("skyglow_server.command", "broken.keys", "init", ["office", "init", "office", "--address", "localhost:1"]),
        ("skyglow_simulations.command", "broken", "begin", ["simulate", "--quiet", "--out", "run"]),
    ],
    ids=["supplier", "office", "simulate"],
)
def test_a_fault_is_one_line_without_values(tmp_path, module, owner, name, words):
    program = _PROGRAM.format(module=module, owner=owner, name=name, value=_VALUE)
    run = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 70, run.stderr
    (line,) = run.stderr.splitlines()
    assert re.match(rf"skyglow: ValueError in {re.escape(module)}, line \d+, then __main__, line \d+: ", line)
    assert "fault of skyglow" in line
    assert "report" in line
    assert not any(word in run.stdout + run.stderr for word in ("4711", "kWh", "Other", "Traceback"))


_THREAD = """
import sys, threading
import skyglow_shared.command as command

def fault():
    usage = {value!r}
    raise ValueError(usage)

class Left:
    def __del__(self):
        fault()

def run(*_, **__):
    thread = threading.Thread(target=fault)
    thread.start()
    thread.join()
    left = Left()
    del left

command.build_parser = run
command.main()
"""


def test_a_fault_in_a_thread_or_at_an_objects_end_is_one_line_without_values():
    """Python itself would print both with their text."""
    program = _THREAD.format(value=_VALUE)
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    told = [line for line in run.stderr.splitlines() if line.startswith("skyglow: ValueError in ")]
    assert len(told) == 2
    assert not any(word in run.stdout + run.stderr for word in ("4711", "kWh", "Other"))
