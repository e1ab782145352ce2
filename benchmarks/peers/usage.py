# SPDX-License-Identifier: Apache-2.0
"""Run a program and see what it and everything it starts use: wall clock, processor time, memory. Linux only.

Engines start helpers that leave the process tree, so its processes are known by a mark in their environment.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_MARK = "SKYGLOW_BENCHMARK"
_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_SECONDS, _MEMORY_EVERY = 0.1, 5
_SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_LEFT_OUT = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}  # so that OpenBLAS knows the processor, as libraries elsewhere do


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run of a program used.

    Attributes
    ----------
    round_ms : float
        Wall clock of one more round.
    round_cpu_ms : float
        Its processor time, which a busy machine changes less; 0 where several processes share the work.
    startup : float
        Seconds of wall clock besides its rounds.
    cpu : float
        Seconds of processor time of the whole run but for what it did not time, all of its processes added.
    memory : float
        Largest sum of its processes' proportional memory, MiB.
    accuracies : tuple of float
        Of the trained models, seed by seed, per cent.
    """

    round_ms: float
    round_cpu_ms: float
    startup: float
    cpu: float
    memory: float
    accuracies: tuple[float, ...]


def measured(command: Sequence[str], extra: Mapping[str, str] | None = None) -> Usage:
    """Run a program that ends with a line of JSON, as `workloads.publish` prints it."""
    mark = uuid4().hex
    given = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment = {**given, **_SETTINGS, **(extra or {}), _MARK: mark}
    cpu: dict[int, float] = {}
    peak, turn = 0.0, 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        begun = time.time()
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors)
        while process.poll() is None:
            own = [pid for pid in _processes() if _has(pid, mark)]
            cpu.update({pid: _cpu(pid, cpu.get(pid, 0.0)) for pid in own})
            peak, turn = max(peak, sum(map(_memory, own)) if turn % _MEMORY_EVERY == 0 else 0.0), turn + 1
            time.sleep(_EVERY_SECONDS)
        out.seek(0)
        errors.seek(0)
        lines = [line for line in out if line.startswith('{"round"')]
        if process.returncode or not lines:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()[-2000:]}")
    figures = json.loads(lines[-1])
    wall, rounds = figures["ended"] - begun, figures["rounds"] * figures["round"]
    return Usage(
        round_ms=figures["round"] * 1e3,
        round_cpu_ms=figures["cpu"] * 1e3,
        startup=wall - rounds,
        cpu=sum(cpu.values()) - figures["apart"],
        memory=peak,
        accuracies=tuple(one * 100 for one in figures["accuracies"]),
    )


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _has(pid: int, mark: str) -> bool:
    return f"{_MARK}={mark}".encode() in _read(pid, "environ")


def _cpu(pid: int, before: float) -> float:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else before


def _memory(pid: int) -> float:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""
