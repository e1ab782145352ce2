# SPDX-License-Identifier: Apache-2.0
"""Rounds of SecAgg+ in Flower's own simulation engine, as its users run them: JSON of seconds on the wall, a round."""

import json
import logging
import sys
import time

import numpy as np
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import NDArrays, ndarrays_to_parameters
from flwr.server import Grid, LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.simulation import run_simulation

ROUNDS = 6
COUNT, WORDS, THRESHOLD = (int(argument) for argument in sys.argv[1:4])
seconds: list[float] = []


class Trained(NumPyClient):
    """A client that trains nothing."""

    def fit(self, parameters: NDArrays, config: dict) -> tuple[NDArrays, int, dict]:
        """Give a vector that is there."""
        del parameters, config
        return [np.random.default_rng(7).uniform(-4, 4, WORDS)], 1000, {}


class Timed(SecAggPlusWorkflow):
    """A round of it, by the clock on the wall."""

    def __call__(self, grid: Grid, context: Context) -> None:
        """Run a round."""
        start = time.perf_counter()
        super().__call__(grid, context)
        seconds.append(time.perf_counter() - start)


server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    small = ndarrays_to_parameters([np.zeros(1)])
    strategy = FedAvg(
        fraction_evaluate=0.0, min_fit_clients=COUNT, min_available_clients=COUNT, initial_parameters=small
    )
    whole = LegacyContext(context, ServerConfig(num_rounds=ROUNDS), strategy)
    DefaultWorkflow(fit_workflow=Timed(COUNT, THRESHOLD))(grid, whole)


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    client = ClientApp(lambda context: Trained().to_client(), mods=[secaggplus_mod])
    run_simulation(server, client, num_supernodes=COUNT)
    print(json.dumps(seconds[1:]))
