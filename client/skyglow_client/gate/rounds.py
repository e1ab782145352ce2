# SPDX-License-Identifier: Apache-2.0
"""What a request says of its round, and how a block of its share is made."""

import hashlib

import msgspec

from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.ledger_file import RESTORE
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.homes import Homes, Weights
from skyglow_shared.errors import LedgerError, OrderError
from skyglow_shared.layout import round_numbers
from skyglow_shared.messages import RoundRequest, StepRequest, decode_weights, encode_integers
from skyglow_shared.models import logistic
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import add_noise
from skyglow_shared.privacy.sampling import Sampler, sampler_of
from skyglow_shared.study import Block, Phase, Study


def round_key(request: RoundRequest) -> str:
    """The identity of one step of one round of one study."""
    return "/".join(str(part) for part in (*label(request), request.step))


def request_digest(request: RoundRequest) -> str:
    """SHA-256 (hex) of a request's content in one canonical encoding."""
    return hashlib.sha256(msgspec.msgpack.encode(request, order="sorted")).hexdigest()


def sampler_for(study: Study, phase: Phase) -> Sampler:
    """What draws a phase's samples and says what they cost."""
    return sampler_of(study, phase, round_numbers(study, phase))


def epoch_key(request: RoundRequest, sampler: Sampler) -> str:
    """The identity of the epoch that a round is of; empty where every round is drawn for itself."""
    return f"{request.study}/{request.phase}/{request.round // sampler.epoch}" if sampler.epoch > 1 else ""


def epoch_over(request: RoundRequest, sampler: Sampler) -> str:
    """The identity of the epoch of which a round is the last; empty for all others."""
    return epoch_key(request, sampler) if (request.round + 1) % sampler.epoch == 0 else ""


def epoch_secret(ledger: Ledger, request: RoundRequest, sampler: Sampler) -> bytes | None:
    """The secret of an epoch of which a round was charged before; None if this is its first.

    Raises
    ------
    LedgerError
        One was charged, and the secret is gone: homes would be drawn a second time.
    """
    kept = ledger.rows("SELECT secret FROM allocations WHERE epoch = ?", epoch_key(request, sampler))
    first = request.round - request.round % sampler.epoch
    before = {round_key(msgspec.structs.replace(request, round=round_)) for round_ in range(first, request.round)}
    if before and not kept and before & ledger.charged_keys(request.study):
        raise LedgerError(f"the ledger has no secret for an epoch that is under way; {RESTORE}")
    return bytes(kept[0][0]) if kept else None


def noised(study: Study, block: Block, homes: Homes, weights: Weights, stream: ByteStream) -> bytes:
    """One block of a share: clipped contributions on the grid, added by group, with the share's noise."""
    return encode_integers(add_noise(block_sum(study, block, homes, weights), stream))


def label(request: RoundRequest) -> tuple[str | int, ...]:
    """What names a round's streams of randomness."""
    return request.study, request.phase, request.round, request.attempt


def phase_of(study: Study, request: RoundRequest | StepRequest) -> Phase:
    """The phase that a request is about; OrderError if the study has no such phase, round or way of asking."""
    found = [phase for phase in study.phases if phase.name == request.phase]
    if not found or not 0 <= request.round < found[0].rounds:
        raise OrderError("the approved study has no such phase or round; ask for those it has", rule="order")
    local = study.aggregation is None
    if isinstance(request, RoundRequest) and request.step != ("share" if local else "advertise"):
        raise OrderError(
            "a round is asked for by 'share' in trust mode 'local', by 'advertise' in 'aggregate'", rule="order"
        )
    if local and request.attempt != 0:
        raise OrderError("a round of trust mode 'local' has one attempt (0)", rule="order")
    return found[0]


def weights_of(study: Study, request: RoundRequest) -> Weights:
    """The parameters that a request brings; OrderError or ProtocolError unless they are those of the study's models."""
    if set(request.weights) != {model.name for model in study.models}:
        raise OrderError("a round must bring the parameters of exactly the study's models", rule="order")
    return {
        model.name: decode_weights(request.weights[model.name], logistic.parameter_count(model))
        for model in study.models
    }
