# SPDX-License-Identifier: Apache-2.0
"""Flower's own SecAgg+ nodes, driven message by message by a server of ours. Runs in Flower's environment."""

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import factor_extract
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.compat.common import recorddict_compat as compat
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key
from flwr.supercore.task_identity import TaskIdentity

CLIP, LEVELS, MODULUS = 8.0, 1 << 22, 1 << 32
THRESHOLD = 3


class Node:
    """One node with a vector of its own; `ask` hands one message to Flower's client code."""

    def __init__(self, number, vector):
        self.number, self.vector = number, vector
        self.context = Context(run_id=1, node_id=number, node_config={}, state=RecordDict(), run_config={})

    def ask(self, stage, content):
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, self.number, 1
        record = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord({Key.STAGE: stage, **content})})
        message = Message(record, dst_node_id=self.number, message_type="train")
        reply = secaggplus_mod(message, self.context, self._fit)
        return dict(reply.content.config_records[RECORD_KEY_CONFIGS])

    def _fit(self, message, context):
        parameters = ndarrays_to_parameters([self.vector])
        result = FitRes(Status(Code.OK, ""), parameters, num_examples=1, metrics={})
        return Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)

    def set_up(self, nodes):
        content = {Key.SAMPLE_NUMBER: nodes, Key.SHARE_NUMBER: nodes, Key.THRESHOLD: THRESHOLD}
        content |= {Key.CLIPPING_RANGE: CLIP, Key.TARGET_RANGE: LEVELS, Key.MOD_RANGE: MODULUS, Key.MAX_WEIGHT: 1.0}
        reply = self.ask(Stage.SETUP, content)
        return [reply[Key.PUBLIC_KEY_1], reply[Key.PUBLIC_KEY_2]]

    def masked(self, sources, ciphertexts):
        content = {Key.SOURCE_LIST: sources, Key.CIPHERTEXT_LIST: ciphertexts}
        reply = self.ask(Stage.COLLECT_MASKED_VECTORS, content)
        return [bytes_to_ndarray(array) for array in reply[Key.MASKED_PARAMETERS]]


def unmasked(masked, number, seed, secret, public):
    """Take one node's masks off: its own, of `seed`, and those it shares with the holders of `public` keys."""
    shapes = [array.shape for array in masked]
    masks = [(-1, seed)]
    for other, key in public.items():
        shared = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(key))
        masks.append((-1 if number > other else 1, shared))
    total = [array.astype(np.int64) for array in masked]
    for sign, each in masks:
        mask = pseudo_rand_gen(each, MODULUS, shapes)
        total = [array + sign * part for array, part in zip(total, mask, strict=True)]
    _, arrays = factor_extract([array % MODULUS for array in total])
    return dequantize(arrays, CLIP, LEVELS)[0]


def town(seed):
    """Five nodes with random vectors."""
    rng = np.random.default_rng(seed)
    return {number: Node(number, rng.normal(size=50)) for number in range(1, 6)}
