# SPDX-License-Identifier: Apache-2.0
"""Runs a study: collect approvals, train, calibrate, release.

The coordinator is a fold over rounds. Each round asks every supplier the same thing, stores the signed replies, adds
the shares, and steps the state: model parameters for training phases, named sums for all others. Nothing in it is
random.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skyglow_server import aggregation
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_server.federation import Federation
from skyglow_server.refusals import Unread, refusal_error
from skyglow_server.sums import BlockSum, add_shares, block_sums
from skyglow_shared import signing
from skyglow_shared.errors import ProtocolError, RunError, SkyglowError
from skyglow_shared.layout import columns_of, trains
from skyglow_shared.messages import (
    Approval,
    Refusal,
    Reply,
    Request,
    RoundRequest,
    Share,
    StudyRequest,
    encode_weights,
    open_reply,
    seal_request,
)
from skyglow_shared.models.logistic import first_weights
from skyglow_shared.signing import Identity
from skyglow_shared.study import Model, Phase, Study, canonical_bytes, digest

#: Told what is being done: phase, steps done, steps in all.
Progress = Callable[[str, int, int], None]

Replies = dict[str, Reply]
Answers = dict[str, Reply | Unread]
Result = TypeVar("Result")

APPROVALS = "approvals"
_AVERAGED_SHARE = 0.5  # parameters are averaged over this last part of the rounds: it costs nothing and calms the noise


@dataclass(frozen=True, slots=True)
class Training:
    """State of one model's optimiser: parameters, velocity, and the running average of late parameters."""

    weights: NDArray[np.float64]
    velocity: NDArray[np.float64]
    average: NDArray[np.float64]
    averaged: int = 0

    @classmethod
    def start(cls, model: Model) -> "Training":
        """Begin where the study says."""
        weights = first_weights(model)
        return cls(weights, np.zeros_like(weights), np.zeros_like(weights))

    def step(self, model: Model, gradient: NDArray[np.float64], *, late: bool) -> "Training":
        """One step of momentum gradient descent on the noised mean gradient."""
        velocity = model.momentum * self.velocity + gradient
        weights = self.weights - model.learning_rate * velocity
        if not late:
            return replace(self, weights=weights, velocity=velocity)
        averaged = self.averaged + 1
        return Training(weights, velocity, self.average + (weights - self.average) / averaged, averaged)

    @property
    def final(self) -> NDArray[np.float64]:
        """The parameters later phases use: the average of the late ones, once training is over."""
        return self.average if self.averaged else self.weights


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study has yielded so far: models in training and the sums of every completed block."""

    models: Mapping[str, Training]
    sums: Mapping[str, BlockSum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Everything that running a study needs."""

    study: Study
    office: Identity
    federation: Federation
    checkpoints: Checkpoints
    progress: Progress

    def run(self) -> Outcome:
        """Run the study to its end, from wherever its checkpoints say it stands.

        Returns
        -------
        Outcome

        Raises
        ------
        RefusalError
            A supplier refused; the message carries its name and its words.
        RunError
            A supplier did not answer.
        """
        self._collect_approvals()
        outcome = Outcome({model.name: Training.start(model) for model in self.study.models})
        for phase in self.study.phases:
            for round_ in range(phase.rounds):
                self.progress(phase.name, round_, phase.rounds)
                outcome = self._step(outcome, phase, round_)
            self.progress(phase.name, phase.rounds, phase.rounds)
        return outcome

    def _collect_approvals(self) -> None:
        body = canonical_bytes(self.study)
        request = StudyRequest(study=body, signature=self.office.sign(signing.STUDY, body))
        self._everybody(Place(digest(self.study), APPROVALS, 0), request, self._check_approvals)

    def _step(self, outcome: Outcome, phase: Phase, round_: int) -> Outcome:
        weights = {name: encode_weights(values) for name, values in parameters(phase, outcome).items()}
        request = RoundRequest(study=digest(self.study), phase=phase.name, round=round_, weights=weights)
        return advance(self.study, phase, round_, outcome, self._sums(phase, request))

    def _sums(self, phase: Phase, request: RoundRequest) -> dict[str, BlockSum]:
        if self.study.aggregation is not None:
            return block_sums(self.study, phase, *aggregation.add(self.study, phase, request, self.exchange))
        place = Place(request.study, request.phase, request.round)
        return self._everybody(place, request, lambda replies: self._add(phase, request, replies))

    def _everybody(self, place: Place, request: Request, read: Callable[[Replies], Result]) -> Result:
        """What every supplier must answer."""

        def all_of(answers: Answers) -> Result:
            replies: Replies = {}
            for supplier in self.study.suppliers:
                if supplier.name not in answers:
                    raise RunError(f"{supplier.name} did not answer; see that it is running, then resume the study")
                answer = answers[supplier.name]
                if isinstance(answer, Unread):
                    raise answer.error
                if isinstance(answer, Refusal):
                    raise refusal_error(supplier.name, answer)
                replies[supplier.name] = answer
            return read(replies)

        return self.exchange(place, {supplier.name: request for supplier in self.study.suppliers}, all_of)

    def exchange(self, place: Place, requests: Mapping[str, Request], read: Callable[[Answers], Result]) -> Result:
        """Ask suppliers, or read what they answered before; only steps that could be read are stored.

        Raises
        ------
        ProtocolError, SignatureError
            What is stored is not what suppliers signed; or whatever `read` raises.
        """
        stored = self.checkpoints.load(place)
        messages = stored
        if messages is None:
            sealed = {name: seal_request(request, self.office) for name, request in requests.items()}
            messages = dict(self.federation.ask(sealed))
        keys = {supplier.name: supplier.public_key for supplier in self.study.suppliers}
        answers = {
            name: _opened(place, name, key, messages[name])
            for name, key in keys.items()
            if name in requests and name in messages
        }
        unread = {name: answer.error for name, answer in answers.items() if isinstance(answer, Unread)}
        if stored is not None and unread:
            raise next(iter(unread.values()))
        result = read(answers)
        if stored is None:
            self.checkpoints.save(place, {name: messages[name] for name in answers if name not in unread})
        return result

    def _check_approvals(self, replies: Replies) -> None:
        for supplier in self.study.suppliers:
            reply = replies[supplier.name]
            if not isinstance(reply, Approval) or reply.study != digest(self.study):
                raise ProtocolError(f"{supplier.name} answered a study with something other than an approval of it")
            what = f"the approval of {supplier.name}"
            signing.verify(supplier.public_key, signing.APPROVAL, reply.study.encode(), reply.signature, what=what)

    def _add(self, phase: Phase, request: RoundRequest, replies: Replies) -> dict[str, BlockSum]:
        return add_shares(self.study, phase, [self._share(name, reply, request) for name, reply in replies.items()])

    def _share(self, name: str, reply: Reply, request: RoundRequest) -> Share:
        """The reply as a share of exactly the round that was asked for."""
        wanted = (request.study, request.phase, request.round, request.attempt, request.step, name)
        if not isinstance(reply, Share):
            raise ProtocolError(f"{name} answered a round with something other than a share")
        if (reply.study, reply.phase, reply.round, reply.attempt, reply.step, reply.supplier) != wanted:
            raise ProtocolError(f"{name} answered for another round than it was asked for")
        return reply


