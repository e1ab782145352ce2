# SPDX-License-Identifier: Apache-2.0
"""One attempt of skyglow's secure aggregation, all sides in one process, each under a clock of its own.

What is sent is copied from side to side outside the clocks, as a wire would: nobody pays for memory that others hold.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.messages import StepReply, seal_reply
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import channels, masks, messages, office
from skyglow_shared.secagg.channels import Channel, open_channel
from skyglow_shared.secagg.ledger_heads import Head, Witness
from skyglow_shared.secagg.recovering import Sum
from skyglow_shared.secagg.rounds import Round, Vector
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.signing import Identity
from skyglow_shared.study import Supplier

WORD_BITS = 32
SHORT = 1 << 16  # bytes of all other messages
STUDY = "ab" * 32
TIMES = 3  # what takes less than a millisecond is done so often in a turn
STEPS = ("advertised", "shared", "masked", "confirmed", "unmasked")
CLIP, LEVELS = 8.0, 1 << 22
_STEP = 2 * CLIP / LEVELS
_PART = 1 << 15  # numbers that stay in the processor's cache
_FRESH = Witness(seen={}, digest_at=lambda entries: "")  # nobody has seen anybody's ledger before
Asked = messages.FromOffice | dict[str, messages.Delivery] | dict[str, messages.Confirmations]


@dataclass(slots=True)
class Clock:
    """CPU seconds and bytes by supplier, CPU seconds of the office and of its mean, seconds on the wall of all."""

    suppliers: dict[str, float]
    moved: dict[str, int]
    office: float = 0.0
    mean: float = 0.0
    wall: float = 0.0


@dataclass(slots=True)
class Case:
    """So many suppliers and words, of whom so many are gone before they send their vectors."""

    parameters: Parameters
    words: int
    dropped: int
    vectors: dict[str, NDArray[np.float64]] = field(init=False)
    steps: dict[str, NDArray[np.int64]] = field(init=False)
    sum: NDArray[np.int64] = field(init=False)
    identities: dict[str, Identity] = field(init=False)
    channels: dict[str, Channel] = field(init=False)
    attempts: int = 0
    last: Clock = field(init=False)
    error: float = 0.0
    wires: dict[str, bytearray] = field(init=False)

    def __post_init__(self) -> None:
        names = [f"supplier-{place}" for place in range(self.parameters.suppliers)]
        drawn = np.random.default_rng(7)
        self.identities = {name: Identity.generate() for name in names}
        self.open_channels()
        self.wires = {name: bytearray(self.words * WORD_BITS // 8 + SHORT) for name in names}
        self.vectors = {name: drawn.uniform(-CLIP / 2, CLIP / 2, self.words) for name in names}
        self.steps = {name: quantised(vector) for name, vector in self.vectors.items()}
        self.sum = np.sum([self.steps[name] for name in names[: self.left]], axis=0)

    @property
    def name(self) -> str:
        """In words."""
        lost = f"{self.dropped} dropped" if self.dropped else "none dropped"
        return f"K = {self.parameters.suppliers}, {self.words:,} words, {lost}"

    @property
    def left(self) -> int:
        """How many survive."""
        return self.parameters.suppliers - self.dropped

    def open_channels(self) -> None:
        """Draw everybody's channel keys anew; whoever meets them next knows none of them."""
        randomness, own = SystemRandomness(), self.identities.items()
        self.channels = {name: open_channel(STUDY, name, identity, randomness) for name, identity in own}

    def channels_once(self) -> float:
        """CPU seconds of what an average supplier does once a study: draw its key, verify all others and agree."""
        start = time.process_time()
        self.open_channels()
        for name, own in self.channels.items():
            for other, theirs in self.channels.items():
                if other != name:
                    channels.verify.__wrapped__(STUDY, other, self.identities[other].public_key, theirs.shown)
                    channels.agreed(own.secret, STUDY, (name, own.shown.key), (other, theirs.shown.key))
        seconds = (time.process_time() - start) / len(self.channels)
        for name, shown in self.channels.items():  # once in a process, where each of them would by itself
            channels.verify(STUDY, name, self.identities[name].public_key, shown.shown)
        return seconds

    def envelopes(self) -> float:
        """CPU seconds of sealing a supplier's five messages, of which one is its vector."""
        name, identity = next(iter(self.identities.items()))
        vector, short = (
            StepReply(study=STUDY, phase="training", round=0, attempt=0, supplier=name, content=bytes(size))
            for size in (len(self.wires[name]), SHORT // 32)
        )
        start = time.process_time()
        for each in (vector, *[short] * (len(STEPS) - 1)):
            seal_reply(each, name, identity)
        return time.process_time() - start

    def masking(self) -> float:
        """CPU seconds of putting one supplier's masks on its vector, and of nothing else."""
        words = np.arange(self.words)
        keys = [place.to_bytes(32, "little") for place in range(self.parameters.suppliers)]
        start = time.process_time()
        for _ in range(TIMES):
            masks.put_on(words, WORD_BITS, 1, own=keys[0], plus=keys[1::2], minus=keys[2::2])
        return (time.process_time() - start) / TIMES

    def supplier(self) -> float:
        """A whole attempt; CPU seconds of an average survivor. The office's are then known too."""
        given: dict[str, Vector] = {name: partial(self.steps.__getitem__, name) for name in self.steps}
        times = list(self.attempt(given).suppliers.values())[: self.left]
        return sum(times) / len(times)

    def office(self) -> float:
        """The office's CPU seconds in the attempt that was just run."""
        return self.last.office

    def whole(self) -> float:
        """A whole attempt from floating-point vectors to their mean, as Flower's: CPU seconds of all sides."""
        clock = self.attempt({name: partial(quantised, vector) for name, vector in self.vectors.items()})
        return sum(clock.suppliers.values()) + clock.office + clock.mean

    def carried(self, name: str, encoded: bytes) -> bytes:
        """What a supplier sends, its vector in memory that is the office's from before."""
        if len(encoded) < SHORT:
            return encoded
        wire = memoryview(self.wires[name])[: len(encoded)]
        wire[:] = encoded
        return cast(bytes, wire)

    def attempt(self, given: dict[str, Vector]) -> Clock:
        """Run an attempt, and check that its sum is the plain sum."""
        self.attempts += 1
        roster = tuple(Supplier(name=name, public_key=one.public_key) for name, one in self.identities.items())
        session = Session(
            study=STUDY,
            phase="training",
            round=0,
            attempt=self.attempts,
            roster=roster,
            parameters=self.parameters,
            words=self.words,
            word_bits=WORD_BITS,
        )
        self.last = Clock(dict.fromkeys(self.vectors, 0.0), dict.fromkeys(self.vectors, 0))
        start = time.perf_counter()
        result, mean = _drive(session, self, given)
        self.last.wall = time.perf_counter() - start
        if result.survivors != tuple(self.vectors)[: self.left] or not np.array_equal(result.values, self.sum):
            raise SystemExit(f"{self.name}: the secure sum is not the plain sum")
        if not self.error:
            plain = np.mean([self.vectors[name] for name in result.survivors], axis=0)
            self.error = float(np.abs(mean - plain).max() / _STEP)
        return self.last


def quantised(vector: NDArray[np.float64]) -> NDArray[np.int64]:
    """A vector clipped as Flower clips it, on the grid that it has by default."""
    steps = np.empty(vector.size, dtype=np.int64)
    for start in range(0, vector.size, _PART):
        part = np.clip(vector[start : start + _PART], -CLIP, CLIP)
        part *= 1 / _STEP
        np.copyto(steps[start : start + _PART], np.rint(part, out=part), casting="unsafe")
    return steps


def _drive(session: Session, case: Case, given: dict[str, Vector]) -> tuple[Sum, NDArray[np.float64]]:
    """All steps of all sides, each under its own clock, and each with a session of its own: none has another's work."""
    rounds: dict[str, Round] = {}
    replies: dict[str, bytes] = {}
    clock, head, randomness = case.last, Head(entries=1, digest="ab" * 32), SystemRandomness()
    for name, identity in case.identities.items():
        own = msgspec.structs.replace(session)
        start = time.process_time()
        rounds[name], advertisement = Round.begin(
            own, name, identity, head, randomness, channel=case.channels[name], seen={}
        )
        replies[name] = messages.encode(advertisement)
        clock.suppliers[name] += time.process_time() - start
    side: object = office.begin(msgspec.structs.replace(session))
    for step in STEPS:
        clock.moved.update({name: clock.moved[name] + len(reply) for name, reply in replies.items()})
        start = time.process_time()
        taken = getattr(side, step)({name: messages.decode_reply(reply) for name, reply in replies.items()})
        if isinstance(taken, Sum):
            clock.office += (end := time.process_time()) - start
            mean: NDArray[np.float64] = np.multiply(taken.values, _STEP / len(taken.survivors))
            clock.mean = time.process_time() - end
            return taken, mean
        side, asked = taken
        requests = _requests(asked, replies)
        clock.office += time.process_time() - start
        there = list(requests)[: case.left] if step == "shared" else list(requests)
        replies = {name: _answer(name, requests[name], rounds, case, given) for name in there}
    raise AssertionError("the last step gives the sum")


def _requests(asked: Asked, replies: Iterable[str]) -> dict[str, bytes]:
    """What each supplier is sent: the same bytes for all, or its own delivery."""
    if isinstance(asked, dict):
        return {name: messages.encode(message) for name, message in asked.items()}
    return dict.fromkeys(replies, messages.encode(asked))


def _answer(name: str, request: bytes, rounds: dict[str, Round], case: Case, given: dict[str, Vector]) -> bytes:
    start = time.process_time()
    message = messages.decode_request(request)
    rounds[name], reply = rounds[name].answer(message, given[name], _FRESH)
    encoded = messages.encode(reply)
    case.last.suppliers[name] += time.process_time() - start
    case.last.moved[name] += len(request)
    return case.carried(name, encoded)
