# SPDX-License-Identifier: Apache-2.0
"""A workload as one would first write it: a loop over the clients, a module, automatic gradients, an optimiser."""

import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from workloads import FEATURES, HIDDEN, LEARNING_RATE, Workload, first_weights, report, test_rows, training_rows


def run(workload: Workload, rounds: int, seed: int) -> tuple[float, list[float]]:
    """Seconds, and accuracy at the end."""
    torch.manual_seed(seed)
    features, labels = (torch.from_numpy(part) for part in training_rows(workload))
    network = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    parameters = list(network.parameters())
    start = [torch.from_numpy(np.ascontiguousarray(part.T)) for part in first_weights()]
    state = parameters_to_vector(start)
    begun = time.perf_counter()
    for _ in range(rounds):
        total = torch.zeros_like(state)
        for client in torch.randperm(workload.clients)[: workload.cohort].tolist():
            vector_to_parameters(state.clone(), parameters)
            optimiser = torch.optim.SGD(parameters, lr=LEARNING_RATE)
            for chosen in torch.randperm(workload.rows).split(workload.batch):
                optimiser.zero_grad()
                loss = binary_cross_entropy_with_logits(network(features[client][chosen]), labels[client][chosen])
                loss.backward()
                optimiser.step()
            update = parameters_to_vector(parameters).detach() - state
            total += update * (min(1.0, workload.clip / float(update.norm())) if workload.clip else 1.0)
        state = state + (total + workload.noise * workload.clip * torch.randn(len(total))) / workload.cohort
    seconds = time.perf_counter() - begun
    vector_to_parameters(state, parameters)
    features, labels = (torch.from_numpy(part) for part in test_rows())
    with torch.no_grad():
        return seconds, [float(((network(features) > 0) == (labels > 0.5)).float().mean())]


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(run)
