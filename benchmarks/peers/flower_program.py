# SPDX-License-Identifier: Apache-2.0
"""A workload on Flower's simulation engine: two actors of one processor each, the rows read once an actor."""

import os
import sys
import time

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.simulation import run_simulation
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from workloads import (
    FEATURES,
    HIDDEN,
    LEARNING_RATE,
    WORKLOADS,
    Figures,
    first_weights,
    publish,
    test_rows,
    training_rows,
)

NAME, SHORT, LONG = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WORKLOAD = WORKLOADS[NAME]
client_app, server_app = ClientApp(), ServerApp()


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


@client_app.train()
def fit(message: Message, context: Context) -> Message:
    """One epoch on the rows of the client this node stands for."""
    torch.set_num_threads(1)
    client = int(context.node_config["partition-id"])
    features, labels = (torch.from_numpy(part[client]) for part in training_rows(WORKLOAD))
    network = _network()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimiser = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    for chosen in torch.randperm(WORKLOAD.rows).split(WORKLOAD.batch):
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(network(features[chosen]), labels[chosen]).backward()
        optimiser.step()
    metrics = MetricRecord({"num-examples": WORKLOAD.rows})
    reply = RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics})
    return Message(content=reply, reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds, with the time at the end of each: a shorter run is the beginning of a longer one."""
    network, times = _network(), [0.0]
    state = {
        name: torch.from_numpy(np.ascontiguousarray(given.T))
        for name, given in zip(network.state_dict(), first_weights(), strict=True)
    }

    def after(number: int, arrays: ArrayRecord) -> None:
        times[number:] = [time.perf_counter()]

    strategy = FedAvg(
        fraction_train=WORKLOAD.cohort / WORKLOAD.clients,
        fraction_evaluate=0.0,
        min_train_nodes=WORKLOAD.cohort,
        min_available_nodes=WORKLOAD.clients,
    )
    if WORKLOAD.clip:
        strategy = DifferentialPrivacyServerSideFixedClipping(strategy, WORKLOAD.noise, WORKLOAD.clip, WORKLOAD.cohort)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(state), num_rounds=LONG, evaluate_fn=after)
    network.load_state_dict(result.arrays.to_torch_state_dict())
    features, labels = (torch.from_numpy(part) for part in test_rows())
    with torch.no_grad():
        accuracy = float(((network(features) > 0) == (labels > 0.5)).float().mean())
    publish(Figures((times[LONG] - times[SHORT]) / (LONG - SHORT), LONG, [accuracy], time.time()))


if __name__ == "__main__":
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=WORKLOAD.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False},
        },
    )
    sys.stdout.flush()
    os._exit(0)  # Ray's helpers take seconds to leave, and no figure needs them
