# SPDX-License-Identifier: Apache-2.0
"""The office's side of secure aggregation: attempts at one round, each a fold over stored, signed replies.

An attempt is five steps. Whoever does not answer a step, refuses it, or answers it wrongly, has dropped out of the
attempt, and the log says who and why. If too few are left, a new attempt begins, without those whom others accuse; but
never once codes were handed out for unmasking, for then some suppliers may have answered, and will answer no other
attempt: the same step is asked again when the study is resumed.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_server.checkpoints import Place
from skyglow_server.refusals import Unread, refusal_error
from skyglow_shared.aggregation import MOST_ATTEMPTS, session_of
from skyglow_shared.errors import AttemptError, ProtocolError
from skyglow_shared.layout import largest_number
from skyglow_shared.messages import Refusal, Reply, Request, RoundRequest, StepReply, StepRequest
from skyglow_shared.privacy.spare import spare_noise
from skyglow_shared.secagg import office
from skyglow_shared.secagg.messages import FromOffice, FromSupplier, decode_reply, encode
from skyglow_shared.secagg.recovering import Recovering, Sum
from skyglow_shared.study import Phase, Study

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Exchange(Protocol):
    """Asks suppliers for one step, or reads what they answered before, and stores what could be read."""

    def __call__(
        self, place: Place, requests: Mapping[str, Request], read: Callable[[dict[str, Reply | Unread]], Result]
    ) -> Result:
        """Give what `read` makes of the answers of those that answered, by name."""


def add(study: Study, phase: Phase, request: RoundRequest, exchange: Exchange) -> tuple[NDArray[np.int64], int, int]:
    """Add one round's shares without seeing one, and take out what spare noise their suppliers tell.

    Returns
    -------
    total : ndarray of int64, shape (numbers of a round,)
    shares : int
        How many suppliers' shares are in it: at least the study's suppliers less the dropouts it tolerates.
    spares : int
        Of how many of them the spare noise is still in it.

    Raises
    ------
    AttemptError
        Too few suppliers answered rightly, in every attempt, or after confirmations were handed out.
    ProtocolError
        The sum cannot be one of shares.
    """
    failure, without = AttemptError("no attempt was made; please report this"), frozenset[str]()
    for number in range(MOST_ATTEMPTS):
        asked = msgspec.structs.replace(request, attempt=number, step="advertise")
        attempt = _Attempt(study, phase, asked, exchange, without)
        try:
            recovering, handed_out = _agreed(attempt)
        except AttemptError as error:
            if attempt.too_few_are_there():
                raise  # and use up no attempt: this one is asked for again when the study is resumed
            failure, without = error, attempt.without_accused()
            continue
        added = attempt.ask("unmask", handed_out, recovering.unmasked)
        attempt.note(added.left_out)
        _check_bounds(study, phase, added)
        total = added.values
        for key in added.spares.values():
            total = total - spare_noise(study, key, total.size)
        return total, len(added.survivors), len(added.survivors) - len(added.spares)
    raise failure


def check_place(place: Place, name: str, reply: Reply) -> None:
    """ProtocolError if a supplier answered a step of secure aggregation with anything but its step of that attempt."""
    if place.step == "share" or isinstance(reply, Refusal):
        return
    if not isinstance(reply, StepReply):
        raise ProtocolError(f"{name} answered a step of secure aggregation with something else")
    if (reply.study, reply.phase, reply.round, reply.attempt, reply.supplier) != (*place[:4], name):
        raise ProtocolError(f"{name} answered for another round or attempt than it was asked for")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt; `without` are not asked, `accusers` says who accuses whom of what it sent, `there` who answered."""

    study: Study
    phase: Phase
    request: RoundRequest
    exchange: Exchange
    without: frozenset[str]
    accusers: dict[str, set[str]] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)

    def begin(self) -> tuple[office.Collecting, FromOffice]:
        asked = self.request
        names = [supplier.name for supplier in self.study.suppliers if supplier.name not in self.without]
        session = session_of(self.study, self.phase, asked.round, asked.attempt)
        return self._taken("advertise", dict.fromkeys(names, asked), office.begin(session).advertised)

    def ask(
        self,
        step: str,
        contents: Mapping[str, FromOffice],
        take: Callable[[dict[str, FromSupplier]], Result],
    ) -> Result:
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
        return self._taken(step, requests, take)

    def too_few_are_there(self) -> bool:
        """Whether so many never answered at all that no attempt can end well."""
        withstood = self.study.aggregation.dropouts if self.study.aggregation else 0
        return len(self.there) < len(self.study.suppliers) - withstood

    def without_accused(self) -> frozenset[str]:
        """Whom not to ask in the next attempt: also those whom more suppliers accuse than may collude, or the most do.

        Where that leaves too few, who was accused before is given another chance.
        """
        asked = self.request
        parameters = session_of(self.study, self.phase, asked.round, asked.attempt).parameters
        most = max(map(len, self.accusers.values()), default=0)
        accused = {name for name, by in self.accusers.items() if len(by) >= min(most, parameters.colluders + 1)}
        both = self.without | accused
        return both if len(both) <= parameters.dropouts else frozenset(accused)

    def note(self, left_out: Mapping[str, str]) -> None:
        """Log who was left out and why."""
        asked = self.request
        for name, why in left_out.items():
            _log.warning("%s, round %d, attempt %d: without %s: %s", asked.phase, asked.round, asked.attempt, name, why)

    def _taken(
        self,
        step: str,
        requests: Mapping[str, Request],
        take: Callable[[dict[str, FromSupplier]], Result],
    ) -> Result:
        """What the office makes of the answers to one step; stored only if they are enough to go on."""
        asked = self.request
        place = Place(asked.study, asked.phase, asked.round, asked.attempt, step)
        return self.exchange(place, requests, lambda answers: self._read(answers, step, take))

    def _read(
        self,
        answers: Mapping[str, Reply | Unread],
        step: str,
        take: Callable[[dict[str, FromSupplier]], Result],
    ) -> Result:
        self.there.update(answers)
        contents: dict[str, FromSupplier] = {}
        left_out: dict[str, str] = {}
        for name, answer in answers.items():
            try:
                contents[name] = self._content(name, answer)
            except ProtocolError as error:
                left_out[name] = str(error)
        self.note(left_out)
        try:
            return take(contents)
        except ProtocolError as error:
            said = "".join(f"; {name}: {why}" for name, why in left_out.items())
            raise AttemptError(
                f"in the step {step} of secure aggregation: {error}{said}; see that all suppliers run, then resume"
            ) from None

    def _content(self, name: str, answer: Reply | Unread) -> FromSupplier:
        if isinstance(answer, StepReply):
            return decode_reply(answer.content)
        if isinstance(answer, Refusal):
            if answer.about in {supplier.name for supplier in self.study.suppliers}:
                self.accusers.setdefault(answer.about, set()).add(name)
            raise ProtocolError(str(refusal_error(name, answer)))
        raise ProtocolError(str(answer.error) if isinstance(answer, Unread) else "it answered with something else")


def _agreed(attempt: _Attempt) -> tuple[Recovering, Mapping[str, FromOffice]]:
    """All steps until the survivor set is confirmed; what to hand out for unmasking."""
    collecting, keys = attempt.begin()
    adding, deliveries = attempt.ask("share_keys", dict.fromkeys(collecting.heard, keys), collecting.shared)
    asking, survivors = attempt.ask("mask", deliveries, adding.masked)
    return attempt.ask("confirm", dict.fromkeys(asking.survivors, survivors), asking.confirmed)


def _check_bounds(study: Study, phase: Phase, added: Sum) -> None:
    """ProtocolError if a number of the sum is larger than shares of the study could make it, whatever homes there are.

    A supplier that sends random words in place of its masked share cannot be told from an honest one, but the sum can.
    """
    largest = len(added.survivors) * largest_number(study, phase)
    if added.values.size and max(int(added.values.max()), -int(added.values.min())) > largest:
        raise ProtocolError(
            f"the sum of a round of {phase.name} is beyond the study's public bounds: a supplier sent something else "
            "than its share, and which of them cannot be known; nothing is made of it, begin a new study"
        )
