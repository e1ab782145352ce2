# SPDX-License-Identifier: Apache-2.0
"""Charges through a ledger that has many already, beside bare durable inserts into SQLite and the disk's own fsync.

A round is two durable steps, a charge and a seal; a bare insert is one. Wall clock, for all of them wait on the disk.
The turns of a charge and of an fsync alternate, so that what the disk does to one it does to the other. An approved
plan's charge is timed through the gate itself, from the decoded request to the moment it would look at homes: decision,
order, policy, budget, charge. Then the round is sealed, outside the time, as every round is. An approval is timed from
the closed file on, as the command does it: open and verify the ledger, check the study, approve it.
"""

import hashlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from itertools import count, product
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_client.gate import chain
from skyglow_client.gate.gate import Gate
from skyglow_client.gate.ledger import Ledger, open_ledger
from skyglow_client.gate.policy import Policy
from skyglow_client.gate.rounds import round_key
from skyglow_client.learning.homes import Homes
from skyglow_shared.messages import RoundRequest, encode_weights
from skyglow_shared.models import features, presence
from skyglow_shared.models.logistic import parameter_count
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.signing import STUDY, Identity
from skyglow_shared.study import COMPOSITION_CLASSES, Source, Study, canonical_bytes, digest
from skyglow_shared.vocabulary import LEGAL_GATEWAYS

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, interleaved, per_second, run

SLOWER_AT_MOST = 10.0  # five syncs and two truncations, so that the secret is gone; a bare insert is one sync
BEYOND_FSYNC = 5e-3
APPROVAL = 5.0
ROUNDS = 200

Times = NDArray[np.float64]

_REPLY = bytes(4096)
_EVENT = {"noise_multiplier": 2000.0, "sampling_rate": 0.5, "count": 1, "numbers": 23}


def make_study(number: int, office: Identity, supplier: Identity) -> Study:
    """A study of so many rounds that hardly cost anything; each number makes another."""
    contract = features.contract("class22-v1")
    model = {
        "name": "all_aged_66_plus", "features": contract.name, "features_digest": contract.digest,
        "positive_classes": COMPOSITION_CLASSES[:2], "learning_rate": 0.5, "score_centre": 0.0, "score_width": 2.0,
    }  # fmt: skip
    block = {"name": "gradient", "source": "gradient", "model": model["name"], "l2_bound": 1.0}
    plain = {
        "name": f"study-{number}", "title": "A benchmark", "purpose": "testing", "legal_gateway": LEGAL_GATEWAYS[-1],
        "public_good": "None.", "reference_date": "2026-03-21", "expires": str(date.today() + timedelta(days=30)),
        "trust_mode": "local", "epsilon": 2.0, "delta": 1e-6, "period": {"start": "2026-03-09", "days": 28},
        "feature_week": "2026-03-16", "areas": [["E01010000", "E02000000", "E06000001"]], "households": 5000,
        "models": [model],
        "occupancy": {"basis": "presence_basis_v2", "basis_digest": presence.load("presence_basis_v2").digest},
        "phases": [{"name": "training", "rounds": ROUNDS, "sampling_rate": 0.5, "expected_homes": 200,
                    "blocks": [block | {"noise_multiplier": 900.0}]}],
        "office_key": office.public_key, "suppliers": [{"name": "north", "public_key": supplier.public_key}],
    }  # fmt: skip
    return msgspec.convert(plain, type=Study)


