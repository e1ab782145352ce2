# SPDX-License-Identifier: Apache-2.0
"""Charges a second through the ledger, beside bare durable inserts into SQLite on the same disk.

A round is two durable steps, a charge and a seal; a bare insert is one. Wall clock, for both wait on the disk.
"""

import json
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

from skyglow_client.gate.ledger import Ledger, open_ledger

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, interleaved, per_second, run

SLOWER_AT_MOST = 8.0  # two durable steps, a checkpoint of the log that held the secret, a hash chain and a mark
_REPLY = bytes(4096)
_EVENT = {"noise_multiplier": 8.0, "sampling_rate": 0.5, "count": 1, "numbers": 23}


def _rounds(ledger: Ledger, numbers: "count[int]", size: int) -> None:
    for _ in range(size):
        key = f"study/training/{next(numbers)}/0/share"
        ledger.charge(key, "0" * 64, bytes(32), {"key": key, "study": "ab" * 32, "event": _EVENT, "request": "0" * 64})
        ledger.seal(key, _REPLY, {"key": key, "reply": "0" * 64})


def _bare(connection: sqlite3.Connection, size: int) -> None:
    for _ in range(size):
        connection.execute("INSERT INTO entries VALUES (NULL, ?, ?)", (json.dumps(_EVENT), _REPLY))


def measure(quick: bool) -> Sequence[Result]:
    """Rounds a second, and bare inserts a second, in one folder."""
    size = 20 if quick else 200
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        bare = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        with closing(bare), closing(open_ledger(Path(folder) / "ledger.sqlite")) as ledger:
            bare.execute("PRAGMA journal_mode = WAL")
            bare.execute("PRAGMA synchronous = FULL")
            bare.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT, reply BLOB)")
            numbers = count()
            rates = interleaved(
                {
                    "rounds": per_second(lambda: _rounds(ledger, numbers, size), size),
                    "bare": per_second(lambda: _bare(bare, size), size),
                },
                repeats=3 if quick else 9,
            )
    against = "bare durable SQLite inserts"
    slower = rates["bare"] / rates["rounds"]
    return [
        Result(
            "rounds charged and sealed", rates["rounds"], "rounds a second", against, 1 / slower, 1 / SLOWER_AT_MOST
        ),
        Result("bare inserts", rates["bare"], "inserts a second", "a round", slower),
    ]


if __name__ == "__main__":
    run("The ledger beside bare durable inserts, in one folder.", measure)
