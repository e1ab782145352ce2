# SPDX-License-Identifier: Apache-2.0
"""Many federated trainings at once, as one batched computation: clients, seeds and privacy levels stacked."""

from skyglow_simulations.stacked.model import Weights
from skyglow_simulations.stacked.setting import Rows, Setting
from skyglow_simulations.stacked.training import accuracy, train

__all__ = ["Rows", "Setting", "Weights", "accuracy", "train"]
