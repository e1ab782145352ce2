# SPDX-License-Identifier: Apache-2.0
"""What a request says of its round, which homes are in the round's sample, and how a block of its share is made."""

import hashlib
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.contributions import Weights
from skyglow_client.learning.homes import Homes
from skyglow_shared.errors import OrderError
from skyglow_shared.messages import RoundRequest, StepRequest, decode_weights, encode_integers
from skyglow_shared.models import logistic
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import add_noise
from skyglow_shared.study import Block, Phase, Study


def round_key(request: RoundRequest) -> str:
    """The identity of one step of one round of one study."""
    return "/".join(str(part) for part in (*label(request), request.step))


def request_digest(request: RoundRequest) -> str:
    """SHA-256 (hex) of a request's content in one canonical encoding."""
    return hashlib.sha256(msgspec.msgpack.encode(request, order="sorted")).hexdigest()


def poisson_sample(secret: bytes, homes: int, rate: float) -> NDArray[np.bool_]:
    """Which homes are in a round's sample: each by itself with chance `rate`, by one word of the secret's keystream.

    Parameters
    ----------
    secret : bytes
        32 bytes, used for this sample alone.
    homes : int
        Homes in the order of their pseudonyms.
    rate : float

    Returns
    -------
    ndarray of bool, shape (homes,)

    Privacy
    -------
    Neither the sample nor its size may leave: the charge counts on the sample being secret. The chance is `rate`
    rounded down to a multiple of 2⁻⁶⁴, never more.
    """
    if rate >= 1:
        return np.ones(homes, dtype=bool)
    return ByteStream(secret).words(homes) < np.uint64(int(Fraction(rate) * 2**64))


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
