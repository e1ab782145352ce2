# SPDX-License-Identifier: Apache-2.0
"""The stacked simulator beside a plain loop and, with --peers, beside pfl 0.6.0 and Flower 1.41's simulation.

Every run is a process of its own, one after the other, so that a busy machine slows all alike; a ratio is the median of
those taken within a turn of all. A round is what one more round takes (the difference of two run lengths); start-up is
everything else. Accuracies are means over seeds, beside the standard error of what they differ by. All have their
tensors in memory, one thread a process, and telemetry off. `--device cuda` puts the stacked simulator, and nothing
else, on a device. `--quick` takes one turn, and Flower on two workloads. Linux only.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median, variance

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run
from benchmarks.peers.usage import Usage, measured

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "peers"
WORKLOADS = ("W1", "W2", "W3", "W4")
OURS, SEEDS = "skyglow", "skyglow, 16 seeds at once"
GOALS = {
    ("pfl", "W1"): 40.0,
    ("pfl", "W2"): 12.0,
    ("pfl", "W3"): 40.0,
    ("pfl", "W4"): 30.0,
    ("Flower", "W1"): 100.0,
    ("plain loop", "W1"): 20.0,
    ("plain loop", "W2"): 6.0,
    ("plain loop", "W3"): 20.0,
    ("plain loop", "W4"): 20.0,
}
ALONE = ("pfl", "plain loop")  # all in one process
QUICK_FLOWER = ("W1", "W2")  # its start on the others, a thousand clients and more, would take most of a quick run
WITHIN_POINTS = 0.5  # of accuracy
SEEDS_OF_QUICK = {"W1": 4, "W2": 4, "W3": 8, "W4": 8}  # in its few rounds the last two depend more on the seed
SEEDS_A_TURN = 2

Turn = Mapping[tuple[str, str], Usage]


def environments() -> None:
    """Make the peers' environments where they are missing."""
    python = ROOT / ".venv-pfl" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    wanted = ["pfl==0.6.0", "torch==2.13.0"]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["make", "env-flower"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def commands(peers: bool) -> dict[str, list[str]]:
    """How each simulator is started, by name."""
    ours = {
        OURS: [sys.executable, str(PROGRAMS / "stacked.py")],
        SEEDS: [sys.executable, str(PROGRAMS / "stacked.py")],
        "plain loop": [sys.executable, str(PROGRAMS / "loop.py")],
    }
    pfl, flower = ROOT / ".venv-pfl" / "bin", ROOT / ".venv-flower" / "bin"
    theirs = {
        "pfl": [str(pfl / "python"), str(PROGRAMS / "pfl_program.py")],
        "pfl, 2 processes": [str(pfl / "torchrun"), "--nproc_per_node=2", str(PROGRAMS / "pfl_program.py")],
        "Flower": [str(flower / "python"), str(PROGRAMS / "flower_program.py")],
    }
    return {**ours, **theirs} if peers else ours


def turn(programs: Mapping[str, Sequence[str]], device: str, quick: bool, number: int) -> Turn:
    """Every simulator once on every workload, with seeds of this turn's own; ours longer, for its rounds are short."""
    peers, ours = (("2", "8") if quick else ("3", "25")), (("10", "510") if quick else ("20", "1020"))
    taken = {}
    for workload in WORKLOADS:
        for name, command in programs.items():
            if quick and name == "Flower" and workload not in QUICK_FLOWER:
                continue
            theirs = ("1", "4") if quick and name == "Flower" else peers
            seeds = SEEDS_OF_QUICK[workload] if quick else SEEDS_A_TURN
            extra = {"COPIES": "16" if name == SEEDS else "1", "DEVICE": device, "SEED": str(number * seeds)}
            extra["SEEDS"] = str(seeds if name in ALONE else 1)
            taken[name, workload] = measured([*command, workload, *(ours if name == OURS else theirs)], extra)
            print(f"{workload} {name}: {taken[name, workload]}", file=sys.stderr)
    return taken


def measure(peers: bool, device: str, quick: bool) -> Sequence[Result]:
    """Rounds, start-up, processor time, memory and accuracy of all, workload by workload."""
    if peers:
        environments()
    programs = commands(peers)
    turns = [turn(programs, device, quick, number) for number in range(1 if quick else 3)]
    names = [name for name in programs if name not in (OURS, SEEDS)]
    speed = [result for name in reversed(names) for result in _speed(name, turns)]
    speed.sort(key=lambda result: result.against != "pfl")
    return [
        *speed,
        *_seeds(turns),
        *(one for name in names if name in ALONE or not quick for one in _accuracy(name, turns)),  # a seed a turn
        *_usage(programs, turns),
    ]


def _run_on(name: str, turns: Sequence[Turn]) -> list[str]:
    return [workload for workload in WORKLOADS if (name, workload) in turns[0]]


def _speed(name: str, turns: Sequence[Turn]) -> Iterator[Result]:
    for workload in _run_on(name, turns):
        pairs = [(taken[name, workload], taken[OURS, workload]) for taken in turns]
        ratio = median(theirs.round_ms / ours.round_ms for theirs, ours in pairs)
        goal = GOALS.get((name, workload), 0.0)
        yield Result(f"{workload} a round", median(ours.round_ms for _, ours in pairs), "ms", name, ratio, goal)
        if name in ALONE:
            ratio = median(theirs.round_cpu_ms / ours.round_cpu_ms for theirs, ours in pairs)
            own = median(ours.round_cpu_ms for _, ours in pairs)
            yield Result(f"{workload} a round, processor time", own, "ms", name, ratio)


def _seeds(turns: Sequence[Turn]) -> Iterator[Result]:
    for workload in WORKLOADS:
        ours = median(taken[SEEDS, workload].round_ms for taken in turns)
        ratio = median(taken[OURS, workload].round_ms / taken[SEEDS, workload].round_ms for taken in turns)
        yield Result(f"{workload} a round and seed, 16 seeds at once", ours, "ms", "one seed alone", ratio)


def _accuracy(name: str, turns: Sequence[Turn]) -> Iterator[Result]:
    for workload in _run_on(name, turns):
        ours, theirs = ([one for taken in turns for one in taken[n, workload].accuracies] for n in (SEEDS, name))
        apart, error = mean(ours) - mean(theirs), sum(variance(seeds) / len(seeds) for seeds in (ours, theirs)) ** 0.5
        means = " and ".join(f"{mean(seeds):.2f} % over {len(seeds)} seeds" for seeds in (ours, theirs))
        for what, value, at_most in (("", apart, 1.0), (", standard error", error, 0.5)):  # a larger error tells little
            title, ratio = f"{workload} accuracy less that of {name}{what}", abs(value) / WITHIN_POINTS
            yield Result(title, value, "points", f"half a point: {means}", ratio, at_most=at_most)


def _usage(programs: Mapping[str, Sequence[str]], turns: Sequence[Turn]) -> Iterator[Result]:
    units = {"startup": ("start-up", "s"), "cpu": ("processor time of the run", "s")}
    for name in programs:
        for workload in _run_on(name, turns):
            for field, (what, unit) in {**units, "memory": ("peak memory", "MiB")}.items():
                own, base = (median(getattr(taken[n, workload], field) for taken in turns) for n in (name, OURS))
                yield Result(
                    f"{workload} {what}, {name}", own, unit, "skyglow's" if name != OURS else "itself", base / own
                )


if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--peers", action="store_true")
    own.add_argument("--device", default="cpu")
    chosen, sys.argv[1:] = own.parse_known_args()
    run(__doc__ or "", partial(measure, chosen.peers, chosen.device))
