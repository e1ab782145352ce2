# SPDX-License-Identifier: Apache-2.0
"""An update with one NaN passes Flower's client-side clipping as it is."""

import json

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.mod import fixedclipping_mod
from flwr.supercore.differential_privacy import KEY_CLIPPING_NORM
from flwr.supercore.task_identity import TaskIdentity

BOUND = 1.0


def norm_after(update):
    """Length of the finite part of an update, once Flower has clipped it to BOUND."""

    def train(message, context):
        return Message(RecordDict({"arrays": ArrayRecord([update.copy()])}), reply_to=message)

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    asked = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({KEY_CLIPPING_NORM: BOUND})})
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    reply = fixedclipping_mod(Message(asked, dst_node_id=1, message_type="train"), context, train)
    (arrays,) = reply.content.array_records.values()
    clipped = arrays.to_numpy_ndarrays()[0]
    return float(np.linalg.norm(clipped[np.isfinite(clipped)]))


plain, poisoned = (norm_after(np.array([first, 1e6, 1e6])) for first in (1e6, np.nan))
print(json.dumps({"succeeded": plain <= 1.001 * BOUND and poisoned > 1e6 * BOUND, "norm": poisoned, "bound": BOUND}))