def fill(ledger: Ledger, charges: int, office: Identity, supplier: Identity) -> None:
    """Bring a ledger to so many charges, each sealed, of approved studies of `ROUNDS` rounds; not durably."""
    head, entries, rows, sealed = ledger.entries()[-1], [], [], []

    def append(kind: chain.Kind, body: object) -> None:
        nonlocal head
        head = chain.link(head.seq + 1, kind, head.time, body, head.hash)
        entries.append(msgspec.structs.astuple(head))

    ledger.connection.execute("PRAGMA synchronous = OFF")
    ledger.connection.execute("BEGIN")
    for number in range(-(-charges // ROUNDS)):
        study = make_study(number, office, supplier)
        identity, body = digest(study), canonical_bytes(study)
        row = (identity, body, office.sign(STUDY, body))
        ledger.connection.execute("INSERT INTO studies VALUES (?, ?, ?)", row)
        append("proposal", {"study": identity, "name": study.name})
        append("approval", {"study": identity, "name": study.name})
        for round_ in range(min(ROUNDS, charges - number * ROUNDS)):
            key = f"{identity}/training/{round_}/0/share"
            append("charge", {"key": key, "study": identity, "event": _EVENT, "request": "0" * 64})
            append("seal", {"key": key, "reply": hashlib.sha256(key.encode()).hexdigest()})
            rows.append((key, "0" * 64))
            sealed.append((key, key.encode()))
    ledger.connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", entries)
    ledger.connection.executemany("INSERT INTO charges VALUES (?, ?)", rows)
    ledger.connection.executemany("INSERT INTO sealed VALUES (?, ?)", sealed)
    ledger.connection.execute("COMMIT")
    ledger.connection.execute("PRAGMA synchronous = FULL")


def _rounds(ledger: Ledger, numbers: "count[int]", size: int) -> None:
    for _ in range(size):
        key = f"study/training/{next(numbers)}/0/share"
        ledger.charge(key, "0" * 64, bytes(32), {"key": key, "study": "ab" * 32, "event": _EVENT, "request": "0" * 64})
        ledger.seal(key, _REPLY, {"key": key, "reply": hashlib.sha256(_REPLY).hexdigest()})


def _bare(connection: sqlite3.Connection, size: int) -> None:
    for _ in range(size):
        connection.execute("INSERT INTO entries VALUES (NULL, ?, ?)", (msgspec.json.encode(_EVENT), _REPLY))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _ChargedError(Exception):
    """Raised where a supplier would begin to compute."""


def _homes(study: Study) -> Homes:
    raise _ChargedError(study.name)


def _charge(gate: Gate, request: RoundRequest) -> None:
    try:
        gate.answer(request, _homes)
    except _ChargedError:
        return
    raise SystemExit("the benchmark's round was answered before")


def _gate(ledger: Ledger, office: Identity, supplier: Identity) -> Gate:
    policy = Policy(
        office_key=office.public_key, epsilon=20.0, delta=1e-6, window_days=365, purposes=("testing",),
        legal_gateways=(LEGAL_GATEWAYS[-1],), features=("class22-v1",), trust_modes=("local",),
        sources=Source.__args__, least_homes=1, least_suppliers=1, most_rounds=ROUNDS,
    )  # fmt: skip
    return Gate("north", supplier, policy, ledger, SystemRandomness())


def _approve(folder: Path, study: Study, office: Identity, supplier: Identity) -> float:
    """Seconds to open the ledger and approve a study that is proposed there."""

    def work() -> None:
        with closing(open_ledger(folder / "many.sqlite")) as ledger:
            _gate(ledger, office, supplier).approve(digest(study))

    return _seconds(work)


def _alternating(folder: Path, studies: Sequence[Study], office: Identity, supplier: Identity) -> tuple[Times, Times]:
    """Seconds of each fsync, and of each charge, of some approved studies' rounds, study after study."""
    synced, charged = [], []
    weights = {"all_aged_66_plus": encode_weights(np.zeros(parameter_count(studies[0].models[0])))}
    with closing(open_ledger(folder / "many.sqlite")) as ledger, (folder / "fsync").open("wb", buffering=0) as file:
        gate = _gate(ledger, office, supplier)

        def sync() -> None:
            file.write(_REPLY)
            os.fsync(file.fileno())

        for study, round_ in product(studies, range(ROUNDS)):
            request = RoundRequest(study=digest(study), phase="training", round=round_, weights=weights)
            synced.append(_seconds(sync))
            charged.append(_seconds(partial(_charge, gate, request)))
            key = round_key(request)
            ledger.seal(key, _REPLY, {"key": key, "reply": hashlib.sha256(_REPLY).hexdigest()})
    return np.array(synced), np.array(charged)


def _with_many(folder: Path, charges: int, studies: int) -> list[Result]:
    """A charge of an approved plan, an approval and an fsync, in a ledger that has `charges` already."""
    office, supplier = Identity.generate(), Identity.generate()
    new = [make_study(-1 - number, office, supplier) for number in range(studies)]
    with closing(open_ledger(folder / "many.sqlite")) as ledger:
        fill(ledger, charges, office, supplier)
        for study in new:
            body = canonical_bytes(study)
            ledger.propose(digest(study), body, office.sign(STUDY, body), {"study": digest(study), "name": study.name})
    approval = float(np.median([_approve(folder, study, office, supplier) for study in new]))
    synced, charged = _alternating(folder, new, office, supplier)
    (disk, slow_disk), (usual, slow) = (1e3 * np.quantile(times, (0.5, 0.99)) for times in (synced, charged))
    goal = f"the {1e3 * BEYOND_FSYNC:g} ms allowed beyond the disk's p99"
    room = 1e3 * BEYOND_FSYNC / max(slow - slow_disk, 1e-6)
    return [
        Result(f"p99 of an approved plan's charge at {charges:,}", slow, "ms", goal, room, 1.0),
        Result("p50 of it", usual, "ms", "an fsync", disk / usual),
        Result("charges", 1 / float(np.mean(charged)), "a second", "fsyncs", float(np.mean(synced) / np.mean(charged))),
        Result("p99 of fsync", slow_disk, "ms", "itself", 1.0),
        Result("p50 of fsync", disk, "ms", "itself", 1.0),
        Result(f"an approval at {charges:,}", approval, "s", f"the {APPROVAL:g} s allowed", APPROVAL / approval, 1.0),
    ]


def _beside_bare(folder: Path, quick: bool) -> list[Result]:
    """Rounds a second through a new ledger, and bare inserts a second, in one folder."""
    size = 20 if quick else 200
    bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    with closing(bare), closing(open_ledger(folder / "ledger.sqlite")) as ledger:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT, reply BLOB)")
        numbers = count()
        turns = {
            "rounds": per_second(lambda: _rounds(ledger, numbers, size), size),
            "bare": per_second(lambda: _bare(bare, size), size),
        }
        rates = interleaved(turns, repeats=3 if quick else 9)
    slower = rates["bare"] / rates["rounds"]
    against, goal = "bare durable SQLite inserts", 1 / SLOWER_AT_MOST
    return [
        Result("rounds charged and sealed", rates["rounds"], "rounds a second", against, 1 / slower, goal),
        Result("bare inserts", rates["bare"], "inserts a second", "a round", slower),
    ]


def measure(quick: bool) -> Sequence[Result]:
    """All figures: a ledger with many charges, then a new one beside bare inserts."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        many = _with_many(folder, 2_000 if quick else 100_000, 1 if quick else 5)
        return [*many, *_beside_bare(folder, quick)]


if __name__ == "__main__":
    run("The ledger with many charges in it, beside bare durable inserts and the disk, in one folder.", measure)
