# SPDX-License-Identifier: Apache-2.0
"""Logistic regression on a feature contract, or on what hidden layers make of it; one flat float64 parameter vector."""

import hashlib
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from skyglow_shared.errors import StudyError
from skyglow_shared.models import aligned, features, temporal
from skyglow_shared.models.network import Layer, Network, initial
from skyglow_shared.models.temporal import PresenceModel
from skyglow_shared.study import Model


class Logistic(nn.Module):
    """One linear layer: features in [-1, 1] to a logit. The parameter vector is the weights, then the bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [..., width] to logits [...]."""
        logits: Tensor = self.linear(x)
        return logits.squeeze(-1)


def build(model: Model) -> Logistic:
    """Build the module a study names; StudyError if its feature contract is not the one installed here."""
    contract = features.contract(model.features)
    if contract.digest != model.features_digest:
        raise StudyError(f"feature contract {model.features} differs from the one installed; update the older side")
    return Logistic(len(contract.features))


def network_of(model: Model, days: int = 1) -> Network:
    """The network of a model: its features, its hidden layers if any, one logit; a temporal one's at every half-hour.

    `days` are those of a temporal model's homes; its parameters are the same for any number of them.
    """
    if model.kind == "temporal":
        return temporal.network(days, model.hidden)
    widths = (len(features.contract(model.features).features), *model.hidden, 1)
    return Network(tuple(Layer(*pair) for pair in pairwise(widths)))


def parameter_count(model: Model) -> int:
    """Length of the model's parameter vector."""
    return network_of(model).parameters


def first_weights(model: Model) -> NDArray[np.float64]:
    """The parameter vector that training begins from: the study's own, or one by which either answer is as likely.

    That is zeros; hidden layers, which would never leave zero, begin at weights that follow from the model's shape.
    """
    if model.start:
        return np.array(model.start)
    if model.start_model:
        return started_from(model).weights
    return initial(network_of(model), hashlib.sha256(f"skyglow-start-v1 {model.hidden}".encode()).digest())


def started_from(model: Model) -> PresenceModel:
    """The installed model that training begins from; StudyError if there is none, or not the one the study means."""
    found = temporal.load(model.start_model)
    if found.digest != model.start_digest:
        raise StudyError(f"the installed {model.start_model} differs from the study's; update the older side")
    return found


def loss(module: Logistic, x: Tensor, y: Tensor) -> Tensor:
    """Log loss of one household: x [width], y scalar 0 or 1."""
    return F.binary_cross_entropy_with_logits(module(x), y)


def logits(weights: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits [homes] of normalised features [homes, width] under a flat parameter vector [width + 1]."""
    return np.asarray(x @ weights[:-1] + weights[-1])


def model_logits(model: Model, weights: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits [homes] of a model, hidden layers and all."""
    return aligned.logits(network_of(model), weights, x)[:, 0] if model.hidden else logits(weights, x)


def scores(model: Model, weights: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred, clipped scores in [-1, 1]: what a home contributes to area sums.

    Parameters
    ----------
    model : Model
        Gives `score_centre` and `score_width`, in logits.
    weights : ndarray of float64, shape (parameters,)
    x : ndarray of float64, shape (homes, width)
        Normalised features.
    """
    return cut(model_logits(model, weights, x), model.score_centre, model.score_width)


def cut(logits: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    """Scores of log-odds."""
    return np.clip((logits - centre) / width, -1.0, 1.0)


def together(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores [homes, models] of models that share a block: those of one home held together to length 1."""
    return np.asarray(scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1.0))
