# SPDX-License-Identifier: Apache-2.0
"""A sealed share under masks: the supplier's steps of secure aggregation, each taken once and durably.

The share is charged, computed and sealed before its first attempt begins, and is the same in all of them: noise is
never drawn again. What leaves in its place are a public key, encrypted secrets, the share under masks, and at the end
what takes the masks out of the sum of everybody who was agreed on.

A supplier's channel of a study is in the memory of its process, and in what an attempt stores between its first two
steps. It is no part of the account: after a restart another is drawn, and the others verify and agree anew.
"""

import hashlib
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_client.gate import exchanges
from skyglow_client.gate.ledger import Ledger
from skyglow_shared.aggregation import joined, session_of
from skyglow_shared.errors import InternalError, OrderError, RollbackError
from skyglow_shared.messages import RoundRequest, Share, StepReply, StepRequest, open_reply, seal_reply
from skyglow_shared.privacy.randomness import Randomness
from skyglow_shared.privacy.spare import spare_noise
from skyglow_shared.secagg import ledger_heads
from skyglow_shared.secagg.channels import Channel, open_channel
from skyglow_shared.secagg.ledger_heads import Witness
from skyglow_shared.secagg.messages import FromOffice, FromSupplier, decode_request, encode
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.signing import Identity
from skyglow_shared.study import Phase, Study

#: Studies whose channels a process remembers.
MOST_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One supplier's side of secure aggregation: who it is, the ledger that remembers, and its channels by study."""

    name: str
    identity: Identity
    ledger: Ledger
    randomness: Randomness
    channels: dict[str, Channel] = field(default_factory=dict, repr=False)

    def advertise(self, study: Study, phase: Phase, request: RoundRequest) -> bytes:
        """Begin an attempt, or send again what was answered when it began.

        Raises
        ------
        OrderError
            An attempt of this round was unmasked, or a later one was begun.

        Privacy
        -------
        Sends a public key, two commitments to fresh secrets, and the head of the ledger.
        """
        key = step_key(request, "advertise")
        if (sealed := self.ledger.sealed(key)) is not None:
            return sealed
        session = session_of(study, phase, request.round, request.attempt)
        before, head = exchanges.standing(self.ledger, place(request)), exchanges.head(self.ledger)
        channel, seen = self._channel(request.study), self._witness(study).seen
        own = self.identity, head, self.randomness
        if before is None:
            after, reply = Round.begin(session, self.name, *own, channel=channel, seen=seen)
        else:
            after, reply = before.again(session, *own, channel=channel, seen=seen)
        return self._keep(study, request, key, after, reply)

    def step(self, study: Study, phase: Phase, request: StepRequest, share: bytes) -> bytes:
        """Take the next step of an attempt, or send again what was answered to the same request.

        Parameters
        ----------
        study : Study
        phase : Phase
        request : StepRequest
        share : bytes
            The round's sealed share, which has never left.

        Raises
        ------
        ProtocolError, SignatureError, OrderError
            See `skyglow_shared.secagg.rounds.Round.answer`.
        PeerError
            Another supplier's ledger is behind where it was seen before, or it says so of this one without proof.
        RollbackError
            Another supplier proves that this ledger is behind; from then on nothing leaves.
        """
        key = step_key(request, hashlib.sha256(request.content).hexdigest())
        if (sealed := self.ledger.sealed(key)) is not None:
            return sealed
        before = exchanges.standing(self.ledger, place(request))
        if before is None:
            raise OrderError("no attempt of this round was begun here; advertise keys first", rule="order")
        message = decode_request(request.content)
        session_of(study, phase, request.round, request.attempt).check(message.session)
        witness = self._witness(study)
        try:
            after, reply = before.answer(
                message, lambda: self._vector(study, phase, share), witness, lambda: self._opened(share).spare
            )
        except RollbackError:
            self._convict(before, message, witness)
            raise
        return self._keep(study, request, key, after, reply)

    def _channel(self, study: str) -> Channel:
        """The own end of a study's channels, drawn when it is first asked for; the oldest of too many is forgotten."""
        if study not in self.channels:
            self.channels[study] = open_channel(study, self.name, self.identity, self.randomness)
            if len(self.channels) > MOST_CHANNELS:
                del self.channels[next(iter(self.channels))]
        return self.channels[study]

    def _vector(self, study: Study, phase: Phase, share: bytes) -> NDArray[np.int64]:
        """What leaves under masks: the share with its spare noise."""
        message = self._opened(share)
        vector = joined(study, phase, message.blocks)
        return vector + spare_noise(study, message.spare, vector.size)

    def _opened(self, share: bytes) -> Share:
        message = open_reply(share, self.name, self.identity.public_key)
        if not isinstance(message, Share):
            raise InternalError("a round's sealed share is something else; please report this")
        return message

    def _keep(
        self, study: Study, request: RoundRequest | StepRequest, key: str, after: Round, content: FromSupplier
    ) -> bytes:
        reply = StepReply(
            study=request.study,
            phase=request.phase,
            round=request.round,
            attempt=request.attempt,
            supplier=self.name,
            content=encode(content),
        )
        keys = _keys(study)
        heads = {keys[name]: head for name, head in after.heads().items()}
        message = seal_reply(reply, self.name, self.identity)
        exchanges.keep(self.ledger, key, message, place=place(request), state=after, heads=heads)
        return message

    def _witness(self, study: Study) -> Witness:
        """What the ledger knows of the others' ledgers, and of itself."""
        seen = exchanges.witnessed(self.ledger)
        named = {name: seen[key] for name, key in _keys(study).items() if name != self.name and key in seen}
        return Witness(named, self.ledger.head_at)

    def _convict(self, before: Round, message: FromOffice, witness: Witness) -> None:
        """Keep one proof that this ledger is not the right one."""
        claims = before.claims(message)
        for seen in ledger_heads.proofs(claims, witness.digest_at, self.identity.public_key).values():
            exchanges.convict(self.ledger, self.identity.public_key, seen)


def _keys(study: Study) -> dict[str, str]:
    return {supplier.name: supplier.public_key for supplier in study.suppliers}


def place(request: RoundRequest | StepRequest) -> str:
    """The identity of one round of one study, over all its attempts."""
    return "/".join((request.study, request.phase, str(request.round)))


def step_key(request: RoundRequest | StepRequest, step: str) -> str:
    """The identity of one answer in one attempt: `step` says which."""
    return "/".join((place(request), str(request.attempt), step))


def share_request(request: RoundRequest) -> RoundRequest:
    """What a round's one share is charged and sealed for, whatever attempts it takes to add it."""
    return msgspec.structs.replace(request, attempt=0, step="share")
