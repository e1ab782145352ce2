# SPDX-License-Identifier: Apache-2.0
"""Whole rounds of Flower's SecAgg+ by the code that a deployment runs: a line of JSON with CPU seconds for a line read.

The server is its `SecAggPlusWorkflow` with its defaults and `FedAvg`, the clients are a `ClientApp` with its
`secaggplus_mod`, between them a `Grid` that calls the app at once: no network, no engine, no training. Messages go
through Flower's own encoding. The model that is sent out is one number, and logging is off.
"""

import logging
import time
from collections.abc import Iterable

import numpy as np
from flower_turns import error, take
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import NDArrays, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.compat.common import recorddict_compat as compat
from flwr.proto.message_pb2 import Message as Encoded
from flwr.server import LegacyContext, ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp.grid import Grid
from flwr.supercore.task_identity import TaskIdentity

MOST_WEIGHT = 1000
RUN, SERVER = 1, 1
NODES_FROM = 2


class Trained(NumPyClient):
    """A client that gives the vector it has."""

    def __init__(self, vector: np.ndarray) -> None:
        self.vector = vector

    def fit(self, parameters: NDArrays, config: dict) -> tuple[NDArrays, int, dict]:
        """Train nothing."""
        del parameters, config
        return [self.vector], MOST_WEIGHT, {}


class Direct(Grid):
    """Hands each message to the client app as it comes."""

    def __init__(self, vectors: list[np.ndarray]) -> None:
        self.vectors = dict(enumerate(vectors, start=NODES_FROM))
        self.contexts = {node: _context(node) for node in self.vectors}
        self.app = ClientApp(lambda context: Trained(self.vectors[context.node_id]).to_client(), mods=[secaggplus_mod])

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Ask each node in turn."""
        del timeout
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"to {node}"
            asked = _carried(message)
            TaskIdentity.node_id = node
            reply = self.app(asked, self.contexts[node])
            TaskIdentity.node_id = SERVER
            replies.append(_carried(reply))
        return replies

    def get_node_ids(self) -> list[int]:
        """All of them."""
        return list(self.vectors)

    def set_run(self, run: object) -> None:
        """There is one."""
        raise NotImplementedError

    run = property(set_run)
    create_message = push_messages = pull_messages = set_run


def _context(node: int) -> Context:
    return Context(run_id=RUN, node_id=node, node_config={}, state=RecordDict(), run_config={})


def _carried(message: Message) -> Message:
    return message_from_proto(Encoded.FromString(message_to_proto(message).SerializeToString()))


def turn(vectors: list[np.ndarray], threshold: int) -> dict[str, float]:
    """CPU seconds of all sides, and the mean's largest error in quantisation steps."""
    grid, everybody, small = Direct(vectors), len(vectors), ndarrays_to_parameters([np.zeros(1)])
    manager = SimpleClientManager()
    for node in grid.get_node_ids():
        manager.register(GridClientProxy(node, grid, RUN))
    strategy = FedAvg(min_fit_clients=everybody, min_available_clients=everybody, initial_parameters=small)
    context = LegacyContext(_context(SERVER), ServerConfig(num_rounds=1), strategy, manager)
    context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(small, keep_input=True)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    workflow = SecAggPlusWorkflow(everybody, threshold)
    start = time.process_time()
    workflow(grid, context)
    taken = time.process_time() - start
    record: ArrayRecord = context.state.array_records[MAIN_PARAMS_RECORD]
    (mean,) = parameters_to_ndarrays(compat.arrayrecord_to_parameters(record, keep_input=True))
    return {"all": taken, "error": error(mean, vectors)}


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, SERVER, 1
    take(turn)