def parameters(phase: Phase, outcome: Outcome) -> dict[str, NDArray[np.float64]]:
    """Each model's parameters that a phase's requests carry: as they stand in training, averaged after it."""
    learns = trains(phase)
    return {name: training.weights if learns else training.final for name, training in outcome.models.items()}


def advance(study: Study, phase: Phase, round_: int, outcome: Outcome, sums: Mapping[str, BlockSum]) -> Outcome:
    """What one round's sums make of a study's outcome: a step of every model in training, or the sums themselves."""
    if not trains(phase):
        return replace(outcome, sums={**outcome.sums, **sums})
    models = dict(outcome.models)
    expected = phase.expected_homes * phase.sampling_rate
    late = round_ >= phase.rounds * (1 - _AVERAGED_SHARE)
    for block in phase.blocks:
        gradient = sums[block.name].values[0] / expected
        for name in block.models:
            own = gradient[columns_of(study, block, name)]
            models[name] = models[name].step(study.model(name), own, late=late)
    return replace(outcome, models=models)


def _opened(place: Place, name: str, public_key: str, message: bytes) -> Reply | Unread:
    try:
        reply = open_reply(message, name, public_key)
        aggregation.check_place(place, name, reply)
    except SkyglowError as error:
        return Unread(error)
    return reply
