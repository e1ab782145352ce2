# SPDX-License-Identifier: Apache-2.0
"""Secure aggregation: CPU time beside the keystream that the masks need, bytes beside the plain vector, and Flower's.

A supplier's time is all of its five steps with the messages' encoding and decoding, an average over the survivors; the
office's is all of its steps likewise. The keystream is AES-256-CTR, by the same library, of every mask that side adds
or subtracts: K vectors for a supplier; for the office one a survivor, and K − d for each of the d that dropped.
Masking is the part of a supplier's time that grows with K × words; the rest is signatures and key agreement (about
0.3 ms for each supplier there is) and some passes over the vector, and weighs the more, the shorter the vector is.
Bytes are all that a supplier sends and receives, beside its vector's own words.
Flower's SecAgg+ runs in `.venv-flower`, in the same turns; without that environment its lines are left out.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import codec, masks, messages, office
from skyglow_shared.secagg.ledger_heads import Head, Witness
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.signing import Identity
from skyglow_shared.study import Supplier

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, interleaved, run

ROOT = Path(__file__).resolve().parents[1]
FLOWER = ROOT / ".venv-flower/bin/python"
TOLERATED = {5: Parameters(5, 1, 1), 10: Parameters(10, 2, 2), 20: Parameters(20, 4, 4)}
WORD_BITS = 32
STEPS = ("advertised", "shared", "masked", "signed", "unmasked")
MOST_KEYSTREAMS = 2.0
MOST_BYTES = 1.1
FASTER_THAN_FLOWER = 20.0
Asked = messages.FromOffice | dict[str, messages.Delivery]
_CHUNK = memoryview(bytes(1 << 16))
_FRESH = Witness(seen={}, digest_at=lambda entries: "")  # nobody has seen anybody's ledger before


@dataclass(slots=True)
class Clock:
    """CPU seconds and bytes of one supplier, by name, and the CPU seconds of the office."""

    suppliers: dict[str, float]
    moved: dict[str, int]
    office: float = 0.0


@dataclass(slots=True)
class Case:
    """So many suppliers and words, of whom so many are gone before they send their vectors."""

    parameters: Parameters
    words: int
    dropped: int
    vectors: dict[str, NDArray[np.int64]] = field(init=False)
    identities: dict[str, Identity] = field(init=False)
    attempts: int = 0
    last: Clock = field(init=False)

    def __post_init__(self) -> None:
        names = [f"supplier-{place}" for place in range(self.parameters.suppliers)]
        drawn = np.random.default_rng(7)
        self.identities = {name: Identity.generate() for name in names}
        self.vectors = {name: drawn.integers(-(10**6), 10**6, self.words) for name in names}

    @property
    def name(self) -> str:
        """In words."""
        lost = f"{self.dropped} dropped" if self.dropped else "none dropped"
        return f"K = {self.parameters.suppliers}, {self.words:,} words, {lost}"

    @property
    def left(self) -> int:
        """How many survive."""
        return self.parameters.suppliers - self.dropped

    def keystream(self, masks: int) -> float:
        """CPU seconds of so many masks' bare keystreams."""
        start = time.process_time()
        buffer, size = bytearray(len(_CHUNK) + 16), self.words * WORD_BITS // 8
        for _ in range(masks):
            cipher = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
            for begin in range(0, size, len(_CHUNK)):
                cipher.update_into(_CHUNK[: size - begin], buffer)
        return time.process_time() - start

    def supplier_keystream(self) -> float:
        """One supplier's: a mask of its own and one for each of the others."""
        return self.keystream(self.parameters.suppliers)

    def office_keystream(self) -> float:
        """The office's: what must be taken out of the sum."""
        return self.keystream(self.left + self.dropped * self.left)

    def masking(self) -> float:
        """CPU seconds of adding and subtracting one supplier's masks, and of nothing else."""
        words = np.zeros(self.words, dtype=codec.lane(WORD_BITS))
        keys = [place.to_bytes(32, "little") for place in range(self.parameters.suppliers)]
        start = time.process_time()
        masks.apply(words, WORD_BITS, plus=keys[::2], minus=keys[1::2])
        return time.process_time() - start

    def supplier(self) -> float:
        """A whole attempt; CPU seconds of an average survivor. The office's are then known too."""
        self.last = self.attempt()
        times = list(self.last.suppliers.values())[: self.left]
        return sum(times) / len(times)

    def attempt(self) -> Clock:
        """Run an attempt, and check that its sum is the plain sum."""
        self.attempts += 1
        roster = tuple(Supplier(name=name, public_key=one.public_key) for name, one in self.identities.items())
        session = Session(
            study="ab" * 32,
            phase="training",
            round=0,
            attempt=self.attempts,
            roster=roster,
            parameters=self.parameters,
            words=self.words,
            word_bits=WORD_BITS,
        )
        clock = Clock(dict.fromkeys(self.vectors, 0.0), dict.fromkeys(self.vectors, 0))
        result = _drive(session, self, clock)
        wanted = sum(self.vectors[name] for name in result.survivors)
        if len(result.survivors) != self.left or not np.array_equal(result.values, wanted):
            raise SystemExit(f"{self.name}: the secure sum is not the plain sum")
        return clock

    def office(self) -> float:
        """The office's CPU seconds in the attempt that was just run."""
        return self.last.office


