# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: a command line, interleaved repeats, and a verdict of one line.

Peers are measured in the same run, turn by turn with ours, so that a busy machine slows both. A figure is the median of
its turns; time is the process's own CPU time unless a benchmark says otherwise.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

Measure = Callable[[bool], Iterable["Result"]]


@dataclass(frozen=True, slots=True)
class Result:
    """One figure beside its peer's.

    Attributes
    ----------
    name, unit : str
    value : float
    against : str
        The peer, or what else `ratio` is taken to.
    ratio : float
        How many times better than that; where there is a ceiling, how many times as much.
    goal : float
        The least ratio wanted; 0 for none.
    at_most : float
        The largest ratio wanted; 0 for none. With neither, a figure is shown for information.
    floor : float
        The least ratio that is possible, where that was measured too.
    """

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    goal: float = 0.0
    at_most: float = 0.0
    floor: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the goal is met."""
        return self.ratio >= self.goal and not 0 < self.at_most < self.ratio

    def __str__(self) -> str:
        notes = [f"goal {self.goal:g}×"] if self.goal else []
        notes += [f"at most {self.at_most:g}×"] if self.at_most else []
        notes = [f"{' and '.join(notes)}: {'holds' if self.holds else 'MISSED'}"] if notes else []
        notes += [f"floor {self.floor:.3g}×"] if self.floor else []
        told = f" ({', '.join(notes)})" if notes else ""
        return f"{self.name}: {self.value:,.3g} {self.unit}, {self.ratio:.3g}× {self.against}{told}"


def per_cpu_second(work: Callable[[], object], count: int) -> Callable[[], float]:
    """A turn that does `work`, worth `count`, and returns the count per CPU-second of this process."""
    return _rate(work, count, time.process_time)


def per_second(work: Callable[[], object], count: int) -> Callable[[], float]:
    """Likewise per second of wall clock: for what waits on a disk."""
    return _rate(work, count, time.perf_counter)


def _rate(work: Callable[[], object], count: int, clock: Callable[[], float]) -> Callable[[], float]:
    def turn() -> float:
        start = clock()
        work()
        return count / (clock() - start)

    return turn


def interleaved(turns: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Take turns, once to warm up and then `repeats` times; return the medians by name."""
    for turn in turns.values():
        turn()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats):
        for name, turn in turns.items():
            taken[name].append(turn())
    return {name: median(values) for name, values in taken.items()}


def run(description: str, measure: Measure) -> None:
    """Measure, print every result, write JSON if asked, end with the verdict; exit with 1 if a goal is missed.

    A figure is printed when it is known, and a goal that is missed stops nothing.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller turns: seconds, not minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    arguments = parser.parse_args()
    results = []
    for result in measure(arguments.quick):
        print(result, flush=True)
        results.append(result)
    if arguments.json:
        plain = [{**asdict(result), "holds": result.holds} for result in results]
        arguments.json.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    headline = results[0]
    missed = [result.name for result in results if not result.holds]
    verdict = f"MISSED ({'; '.join(missed)})" if missed else "holds"
    print(f"{verdict}: {headline.name} at {headline.ratio:.3g}× {headline.against}")
    sys.exit(bool(missed))
