# SPDX-License-Identifier: Apache-2.0
"""What a ledger keeps of secure aggregation: where each round stands, what was answered, how far peers' ledgers are.

Every step is one transaction of the ledger: the reply, byte for byte, the entry that says so, the state that follows,
and the heads of the peers' ledgers that came with it. A state holds secrets; once the round is unmasked it holds none.
"""

import hashlib
from collections.abc import Mapping

from skyglow_client.gate.ledger import Ledger
from skyglow_shared.secagg import ledger_heads
from skyglow_shared.secagg.ledger_heads import Head, Seen
from skyglow_shared.secagg.rounds import Round


def head(ledger: Ledger) -> Head:
    """Where the ledger stands, as peers are told."""
    entries, digest = ledger.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")[0]
    return Head(int(entries), str(digest))


def standing(ledger: Ledger, place: str) -> Round | None:
    """Where a round stands, or None if none of its attempts has begun here."""
    rows = ledger.rows("SELECT state FROM exchanges WHERE place = ?", place)
    return Round.decode(bytes(rows[0][0])) if rows else None


def witnessed(ledger: Ledger) -> dict[str, Seen]:
    """How far ledgers were when last heard of, by their suppliers' public keys."""
    rows = ledger.rows("SELECT supplier, entries, digest, keys, signature FROM witnessed")
    return {supplier: Seen(Head(entries, digest), *signed) for supplier, entries, digest, *signed in rows}


def convict(ledger: Ledger, public_key: str, seen: Seen) -> None:
    """Keep what proves that this is not the ledger that it should be: it says so for as long as it is used."""
    with ledger.transaction():
        _keep_heads(ledger, {public_key: seen})


def check(ledger: Ledger, public_key: str) -> None:
    """RollbackError if there is proof that this is not the ledger of the supplier of that public key."""
    if (seen := witnessed(ledger).get(public_key)) is not None:
        ledger_heads.check_own({"others": seen}, ledger.head_at, public_key)


def keep(ledger: Ledger, key: str, reply: bytes, *, place: str, state: Round, heads: Mapping[str, Seen]) -> None:
    """Store a step's reply under `key`, the state that follows it and the peers' heads, durably and at once.

    Raises
    ------
    LedgerError
        It cannot be written; then nothing has changed and nothing may be sent.
    """
    kept = state.encode()
    digests = {"reply": hashlib.sha256(reply).hexdigest(), "state": hashlib.sha256(kept).hexdigest()}
    with ledger.transaction():
        ledger.chain_on("seal", {"key": key, **digests})
        ledger.connection.execute("INSERT INTO sealed VALUES (?, ?)", (key, reply))
        ledger.connection.execute("INSERT OR REPLACE INTO exchanges VALUES (?, ?)", (place, kept))
        _keep_heads(ledger, heads)
    ledger.forget()


def _keep_heads(ledger: Ledger, heads: Mapping[str, Seen]) -> None:
    """Keep heads, but for those that a later one of the same ledger was seen of: another study goes on meanwhile."""
    seen = witnessed(ledger)
    heads = {key: one for key, one in heads.items() if key not in seen or one.head.entries > seen[key].head.entries}
    rows = [(key, one.head.entries, one.head.digest, one.keys, one.signature) for key, one in heads.items()]
    ledger.connection.executemany("INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?, ?, ?)", rows)