def _drive(session: Session, case: Case, clock: Clock) -> office.Sum:
    """All steps of all sides, each under its own clock."""
    rounds: dict[str, Round] = {}
    replies: dict[str, bytes] = {}
    head, randomness = Head(entries=1, digest="ab" * 32), SystemRandomness()
    for name, identity in case.identities.items():
        start = time.process_time()
        rounds[name], advertisement = Round.begin(session, name, identity, head, randomness)
        replies[name] = messages.encode(advertisement)
        clock.suppliers[name] += time.process_time() - start
    side: object = office.begin(session)
    for step in STEPS:
        clock.moved.update({name: clock.moved[name] + len(reply) for name, reply in replies.items()})
        start = time.process_time()
        taken = getattr(side, step)({name: messages.decode_reply(reply) for name, reply in replies.items()})
        if isinstance(taken, office.Sum):
            clock.office += time.process_time() - start
            return taken
        side, asked = taken
        requests = _requests(asked, replies)
        clock.office += time.process_time() - start
        there = list(requests)[: case.left] if step == "shared" else list(requests)
        replies = {name: _answer(name, requests[name], rounds, case, clock) for name in there}
    raise AssertionError("the last step gives the sum")


def _requests(asked: Asked, replies: dict[str, bytes]) -> dict[str, bytes]:
    """What each supplier is sent: the same bytes for all, or its own delivery."""
    if isinstance(asked, dict):
        return {name: messages.encode(message) for name, message in asked.items()}
    return dict.fromkeys(replies, messages.encode(asked))


def _answer(name: str, request: bytes, rounds: dict[str, Round], case: Case, clock: Clock) -> bytes:
    start = time.process_time()
    message = messages.decode_request(request)
    rounds[name], reply = rounds[name].answer(message, case.identities[name], lambda: case.vectors[name], _FRESH)
    encoded = messages.encode(reply)
    clock.suppliers[name] += time.process_time() - start
    clock.moved[name] += len(request)
    return encoded


class Flower:
    """A process of its own that runs one round of SecAgg+ for each line it is sent."""

    def __init__(self, case: Case) -> None:
        program = ROOT / "benchmarks/peers/flower_secagg.py"
        numbers = case.parameters.suppliers, case.words, case.parameters.threshold
        command = [str(FLOWER), str(program), *map(str, numbers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.last: dict[str, float] = {}

    def supplier(self) -> float:
        """CPU seconds of one client in a round; the server's are then known too."""
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("the peer's process has no pipes")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.last = json.loads(self.process.stdout.readline())
        return self.last["supplier"]

    def office(self) -> float:
        """The server's CPU seconds in the round that was just run."""
        return self.last["office"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def measure(quick: bool) -> Sequence[Result]:
    """Each case in turn; within it, all sides take turns."""
    cases = [
        Case(TOLERATED[k], words, dropped)
        for words in ((100_000,) if quick else (100_000, 1_000_000))
        for k in ((5, 20) if quick else TOLERATED)
        for dropped in (0, TOLERATED[k].dropouts)
    ]
    results: list[Result] = []
    for case in cases:
        peer = Flower(case) if FLOWER.exists() and not case.dropped and case.parameters.suppliers == 5 else None
        results += _compared(case, repeats=5 if quick else 9, flower=peer)
    return results


def _compared(case: Case, repeats: int, flower: Flower | None) -> Iterator[Result]:
    turns: dict[str, Callable[[], float]] = {
        "supplier keystream": case.supplier_keystream,
        "office keystream": case.office_keystream,
        "masking": case.masking,
        "supplier": case.supplier,
        "office": case.office,
    }
    if flower:
        turns |= {"flower supplier": flower.supplier, "flower office": flower.office}
    seconds = interleaved(turns, repeats)
    if flower:
        flower.close()
        both = seconds["flower supplier"] * case.parameters.suppliers + seconds["flower office"]
        ours = seconds["supplier"] * case.parameters.suppliers + seconds["office"]
        unit, peer = "CPU ms", "Flower SecAgg+"
        yield Result(f"a round, {case.name}", ours * 1e3, unit, peer, both / ours, FASTER_THAN_FLOWER)
        for side in ("supplier", "office"):
            yield Result(
                f"{side}, {case.name}", seconds[side] * 1e3, unit, peer, seconds[f"flower {side}"] / seconds[side]
            )
        steps = flower.last["error"]
        yield Result("error of Flower's mean", steps, "quantisation steps at worst (ours: exact)", "itself", 1.0)
    for side, needed in (("masking", "supplier"), ("supplier", "supplier"), ("office", "office")):
        times = seconds[side] / seconds[f"{needed} keystream"]
        allowed = f"the {MOST_KEYSTREAMS:g} keystreams allowed ({times:.2f} taken)"
        goal = 0.0 if side == "office" else 1.0
        yield Result(f"{side}, {case.name}", seconds[side] * 1e3, "CPU ms", allowed, MOST_KEYSTREAMS / times, goal)
    plain = case.words * WORD_BITS // 8
    moved = max(case.last.moved.values()) / plain
    yield Result(f"bytes, {case.name}", moved, "plain vectors", f"the {MOST_BYTES:g} allowed", MOST_BYTES / moved, 1.0)


if __name__ == "__main__":
    run("Secure aggregation beside its keystream, the plain vector and Flower's SecAgg+, in one run.", measure)
