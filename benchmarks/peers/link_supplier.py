# SPDX-License-Identifier: Apache-2.0
"""One supplier of the link's benchmark: echoes, or takes the steps of secure aggregation, with or without a ledger.

A request begins with a letter: ``n`` is a no-op, its reply the same bytes; ``b`` and ``B`` begin a round with the
session that follows; ``s`` and ``S`` bring a step. Capitals keep every step in a ledger, durably, before the reply.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_client import serve
from skyglow_client.gate import exchanges
from skyglow_client.gate.ledger import Ledger, open_ledger
from skyglow_client.links import grpc as link_end
from skyglow_shared import signals
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import messages
from skyglow_shared.secagg.channels import Channel, open_channel
from skyglow_shared.secagg.ledger_heads import Head, Witness
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.secagg.session import Session
from skyglow_shared.signing import Identity

_FRESH = Witness(seen={}, digest_at=lambda entries: "")  # nobody has seen anybody's ledger before


@dataclass(slots=True)
class Answering:
    """What `Supplier.handle` is at a supplier."""

    name: str
    identity: Identity
    ledger: Ledger
    vector: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    round: Round | None = None
    channel: Channel | None = None

    def handle(self, request: bytes) -> bytes:
        """Answer one request."""
        kind, content = request[:1], request[1:]
        if kind == b"n":
            return request
        if kind in b"bB":
            session = msgspec.msgpack.decode(content, type=Session)
            if len(self.vector) != session.words:
                self.vector = np.random.default_rng(len(self.name)).integers(-(10**6), 10**6, session.words)
            head = exchanges.head(self.ledger) if kind == b"B" else Head(1, "ab" * 32)
            own, drawn = (session.study, self.name, self.identity), SystemRandomness()
            self.channel = self.channel or open_channel(*own, drawn)
            self.round, reply = Round.begin(session, *own[1:], head, drawn, channel=self.channel, seen={})
        elif self.round is None:
            raise SystemExit("a step came before its round")
        else:
            message = messages.decode_request(content)
            self.round, reply = self.round.answer(message, lambda: self.vector, _FRESH)
        encoded = messages.encode(reply)
        if kind.isupper():
            place = f"round-{self.round.state.session.attempt}-{self.round.state.session.round}"
            key = f"{place}/{type(reply).__name__}"
            exchanges.keep(self.ledger, key, encoded, place=place, state=self.round, heads={})
        return encoded


def main() -> None:
    """Serve the office of the kit in the folder until told to stop."""
    folder = Path(sys.argv[1])
    kit, credentials = serve.load(folder / serve.KIT_FOLDER)
    identity = Identity.load(folder / "identity.key")
    answering = Answering(kit.name, identity, open_ledger(folder / "ledger.sqlite"))
    link_end.serve(answering.handle, identity, kit, credentials, stop=signals.stop_at_signals())
    answering.ledger.close()


if __name__ == "__main__":
    main()
