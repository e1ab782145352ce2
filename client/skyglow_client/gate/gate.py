# SPDX-License-Identifier: Apache-2.0
"""The gate: check, charge, compute, seal. Nothing derived from a home leaves a supplier by any other way.

The order is the guarantee. A round is charged durably before anything is computed; the noised reply is sealed durably
before it is sent; a sealed reply is never computed afresh. After a crash, a round that is charged but not sealed is
completed under the same charge with the same sampled homes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from skyglow_client.gate import budget as budgets
from skyglow_client.gate import exchanges, limits, panels, proposals, rounds
from skyglow_client.gate import policy as policies
from skyglow_client.gate.aggregation import Aggregation, share_request
from skyglow_client.gate.budget import Budget
from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.policy import Policy
from skyglow_client.gate.rounds import label, noised, phase_of, request_digest, round_key, weights_of
from skyglow_client.learning.homes import Homes, Weights
from skyglow_shared import signing
from skyglow_shared.errors import ApprovalError, ExpiredError, OrderError, StudyError
from skyglow_shared.messages import Approval, RoundRequest, Share, StepRequest, StudyRequest, seal_reply
from skyglow_shared.models import logistic, presence, temporal
from skyglow_shared.privacy.randomness import KEY_BYTES, Randomness
from skyglow_shared.privacy.spare import draw_key
from skyglow_shared.secagg.channels import Channel
from skyglow_shared.signing import Identity
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Phase, Study, digest_of

Prepare = Callable[[Study], Homes]


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
    _within: set[tuple[Policy, str]] = field(default_factory=set, repr=False, compare=False)
    _channels: dict[str, Channel] = field(default_factory=dict, repr=False, compare=False)

    def propose(self, request: StudyRequest) -> Approval:
        """Answer a proposed study: with the approval, if this supplier has given it.

        Raises
        ------
        SignatureError, StudyError, ExpiredError, PolicyError, BudgetError
            The study cannot be approved as it is.
        ApprovalError
            It could be, and awaits a person's decision; or so many do that it is not kept.
        """
        signing.verify(self.policy.office_key, signing.STUDY, request.study, request.signature, what="the study")
        study = decode_study(request.study)
        identity = digest_of(request.study)
        self._check_ours(study)
        if self.ledger.study(identity) is None:
            proposals.check_room(self.ledger, len(request.study))
            body = {"study": identity, "name": study.name}
            self.ledger.propose(identity, request.study, request.signature, body)
        self.check(study)
        if self.ledger.decision(identity) != "approval":
            raise ApprovalError(
                f"study {identity[:12]} is awaiting approval; a person at this supplier decides with "
                f"`skyglow supplier study approve {identity[:12]}`",
                rule="approval",
            )
        signature = self.identity.sign(signing.APPROVAL, identity.encode())
        return Approval(study=identity, supplier=self.name, signature=signature)

    def approve(self, identity: str) -> Budget:
        """Approve a proposed study, a person's act: from now on its whole plan counts. Returns what it costs."""
        study = self.proposed(identity)
        found = self.check(study)
        if self.ledger.decision(identity) != "approval":
            self.ledger.append("approval", {"study": identity, "name": study.name})
        self._within.add((self.policy, self.ledger.decided))
        return found

    def refuse(self, identity: str) -> None:
        """Refuse a proposed study or withdraw its approval, a person's act: it is answered no more."""
        study = self.proposed(identity)
        if self.ledger.decision(identity) != "refusal":
            self.ledger.append("refusal", {"study": identity, "name": study.name})

    def proposed(self, identity: str) -> Study:
        """The study of that digest; ApprovalError if none was proposed."""
        canonical = self.ledger.study(identity)
        if canonical is None:
            raise ApprovalError("no study of that digest was proposed here; propose it first", rule="approval")
        return decode_study(canonical)

    def check(self, study: Study) -> Budget:
        """Check a study against calendar, roster, what is installed, policy and budget; return what it costs.

        Raises
        ------
        ExpiredError, StudyError, PolicyError, BudgetError
        RollbackError
            Other suppliers have proved that this ledger is not the one it was: it does not know what was spent.
        """
        self._check_allowed(study)
        found = budgets.of_study(self.policy, self.ledger, study)
        budgets.check(found, study)
        return found

    def answer(self, request: RoundRequest, prepare: Prepare) -> bytes:
        """Answer one round: with what was sealed for it before, or a new share, charged first and sealed last.

        Parameters
        ----------
        request : RoundRequest
        prepare : callable
            Gives the supplier's homes as the study sees them; called only once the round is charged.

        Returns
        -------
        bytes
            A sealed envelope that holds a `Share`; in trust mode ``aggregate`` the share stays, and the envelope holds
            the keys with which it will be masked.

        Raises
        ------
        ApprovalError
            The study was not approved here.
        OrderError
            Not a round of the study, not its turn, or asked before with other content.
        ExpiredError, PolicyError, BudgetError
            A new round of a study that is over, or that the policy has come to forbid.
        LimitError
            The computation took more time or memory than the policy gives it. The charge stands: asked again, the same
            homes are computed under it.

        Privacy
        -------
        The only way out for anything that depends on readings. A share is the charged mechanism's output: clipped
        sums over a sample that is never revealed, with discrete Gaussian noise on every number.
        """
        study = self._approved(request)
        phase = phase_of(study, request)
        weights = weights_of(study, request)
        if study.aggregation is None:
            return self._answered(study, phase, request, weights, prepare)
        self._answered(study, phase, share_request(request), weights, prepare)
        return self._aggregation(study).advertise(study, phase, request)

    def step(self, request: StepRequest) -> bytes:
        """Answer one step of secure aggregation of a round whose share is sealed.

        Raises
        ------
        ApprovalError, PolicyError, OrderError, ProtocolError, SignatureError, LedgerError
            See `Aggregation.step`; the policy may have come to forbid the study.

        Privacy
        -------
        Computes nothing from readings: the share was charged and sealed before its keys were advertised.
        """
        study = self._approved(request)
        phase = phase_of(study, request)
        key = round_key(RoundRequest(study=request.study, phase=request.phase, round=request.round))
        share = self.ledger.sealed(key)
        if study.aggregation is None or share is None:
            raise OrderError("no share of this round is sealed here; ask for its keys first", rule="order")
        return self._aggregation(study).step(study, phase, request, share)

    def _aggregation(self, study: Study) -> Aggregation:
        policies.check(self.policy, study, self.identity.public_key)  # what is sealed has not left yet
        return Aggregation(self.name, self.identity, self.ledger, self.randomness, self._channels)

    def _approved(self, request: RoundRequest | StepRequest) -> Study:
        exchanges.check(self.ledger, self.identity.public_key)
        if self.ledger.decision(request.study) != "approval":
            raise ApprovalError("this supplier has not approved that study; propose it first", rule="approval")
        return self.proposed(request.study)

    def _answered(self, study: Study, phase: Phase, request: RoundRequest, weights: Weights, prepare: Prepare) -> bytes:
        """The sealed share of a round: as it was, or charged, computed and sealed now."""
        key, asked = round_key(request), request_digest(request)
        charged = self.ledger.charged(key)
        if charged not in (None, asked):
            raise OrderError("this round was asked for before with other content; it is answered once", rule="order")
        if (sealed := self.ledger.sealed(key)) is not None:
            return sealed
        if charged is None:
            self._check_turn(study, phase, request)
            self._check_reserved(study)
            self._charge(study, phase, request)
        with limits.within(self.policy.most_seconds, self.policy.most_memory_mib):
            share = self._share(study, phase, request, weights, prepare)
        reply = seal_reply(share, self.name, self.identity)
        over = rounds.epoch_over(request, rounds.sampler_for(study, phase))
        self.ledger.seal(key, reply, {"key": key, "reply": hashlib.sha256(reply).hexdigest()}, over=over)
        return reply

    def _check_reserved(self, study: Study) -> None:
        """Check an approved study again; all that counts is composed only if it may have changed since it last was.

        The whole plan of an approved study that has not expired counts in the window from its approval on, so no charge
        of one changes what counts: only a person's acts and the policy do.
        """
        self._check_allowed(study)
        standing = self.policy, self.ledger.decided
        if standing not in self._within:
            budgets.check_committed(self.policy, self.ledger)
            self._within.add(standing)

    def _check_allowed(self, study: Study) -> None:
        """All that `check` checks but the budget."""
        self._check_ours(study)
        exchanges.check(self.ledger, self.identity.public_key)
        policies.check(self.policy, study, self.identity.public_key)
        for model in study.models:
            logistic.build(model)
            if model.start_model:
                logistic.started_from(model)
        if presence.load(study.occupancy.basis).digest != study.occupancy.basis_digest:
            raise StudyError("the study's presence basis differs from the one installed here; update the older side")
        named = temporal.installed(study)
        if named and temporal.load(named).digest != study.occupancy.model_digest:
            raise StudyError("the study's model of presence differs from the one installed here; update the older side")

    def _check_ours(self, study: Study) -> None:
        if self.ledger.now().date() > study.expires:
            raise ExpiredError("the study has expired; ask the office for a new one")
        keys = {supplier.name: supplier.public_key for supplier in study.suppliers}
        if keys.get(self.name) != self.identity.public_key:
            raise StudyError("this supplier is not on the study's roster under its own key; send the office your key")

    def _check_turn(self, study: Study, phase: Phase, request: RoundRequest) -> None:
        """OrderError unless the round before this one, or the last of the phase before, is sealed.

        In trust mode ``aggregate`` a supplier may have missed rounds; then none that is later may have been charged.
        """
        if study.aggregation is not None:
            self._check_latest(study, request)
            return
        place = study.phases.index(phase)
        if request.round:
            previous = msgspec.structs.replace(request, round=request.round - 1)
        elif place:
            before = study.phases[place - 1]
            previous = msgspec.structs.replace(request, phase=before.name, round=before.rounds - 1)
        else:
            return
        if self.ledger.sealed(round_key(previous)) is None:
            raise OrderError("rounds are answered in the study's order; an earlier one is missing", rule="order")

    def _check_latest(self, study: Study, request: RoundRequest) -> None:
        order = [(phase.name, round_) for phase in study.phases for round_ in range(phase.rounds)]
        later = order[order.index((request.phase, request.round)) + 1 :]
        keys = {round_key(msgspec.structs.replace(request, phase=phase, round=round_)) for phase, round_ in later}
        if keys & self.ledger.charged_keys(request.study):
            raise OrderError("rounds are answered in the study's order; a later one was answered", rule="order")

    def _charge(self, study: Study, phase: Phase, request: RoundRequest) -> None:
        sampler = rounds.sampler_for(study, phase)
        kept = rounds.epoch_secret(self.ledger, request, sampler)
        secret = kept or self.randomness.stream("sample", *label(request)).read(KEY_BYTES)
        key, asked = round_key(request), request_digest(request)
        event = msgspec.to_builtins(sampler.event(begins=kept is None))
        body = {"key": key, "study": request.study, "event": event, "request": asked}
        self.ledger.charge(key, asked, secret, body, epoch=rounds.epoch_key(request, sampler))

    def _share(self, study: Study, phase: Phase, request: RoundRequest, weights: Weights, prepare: Prepare) -> Share:
        homes = panels.as_begun(self.ledger, study, prepare(study))
        secret = self.ledger.secret(round_key(request))
        chosen = homes.take(rounds.sampler_for(study, phase).members(secret, homes.pseudonyms, request.round))
        streams = ((block, self.randomness.stream("noise", *label(request), block.name)) for block in phase.blocks)
        blocks = {block.name: noised(study, block, chosen, weights, stream) for block, stream in streams}
        return Share(
            study=request.study,
            phase=request.phase,
            round=request.round,
            attempt=request.attempt,
            step=request.step,
            supplier=self.name,
            blocks=blocks,
            spare=draw_key(study, self.randomness, *label(request)),
        )
