# SPDX-License-Identifier: Apache-2.0
"""Secure aggregation: CPU time beside the keystream that the masks need, bytes beside the plain vector, and Flower's.

A supplier's time is all of its five steps with the messages' encoding and decoding, an average over the survivors; the
office's is all of its steps likewise. The keystream is of every mask that side puts on or takes off (K vectors for a
supplier; for the office one a survivor, and K − d for each of the d that dropped), by the faster of AES-256-CTR and
ChaCha20, with nothing done with it. The goals are set against that. Where a processor computes AES-256-GCM faster than
either, the masks come from it, and its own bare keystream is the floor that a line tells. Bytes are all that a supplier
sends and receives.

Suppliers know one another's channel keys from the study's first round: to draw, verify and agree on them comes once a
study, is in no round's figure, and has a line of its own. Neither are the envelopes that a link seals every message in,
whatever is in it, and their signatures, which the books of both sides rest on: they have a line of their own too.

Flower's SecAgg+ runs in `.venv-flower` in the same turns, in three ways: its primitives alone, the code that a
deployment runs without its network, and, unless `--quick`, its simulation engine, by the clock on the wall. Without
that environment its lines are left out. All else is the processor's time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from skyglow_shared.secagg.session import Parameters

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, interleaved, run
from benchmarks.peers.secagg_attempt import TIMES, WORD_BITS, Case

ROOT = Path(__file__).resolve().parents[1]
FLOWER = ROOT / ".venv-flower/bin/python"
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
TOLERATED = {5: Parameters(5, 1, 1), 10: Parameters(10, 2, 2), 20: Parameters(20, 4, 4)}
MOST_KEYSTREAMS, MOST_BYTES, FASTER_THAN_FLOWER = 2.0, 1.1, 20.0
CIPHERS: dict[str, Callable[[], CipherContext]] = {
    "AES-256-CTR": lambda: Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor(),
    "ChaCha20": lambda: Cipher[None](algorithms.ChaCha20(bytes(32), bytes(16)), None).encryptor(),
}
_GCM = "AES-256-GCM"
_EVERY_CIPHER = CIPHERS | {_GCM: lambda: Cipher(algorithms.AES(bytes(32)), modes.GCM(bytes(12))).encryptor()}
_ZEROS = memoryview(bytes(1 << 17))


def keystream(cipher: str, words: int, masks: int) -> Callable[[], float]:
    """A turn: CPU seconds of one mask's bare keystream, an average of so many."""
    buffer, size = bytearray(len(_ZEROS) + 16), words * WORD_BITS // 8

    def turn() -> float:
        start = time.process_time()
        for _ in range(masks * TIMES):
            stream = _EVERY_CIPHER[cipher]()
            for begin in range(0, size, len(_ZEROS)):
                stream.update_into(_ZEROS[: size - begin], buffer)
        return (time.process_time() - start) / (masks * TIMES)

    return turn


