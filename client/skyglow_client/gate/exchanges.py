# SPDX-License-Identifier: Apache-2.0
"""What a ledger keeps of secure aggregation: where each round stands, what was answered, how far peers' ledgers are.

Every step is one transaction of the ledger: the reply, byte for byte, the entry that says so, the state that follows,
and the heads of the peers' ledgers that came with it. A state holds secrets; once the round is unmasked it holds none.
"""

import hashlib
from collections.abc import Mapping

from skyglow_client.gate.ledger import Ledger
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.rounds import Round

_BEYOND_REACH = 2**62  # no ledger has so many entries


def head(ledger: Ledger) -> Head:
    """Where the ledger stands, as peers are told."""
    entries, digest = ledger.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")[0]
    return Head(int(entries), str(digest))


def standing(ledger: Ledger, place: str) -> Round | None:
    """Where a round stands, or None if none of its attempts has begun here."""
    rows = ledger.rows("SELECT state FROM exchanges WHERE place = ?", place)
    return Round.decode(bytes(rows[0][0])) if rows else None


def witnessed(ledger: Ledger) -> dict[str, Head]:
    """How far the ledgers of other suppliers were when last heard of, by their public keys."""
    return {key: Head(entries, digest) for key, entries, digest in ledger.rows("SELECT * FROM witnessed")}


def distrust(ledger: Ledger, supplier: str) -> None:
    """Have every head that a supplier advertises from now on be behind, until people have cleared up why one was."""
    with ledger.transaction():
        ledger.connection.execute("INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?)", (supplier, _BEYOND_REACH, ""))


def keep(ledger: Ledger, key: str, reply: bytes, *, place: str, state: Round, heads: Mapping[str, Head]) -> None:
    """Store a step's reply under `key`, the state that follows it and the peers' heads, durably and at once.

    Raises
    ------
    LedgerError
        It cannot be written; then nothing has changed and nothing may be sent.
    """
    with ledger.transaction():
        ledger.chain_on("seal", {"key": key, "reply": hashlib.sha256(reply).hexdigest()})
        ledger.connection.execute("INSERT INTO sealed VALUES (?, ?)", (key, reply))
        ledger.connection.execute("INSERT OR REPLACE INTO exchanges VALUES (?, ?)", (place, state.encode()))
        rows = [(supplier, one.entries, one.digest) for supplier, one in heads.items()]
        ledger.connection.executemany("INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?)", rows)
    ledger.forget()
