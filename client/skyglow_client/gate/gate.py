# SPDX-License-Identifier: Apache-2.0
"""The gate: check, charge, compute, seal. Nothing derived from a home leaves a supplier by any other way.

The order is the guarantee. A round is charged durably before anything is computed; the noised reply is sealed durably
before it is sent; a sealed reply is never computed afresh. After a crash, a round that is charged but not sealed is
completed under the same charge with the same sampled homes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from skyglow_client.gate import policy as policies
from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.policy import Policy
from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.homes import Homes
from skyglow_shared import signing
from skyglow_shared.errors import ApprovalError, BudgetError, ExpiredError, OrderError, StudyError
from skyglow_shared.layout import all_round_numbers, block_shape, round_numbers
from skyglow_shared.messages import Approval, RoundRequest, Share, StudyRequest, decode_weights, encode_integers
from skyglow_shared.models.logistic import parameter_count
from skyglow_shared.privacy.accounting import Cost, Event, adaptive_cost, plan, round_event, study_cost
from skyglow_shared.privacy.randomness import ByteStream, Randomness
from skyglow_shared.privacy.release import add_noise, grouped_sum
from skyglow_shared.signing import Identity
from skyglow_shared.study import Phase, Study, decode_study, digest, digest_of

_SLACK = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Gate:
    """The door of one supplier.

    Attributes
    ----------
    name : str
        The supplier's name on rosters.
    identity : Identity
    policy : Policy
    ledger : Ledger
    randomness : Randomness
        Source of noise and sampling secrets.
    """

    name: str
    identity: Identity
    policy: Policy
    ledger: Ledger
    randomness: Randomness

    def propose(self, request: StudyRequest) -> Approval:
        """Answer a proposed study: with the approval, if this supplier has given it.

        Raises
        ------
        SignatureError, StudyError, ExpiredError, PolicyError, BudgetError
            The study can never be approved as it is.
        ApprovalError
            It could be, and awaits a person's decision.
        """
        signing.verify(self.policy.office_key, signing.STUDY, request.study, request.signature, what="the study")
        study = decode_study(request.study)
        identity = digest_of(request.study)
        self.check(study)
        if self.ledger.study(identity) is None:
            self.ledger.add_study(identity, request.study, "proposal", {"study": identity, "name": study.name})
        if not self.approved(identity):
            raise ApprovalError(
                f"this supplier has not approved study {identity[:12]} yet; a person there decides with "
                f"`skyglow supplier study approve {identity[:12]}`",
                rule="approval",
            )
        return self._approval(identity)

    def approve(self, identity: str) -> Cost:
        """Approve a proposed study: a person's act. Returns what it will cost at most."""
        study = self.proposed(identity)
        cost = self.check(study)
        if not self.approved(identity):
            events = [msgspec.to_builtins(event) for event in plan(study, all_round_numbers(study))]
            body = {"study": identity, "name": study.name, "delta": study.delta, "plan": events}
            self.ledger.append("approval", body)
        return cost

    def refuse(self, identity: str) -> None:
        """Record that a person refused a proposed study."""
        self.ledger.append("refusal", {"study": identity, "name": self.proposed(identity).name})

    def proposed(self, identity: str) -> Study:
        """The study of that digest; ApprovalError if none was proposed."""
        canonical = self.ledger.study(identity)
        if canonical is None:
            raise ApprovalError("no study of that digest was proposed; ask the office to propose it", rule="approval")
        return decode_study(canonical)

    def approved(self, identity: str) -> bool:
        """Whether the last decision on a study was to approve it."""
        decision = False
        for entry in self.ledger.entries("approval", "refusal"):
            if msgspec.json.decode(entry.body)["study"] == identity:
                decision = entry.kind == "approval"
        return decision

    def check(self, study: Study) -> Cost:
        """Check a study against roster, calendar, policy and budget; return its cost."""
        if datetime.now(UTC).date() > study.expires:
            raise ExpiredError("the study has expired; ask the office for a new one")
        keys = {supplier.name: supplier.public_key for supplier in study.suppliers}
        if keys.get(self.name) != self.identity.public_key:
            raise StudyError("this supplier is not on the study's roster under its own key; send the office your key")
        if study.office_key != self.policy.office_key:
            raise StudyError("the study names another office key than the policy's; check who sent it")
        policies.check(self.policy, study)
        events = plan(study, all_round_numbers(study))
        cost = study_cost(events, study.delta)
        if cost.epsilon_upper > study.epsilon * _SLACK:
            raise BudgetError("the study's plan costs more than the epsilon it states; correct the study", rule="plan")
        self._check_budget(study, events)
        return cost

    def spent(self, *, but: str = "") -> tuple[tuple[Event, ...], ...]:
        """Plans of every study approved within the policy's window, except one; each counts in full."""
        since = (datetime.now(UTC) - timedelta(days=self.policy.window_days)).isoformat(timespec="seconds")
        plans: dict[str, tuple[Event, ...]] = {}
        for entry in self.ledger.entries("approval"):
            body = msgspec.json.decode(entry.body)
            if entry.time >= since and body["study"] != but:
                plans[body["study"]] = msgspec.convert(body["plan"], tuple[Event, ...])
        return tuple(plans.values())

    def share(self, request: RoundRequest, body: bytes, homes: Callable[[Study], Homes]) -> bytes | Share:
        """Answer one round: a sealed reply as it was sent before, or a new share to be sealed.

        Parameters
        ----------
        request : RoundRequest
        body : bytes
            The signed bytes it was decoded from; a charge is bound to them.
        homes : callable
            Gives the supplier's homes for the study: local preparation, the same whatever is asked of it.
        """
        key = round_key(request)
        if not self.approved(request.study):
            raise ApprovalError("this supplier has not approved that study; propose it first", rule="approval")
        study = self.proposed(request.study)
        phase = self._phase(study, request)
        asked = hashlib.sha256(body).hexdigest()
        if (charged := self.ledger.charged(key)) not in (None, asked):
            raise OrderError("this round was asked for before in other words; it is answered once only", rule="order")
        if (sealed := self.ledger.sealed(key)) is not None:
            return sealed
        weights = self._weights(study, request)
        prepared = homes(study)  # a store that cannot be read fails here, before anything is charged
        if charged is None:
            self._check_order(study, phase, request)
            self._charge(study, phase, request, asked)
        sample = _sample(prepared, phase, self.ledger.secret(key))
        blocks = {}
        for block in phase.blocks:
            parts = contributions(study, block, sample, weights)
            exact = grouped_sum(parts.vectors, parts.groups, block_shape(study, block)[0], block)
            stream = self.randomness.stream("noise", *_label(request), block.name)
            blocks[block.name] = encode_integers(add_noise(exact, stream))
        return Share(
            study=request.study,
            phase=request.phase,
            round=request.round,
            attempt=request.attempt,
            step=request.step,
            supplier=self.name,
            blocks=blocks,
        )

    def seal(self, request: RoundRequest, reply: bytes) -> None:
        """Keep a new reply durably; only then may it be sent."""
        key = round_key(request)
        self.ledger.seal(key, reply, {"key": key, "reply": hashlib.sha256(reply).hexdigest()})

    def _approval(self, identity: str) -> Approval:
        signature = self.identity.sign(signing.APPROVAL, identity.encode())
        return Approval(study=identity, supplier=self.name, signature=signature)

    def _check_budget(self, study: Study, events: tuple[Event, ...]) -> None:
        others = self.spent(but=digest(study))
        if others:
            total = adaptive_cost([event for plan_ in (*others, events) for event in plan_], self.policy.delta)
            before = adaptive_cost([event for plan_ in others for event in plan_], self.policy.delta)
        else:
            total, before = study_cost(events, self.policy.delta).epsilon_upper, 0.0
        if total > self.policy.epsilon * _SLACK:
            remaining = max(self.policy.epsilon - before, 0.0)
            raise BudgetError(
                f"with this study the window would cost epsilon {total:.3f} of {self.policy.epsilon:g} "
                f"(remaining: {remaining:.3f}); ask for less, or wait until older studies leave the window",
                rule="budget",
            )

    def _phase(self, study: Study, request: RoundRequest) -> Phase:
        try:
            phase = study.phase(request.phase)
        except StudyError as error:
            raise OrderError(str(error), rule="order") from None
        if not 0 <= request.round < phase.rounds or request.attempt != 0 or request.step != "share":
            raise OrderError("the approved study has no such round, attempt or step", rule="order")
        return phase

    def _check_order(self, study: Study, phase: Phase, request: RoundRequest) -> None:
        """The study must not have expired, and the round before this one must be sealed."""
        if datetime.now(UTC).date() > study.expires:
            raise ExpiredError("the study has expired; ask the office for a new one")
        names = [other.name for other in study.phases]
        before = study.phases[: names.index(phase.name)]
        if request.round:
            previous = msgspec.structs.replace(request, round=request.round - 1)
        elif before:
            previous = msgspec.structs.replace(request, phase=before[-1].name, round=before[-1].rounds - 1)
        else:
            return
        if self.ledger.sealed(round_key(previous)) is None:
            raise OrderError("rounds must be asked for in the study's order; an earlier one is missing", rule="order")

    def _weights(self, study: Study, request: RoundRequest) -> dict[str, np.ndarray]:
        if set(request.weights) != {model.name for model in study.models}:
            raise OrderError("a round must bring the parameters of exactly the study's models", rule="order")
        return {
            model.name: decode_weights(request.weights[model.name], parameter_count(model)) for model in study.models
        }

    def _charge(self, study: Study, phase: Phase, request: RoundRequest, asked: str) -> None:
        secret = self.randomness.stream("sample", *_label(request)).read(32)
        event = msgspec.to_builtins(round_event(phase, round_numbers(study, phase)))
        key = round_key(request)
        self.ledger.charge(key, asked, secret, {"key": key, "study": request.study, "event": event, "request": asked})


def round_key(request: RoundRequest) -> str:
    """The identity of one step of one round of one study."""
    return "/".join(str(part) for part in _label(request))


def charged_events(ledger: Ledger) -> dict[str, list[Event]]:
    """Every charge in the ledger, by study digest."""
    charged: dict[str, list[Event]] = {}
    for entry in ledger.entries("charge"):
        body = msgspec.json.decode(entry.body)
        charged.setdefault(body["study"], []).append(msgspec.convert(body["event"], Event))
    return charged


def _label(request: RoundRequest) -> tuple[str | int, ...]:
    return (request.study, request.phase, request.round, request.attempt, request.step)


def _sample(homes: Homes, phase: Phase, secret: bytes) -> Homes:
    """Poisson sample: each home is in with the phase's rate, by its own word of the secret's keystream."""
    if phase.sampling_rate == 1:
        return homes
    words = ByteStream(secret).words(len(homes.lsoa))
    return homes.take(words < np.uint64(int(phase.sampling_rate * 2**64)))