class Flower:
    """A process of its own that runs one round of SecAgg+ for each line it is sent, and tells what it took."""

    def __init__(self, program: str, case: Case) -> None:
        numbers = case.parameters.suppliers, case.words, case.parameters.threshold
        command = [str(FLOWER), str(ROOT / "benchmarks/peers" / program), *map(str, numbers)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | QUIET
        )
        self.last: dict[str, float] = {}

    def round(self) -> float:
        """CPU seconds of all sides in a round."""
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("the peer's process has no pipes")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.last = json.loads(self.process.stdout.readline())
        return self.last["all"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def measure(quick: bool) -> Iterator[Result]:
    """Each case in turn; within it, all sides take turns."""
    repeats, sizes = (5, (100_000,)) if quick else (9, (100_000, 1_000_000))
    if FLOWER.exists():
        for words in sizes:
            yield from _beside_flower(Case(TOLERATED[5], words, 0), repeats, engine=not quick)
    for words in sizes:
        for k in (5, 20) if quick else TOLERATED:
            for dropped in (0, TOLERATED[k].dropouts):
                yield from _beside_keystream(Case(TOLERATED[k], words, dropped), repeats)


def _bare(case: Case) -> dict[str, Callable[[], float]]:
    """Turns of one mask by each cipher."""
    return {cipher: keystream(cipher, case.words, case.parameters.suppliers) for cipher in _EVERY_CIPHER}


def _needed(case: Case, mask: float) -> dict[str, float]:
    """CPU seconds of the keystreams that each side needs, each mask's taking so many."""
    masks = {"supplier": case.parameters.suppliers, "office": case.left + case.dropped * case.left}
    return {side: mask * count for side, count in masks.items()}


def _least(seconds: Mapping[str, float]) -> float:
    return min(seconds[cipher] for cipher in _EVERY_CIPHER)


def _fastest(seconds: Mapping[str, float]) -> str:
    return min(CIPHERS, key=seconds.__getitem__)


def _beside_flower(case: Case, repeats: int, *, engine: bool) -> Iterator[Result]:
    peers = {
        "Flower SecAgg+, the code that it deploys": Flower("flower_workflow.py", case),
        "Flower SecAgg+, its primitives alone": Flower("flower_secagg.py", case),
    }
    rounds = {"ours": case.whole, **{name: peer.round for name, peer in peers.items()}}
    seconds = interleaved(_bare(case) | rounds, repeats)
    bare, k = _needed(case, _least(seconds)), case.parameters.suppliers
    least = k * bare["supplier"] + bare["office"]
    ours, whole = seconds["ours"], f"a round of all sides, {case.name}"
    for (name, peer), goal in zip(peers.items(), (FASTER_THAN_FLOWER, 0.0), strict=True):
        peer.close()
        yield Result(whole, ours * 1e3, "CPU ms", name, seconds[name] / ours, goal)
        yield Result("  the keystreams of all sides alone", least * 1e3, "CPU ms", name, seconds[name] / least)
        yield Result("  the peer's mean", peer.last["error"], "quantisation steps off at worst", "itself", 1.0)
    yield Result("  our mean", case.error, "quantisation steps off at worst (the sum of steps: exact)", "itself", 1.0)
    if engine:
        yield _beside_engine(case, repeats)


def _beside_engine(case: Case, repeats: int) -> Result:
    numbers = case.parameters.suppliers, case.words, case.parameters.threshold
    command = [str(FLOWER), str(ROOT / "benchmarks/peers/flower_engine.py"), *map(str, numbers)]
    before = [_wall(case) for _ in range(repeats)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | QUIET).stdout
    theirs = median(json.loads(told.splitlines()[-1]))
    ours = median(before + [_wall(case) for _ in range(repeats)])
    name = f"a round of all sides one after another, {case.name}"
    return Result(name, ours * 1e3, "ms", "Flower SecAgg+, its simulation engine", theirs / ours, FASTER_THAN_FLOWER)


def _wall(case: Case) -> float:
    case.whole()
    return case.last.wall


def _beside_keystream(case: Case, repeats: int) -> Iterator[Result]:
    ours = {"masking": case.masking, "supplier": case.supplier, "office": case.office}
    others = {"channels": case.channels_once, "envelopes": case.envelopes}
    seconds = interleaved(_bare(case) | ours | others, repeats)
    fastest = _fastest(seconds)
    bare, against = _needed(case, seconds[fastest]), f"the bare keystream ({fastest})"
    floor = _least(seconds) / seconds[fastest]
    for side, keystreams in bare.items():
        name, ratio = f"{side}, {case.name}", seconds[side] / keystreams
        yield Result(name, seconds[side] * 1e3, "CPU ms", against, ratio, at_most=MOST_KEYSTREAMS, floor=floor)
    name, ratio = f"  a supplier's masks alone, {case.name}", seconds["masking"] / bare["supplier"]
    yield Result(name, seconds["masking"] * 1e3, "CPU ms", against, ratio, at_most=MOST_KEYSTREAMS, floor=floor)
    for what, name in (("channels", "channels, once a study"), ("envelopes", "envelopes, of all its messages")):
        ratio = seconds[what] / bare["supplier"]
        yield Result(f"  beside it: a supplier's {name}", seconds[what] * 1e3, "CPU ms", "the bare keystream", ratio)
    plain = case.words * WORD_BITS // 8
    moved = max(case.last.moved.values())
    name = f"  a supplier's bytes, {case.name}"
    yield Result(name, moved / 1e6, "MB", "the plain vector", moved / plain, at_most=MOST_BYTES)


if __name__ == "__main__":
    run("Secure aggregation beside its keystream, the plain vector and Flower's SecAgg+, in one run.", measure)
