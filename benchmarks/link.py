# SPDX-License-Identifier: Apache-2.0
"""Rounds over the link between real processes on loopback, beside Flower's deployment in the same run.

One office and five suppliers, each a process, over mutual TLS 1.3. A no-op round asks everybody for the bytes it sent.
A round of secure aggregation takes all five steps over 100,000 words; durably, every supplier keeps every step in its
ledger before it replies and the office keeps every step's replies, as in a study. Flower's side is a SuperLink and
five SuperNodes that echo a message, with its own defaults.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from skyglow_server.links.grpc import GrpcFederation  # first: it says what TLS gRPC may speak

# isort: split
from benchmarks.common import Result, run

from skyglow_server import keys
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_server.serve import federation
from skyglow_shared.secagg import messages, office
from skyglow_shared.secagg.recovering import Sum
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.signing import Identity
from skyglow_shared.study import Supplier

ROOT = Path(__file__).resolve().parents[1]
FLOWER = ROOT / ".venv-flower/bin/python"
NAMES = tuple(f"supplier-{number}" for number in range(5))
WORDS = 100_000
NO_OP_MS, SECURE_MS = 10.0, 150.0
STEPS = ("advertised", "shared", "masked", "confirmed", "unmasked")
_numbers = count(1)


@contextmanager
def deployed() -> Iterator[tuple[GrpcFederation, Mapping[str, Identity], Path]]:
    """An office that listens and five suppliers that have connected to it."""
    with tempfile.TemporaryDirectory(prefix="skyglow-link-") as name:
        folder = Path(name)
        link = _office(folder / "office")
        identities = {name: _enrolled(folder, name) for name in NAMES}
        with link:
            _readdressed(folder, link.port)
            line = [sys.executable, str(ROOT / "benchmarks/peers/link_supplier.py")]
            silent = {**os.environ, "GRPC_VERBOSITY": "NONE"}
            processes = [subprocess.Popen([*line, str(folder / name)], env=silent) for name in NAMES]
            try:
                link.ask(dict.fromkeys(NAMES, b"n"))
                yield link, identities, folder
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.wait()


def _office(folder: Path) -> GrpcFederation:
    keys.init(folder, "127.0.0.1:1")
    return federation(folder, listen="127.0.0.1:0", patience=60.0)


def _enrolled(folder: Path, name: str) -> Identity:
    identity = Identity.generate()
    identity.save(folder / name / "identity.key")
    keys.enrol(folder / "office", name, identity.public_key).rename(folder / name / "link")
    return identity


def _readdressed(folder: Path, port: int) -> None:
    for name in NAMES:
        kit = folder / name / "link" / "link.toml"
        kit.write_text(kit.read_text().replace("127.0.0.1:1", f"127.0.0.1:{port}"))


def no_op(link: GrpcFederation) -> float:
    """Seconds of one round that asks everybody for an echo."""
    begun = time.perf_counter()
    replies = link.ask(dict.fromkeys(NAMES, b"n"))
    seconds = time.perf_counter() - begun
    if len(replies) != len(NAMES):
        raise SystemExit("a supplier did not answer a no-op round")
    return seconds


def secure(link: GrpcFederation, identities: Mapping[str, Identity], store: Checkpoints | None) -> float:
    """Seconds of one round of secure aggregation; with a store, durably on both sides."""
    number = next(_numbers)
    session = Session(
        study="ab" * 32,
        phase="training",
        round=number,
        attempt=0,
        roster=tuple(Supplier(name=name, public_key=one.public_key) for name, one in identities.items()),
        parameters=Parameters(len(NAMES), 1, 1),
        words=WORDS,
        word_bits=32,
    )
    letter = b"S" if store else b"s"
    begun = time.perf_counter()
    side: object = office.begin(session)
    requests = dict.fromkeys(NAMES, (b"B" if store else b"b") + msgspec.msgpack.encode(session))
    for step in STEPS:
        replies = dict(link.ask(requests))
        if store:
            store.save(Place(session.study, session.phase, number, 0, step), replies)
        taken = getattr(side, step)({name: messages.decode_reply(reply) for name, reply in replies.items()})
        if isinstance(taken, Sum):
            seconds = time.perf_counter() - begun
            _check(taken)
            return seconds
        side, asked = taken
        contents = asked if isinstance(asked, dict) else dict.fromkeys(replies, asked)
        requests = {name: letter + messages.encode(content) for name, content in contents.items()}
    raise AssertionError("the last step gives the sum")


def _check(found: Sum) -> None:
    """The sum of the vectors that every supplier draws."""
    one = np.random.default_rng(len(NAMES[0])).integers(-(10**6), 10**6, WORDS)
    if len(found.survivors) != len(NAMES) or not np.array_equal(found.values, one * len(NAMES)):
        raise SystemExit("the secure sum is not the plain sum")


def measure(quick: bool) -> Sequence[Result]:
    """Turn by turn, so that a busy machine slows all alike; Flower's rounds run between ours and are waited for."""
    with deployed() as (link, identities, folder):
        store = Checkpoints.in_file(folder / "checkpoints.sqlite")
        turns: dict[str, tuple[Callable[[], float], int, float]] = {
            "no-op round": (lambda: no_op(link), 20, NO_OP_MS),
            "secure aggregation, 100,000 words": (lambda: secure(link, identities, None), 1, SECURE_MS),
            "secure aggregation, 100,000 words, durable": (lambda: secure(link, identities, store), 1, 0.0),
        }
        taken: dict[str, list[float]] = {name: [] for name in turns}
        for _, (turn, _, _) in turns.items():
            turn()
        for _ in range(20 if quick else 100):
            for name, (turn, times, _) in turns.items():
                taken[name] += [turn() * 1e3 for _ in range(times)]
    results = []
    for name, (_, _, goal) in turns.items():
        half, most = np.percentile(taken[name], [50, 99])
        allowed = goal or SECURE_MS
        note = f"the {allowed:g} ms allowed at the median (p99 {most:.3g} ms, {len(taken[name])} rounds)"
        results.append(Result(f"{name}, p50", half, "ms", note, allowed / half, 1.0 if goal else 0.0))
    return [*results, *_beside_flower(results[0].value, 2 if quick else 5)]


def _beside_flower(ours: float, rounds: int) -> list[Result]:
    if not FLOWER.exists():
        return []
    found = []
    for program, name, goal in (
        ("flower_link.py", "Flower 1.41's deployment", 1.0),
        ("flower_sites.py", "our own path through it", 0.0),
    ):
        line = [str(FLOWER), str(ROOT / "benchmarks/peers" / program), str(len(NAMES)), str(rounds)]
        said = subprocess.run(line, check=False, capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(f"Flower's side failed:\n{said.stderr[-2000:]}")
        seconds = json.loads(said.stdout.splitlines()[-1])
        theirs = float(np.median(seconds)) * 1e3
        against = f"{name} ({theirs:,.0f} ms, {len(seconds)} rounds)"
        found.append(Result("no-op round, p50", ours, "ms", against, theirs / ours, goal))
    return found


if __name__ == "__main__":
    run("Rounds over the link on loopback, beside Flower's deployment.", measure)
