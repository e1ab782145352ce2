# SPDX-License-Identifier: Apache-2.0
"""The office's side of secure aggregation: attempts at one round, each a fold over stored, signed replies.

An attempt is five steps. Whoever does not answer a step, or refuses it, has dropped out of the attempt. If too few are
left, a new attempt begins; but never once signatures were handed out for unmasking, for then some suppliers may have
answered, and will answer no other attempt: the same step is asked again when the study is resumed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_server.checkpoints import Place
from skyglow_server.refusals import refusal_error
from skyglow_shared.aggregation import MOST_ATTEMPTS, session_of
from skyglow_shared.errors import AttemptError, ProtocolError
from skyglow_shared.messages import Refusal, Reply, Request, RoundRequest, StepReply, StepRequest
from skyglow_shared.secagg import office
from skyglow_shared.secagg.messages import (
    Advertisement,
    EncryptedShares,
    FromOffice,
    FromSupplier,
    MaskedInput,
    SurvivorSignature,
    Unmasking,
    decode_reply,
    encode,
)
from skyglow_shared.study import Phase, Study

Result = TypeVar("Result")
Kind = TypeVar("Kind", Advertisement, EncryptedShares, MaskedInput, SurvivorSignature, Unmasking)


class Exchange(Protocol):
    """Asks suppliers for one step, or reads what they answered before, and stores what could be read."""

    def __call__(
        self, place: Place, requests: Mapping[str, Request], read: Callable[[dict[str, Reply]], Result]
    ) -> Result:
        """Give what `read` makes of the replies of those that answered, by name."""


def add(study: Study, phase: Phase, request: RoundRequest, exchange: Exchange) -> tuple[NDArray[np.int64], int]:
    """Add one round's shares without seeing one.

    Returns
    -------
    total : ndarray of int64, shape (numbers of a round,)
    shares : int
        How many suppliers' shares are in it: at least the study's suppliers less the dropouts it tolerates.

    Raises
    ------
    AttemptError
        Too few suppliers answered, in every attempt, or after signatures were handed out.
    ProtocolError, SignatureError
        A reply is not what it should be.
    """
    failure = AttemptError("no attempt was made; please report this")
    for number in range(MOST_ATTEMPTS):
        asked = msgspec.structs.replace(request, attempt=number, step="advertise")
        attempt = _Attempt(study, phase, asked, exchange)
        try:
            recovering, handed_out = _agreed(attempt)
        except AttemptError as error:
            failure = error
            continue
        added = recovering.unmasked(attempt.ask("unmask", handed_out, Unmasking))
        return added.values, len(added.survivors)
    raise failure


@dataclass(frozen=True, slots=True)
class _Attempt:
    study: Study
    phase: Phase
    request: RoundRequest
    exchange: Exchange

    def advertise(self) -> dict[str, Advertisement]:
        everybody: dict[str, Request] = {supplier.name: self.request for supplier in self.study.suppliers}
        return self._heard("advertise", everybody, Advertisement)

    def ask(self, step: str, contents: Mapping[str, FromOffice], kind: type[Kind]) -> dict[str, Kind]:
        requests: dict[str, Request] = {
            name: StepRequest(
                study=self.request.study,
                phase=self.request.phase,
                round=self.request.round,
                attempt=self.request.attempt,
                content=encode(content),
            )
            for name, content in contents.items()
        }
        return self._heard(step, requests, kind)

    def _heard(self, step: str, requests: Mapping[str, Request], kind: type[Kind]) -> dict[str, Kind]:
        """The replies of one step, of those who gave one; stored only if they are enough to go on."""
        asked = self.request
        place = Place(asked.study, asked.phase, asked.round, asked.attempt, step)
        parameters = session_of(self.study, self.phase, asked.round, asked.attempt).parameters
        least = parameters.threshold if kind in (SurvivorSignature, Unmasking) else parameters.floor
        return self.exchange(place, requests, lambda replies: self._read(replies, kind, step, least))

    def _read(self, replies: Mapping[str, Reply], kind: type[Kind], step: str, least: int) -> dict[str, Kind]:
        refusals = {name: reply for name, reply in replies.items() if isinstance(reply, Refusal)}
        heard = {name: self._content(name, reply) for name, reply in replies.items() if name not in refusals}
        wrong = [name for name, content in heard.items() if not isinstance(content, kind)]
        if wrong:
            raise ProtocolError(f"{wrong[0]} answered a step of secure aggregation with another step's message")
        if len(heard) < least:
            said = "; ".join(str(refusal_error(*refused)) for refused in refusals.items()) or "the others are silent"
            raise AttemptError(
                f"fewer than {least} suppliers took the step {step} of secure aggregation ({said}); "
                "see that they are running, then resume the study"
            )
        return {name: content for name, content in heard.items() if isinstance(content, kind)}

    def _content(self, name: str, reply: Reply) -> FromSupplier:
        asked = self.request
        wanted = (asked.study, asked.phase, asked.round, asked.attempt, name)
        if not isinstance(reply, StepReply):
            raise ProtocolError(f"{name} answered a step of secure aggregation with something else")
        if (reply.study, reply.phase, reply.round, reply.attempt, reply.supplier) != wanted:
            raise ProtocolError(f"{name} answered for another round or attempt than it was asked for")
        return decode_reply(reply.content)


def _agreed(attempt: _Attempt) -> tuple[office.Recovering, Mapping[str, FromOffice]]:
    """All steps until the survivor set is signed; what to hand out for unmasking."""
    asked = attempt.request
    session = session_of(attempt.study, attempt.phase, asked.round, asked.attempt)
    collecting, keys = office.begin(session).advertised(attempt.advertise())
    shares = attempt.ask("share_keys", dict.fromkeys(collecting.heard, keys), EncryptedShares)
    adding, deliveries = collecting.shared(shares)
    asking, survivors = adding.masked(attempt.ask("mask", deliveries, MaskedInput))
    signatures = attempt.ask("sign", dict.fromkeys(asking.survivors, survivors), SurvivorSignature)
    recovering, handed_out = asking.signed(signatures)
    return recovering, dict.fromkeys(signatures, handed_out)
