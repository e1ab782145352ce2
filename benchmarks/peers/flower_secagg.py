# SPDX-License-Identifier: Apache-2.0
"""Rounds of SecAgg+ by Flower's primitives alone: a line of JSON with CPU seconds for each line read.

A client's part is what its mod does in the stages that share keys, mask and unmask (with quantisation, and the masked
vector as bytes); the server's is what its workflow does with the replies, by the same calls. Key pairs of the set-up,
messages and logging are left out, which favours it.
"""

import time

import numpy as np
from flower_turns import CLIP, LEVELS, error, take
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    SecAggPlusState,
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

MODULUS, WEIGHT = 1 << 32, 1000


def client(place: int, count: int, threshold: int) -> SecAggPlusState:
    """A client after the set-up stage."""
    state = SecAggPlusState(nid=place)
    settings = {
        Key.SAMPLE_NUMBER: count,
        Key.SHARE_NUMBER: count,
        Key.THRESHOLD: threshold,
        Key.CLIPPING_RANGE: CLIP,
        Key.TARGET_RANGE: LEVELS,
        Key.MOD_RANGE: MODULUS,
        Key.MAX_WEIGHT: float(WEIGHT),
    }
    _setup(state, settings)
    return state


def turn(vectors: list[np.ndarray], threshold: int) -> dict[str, float]:
    """CPU seconds of all sides, and the mean's largest error in quantisation steps."""
    count = len(vectors)
    clients = [client(place, count, threshold) for place in range(count)]
    public = {str(one.nid): (one.pk1, one.pk2) for one in clients}
    start = time.process_time()
    shared = [_share_keys(one, public) for one in clients]
    posted = [
        {
            Key.SOURCE_LIST: [source for source in range(count) if source != place],
            Key.CIPHERTEXT_LIST: [
                reply[Key.CIPHERTEXT_LIST][reply[Key.DESTINATION_LIST].index(place)]
                for source, reply in enumerate(shared)
                if source != place
            ],
        }
        for place in range(count)
    ]
    masked = [
        _collect_masked_vectors(one, post, WEIGHT, ndarrays_to_parameters([vector]))
        for one, post, vector in zip(clients, posted, vectors, strict=True)
    ]
    everybody = {Key.ACTIVE_NODE_ID_LIST: list(range(count)), Key.DEAD_NODE_ID_LIST: []}
    unmasked = [_unmask(one, everybody) for one in clients]
    mean = server([reply[Key.MASKED_PARAMETERS] for reply in masked], unmasked)
    end = time.process_time()
    return {"all": end - start, "error": error(mean, vectors)}


def server(masked: list[list[bytes]], unmasked: list[dict]) -> np.ndarray:
    """The mean of the vectors, as the workflow finds it."""
    total = [bytes_to_ndarray(part) for part in masked[0]]
    for parts in masked[1:]:
        total = parameters_addition(total, [bytes_to_ndarray(part) for part in parts])
    total = parameters_mod(total, MODULUS)
    for place in range(len(masked)):
        seed = combine_shares([reply[Key.SHARE_LIST][place] for reply in unmasked])
        total = parameters_subtraction(total, pseudo_rand_gen(seed, MODULUS, get_parameters_shape(total)))
    weight, (levels,) = factor_extract(parameters_mod(total, MODULUS))
    (summed,) = dequantize([levels], CLIP, LEVELS)
    return (summed - (len(masked) - 1) * CLIP) * (LEVELS / weight)


if __name__ == "__main__":
    take(turn)
