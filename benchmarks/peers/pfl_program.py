# SPDX-License-Identifier: Apache-2.0
"""A workload on pfl-research's simulated backend, written as its own benchmarks are: all tensors made beforehand."""

import os
import time

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from workloads import FEATURES, HIDDEN, LEARNING_RATE, Workload, first_weights, report, test_rows, training_rows


class Network(nn.Sequential):
    """The network of the workloads, with the two methods pfl asks for."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        with torch.no_grad():
            for own, given in zip(self.parameters(), first_weights(), strict=True):
                own.copy_(torch.from_numpy(given).mT if given.ndim == 2 else torch.from_numpy(given))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch."""
        return binary_cross_entropy_with_logits(self(features), labels)

    def metrics(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Nothing: nobody evaluates during the rounds."""
        return {}


def users(workload: Workload) -> FederatedDataset:
    """Every client's rows as tensors, shuffled afresh whenever a client is drawn; clients come in a random order."""
    features, labels = (torch.from_numpy(part) for part in training_rows(workload))

    def rows_of(user: int) -> PyTorchTensorDataset:
        order = torch.randperm(workload.rows)
        return PyTorchTensorDataset((features[user][order], labels[user][order]))

    clients = np.random.permutation(workload.clients).tolist()  # the sampler takes them one after the other
    return FederatedDataset(rows_of, get_user_sampler("minimize_reuse", clients))


def run(workload: Workload, rounds: int, seed: int) -> tuple[float, list[float]]:
    """Seconds, and accuracy at the end."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    network, data = Network(), users(workload)
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    steps = [WeightByUser()]
    if workload.clip:
        mechanism = GaussianMechanism(clipping_bound=workload.clip, relative_noise_stddev=workload.noise)
        steps.append(CentrallyAppliedPrivacyMechanism(mechanism))
    backend = SimulatedBackend(training_data=data, val_data=data, postprocessors=steps)
    plan = NNAlgorithmParams(
        central_num_iterations=rounds,
        evaluation_frequency=10**9,
        train_cohort_size=workload.cohort,
        val_cohort_size=0,
    )
    local = NNTrainHyperParams(local_batch_size=workload.batch, local_num_epochs=1, local_learning_rate=LEARNING_RATE)
    begun = time.perf_counter()
    FederatedAveraging().run(plan, backend, model, local, send_metrics_to_platform=False)
    seconds = time.perf_counter() - begun
    features, labels = (torch.from_numpy(part) for part in test_rows())
    with torch.no_grad():
        return seconds, [float(((network(features) > 0) == (labels > 0.5)).float().mean())]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if int(os.environ.get("RANK", "0")):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    report(run)
