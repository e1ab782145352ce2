# SPDX-License-Identifier: Apache-2.0
"""What is simulated: the frozen settings, the clients' rows, and every contradiction between them, found beforehand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skyglow_shared.errors import DataError, RunError


@dataclass(frozen=True, slots=True)
class Setting:
    """One federated training.

    Attributes
    ----------
    clients, rows : int
        Clients, and rows that each of them holds.
    cohort : int
        Clients drawn for a round, without replacement.
    rounds : int
        Rounds of federated averaging.
    batch : int
        Rows of a local step; the last batch of an epoch may be smaller.
    epochs : int
        Passes over a client's rows within a round, each in a fresh order.
    learning_rate : float
        Of the local gradient descent on the mean cross-entropy of a batch, heads added.
    hidden : int
        Rectified units of the hidden layer; 0 for a logistic model.
    clip : float
        Largest L2 norm of a client's update; infinite to leave updates as they are.
    noise : float
        Standard deviation of the noise on the sum of a round's updates, in units of `clip`.
    seed : int
        Decides the initial weights, cohorts, orders and noise.
    """

    clients: int
    rows: int
    cohort: int
    rounds: int
    batch: int
    epochs: int = 1
    learning_rate: float = 0.1
    hidden: int = 32
    clip: float = math.inf
    noise: float = 0.0
    seed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """What settings must have in common to be trained as one computation."""
        return self.clients, self.rows, self.cohort, self.rounds, self.batch, self.epochs, self.hidden


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of every client.

    Attributes
    ----------
    features : Tensor
        `[clients, rows, features]`, finite.
    labels : Tensor
        `[clients, rows, heads]`, within [0, 1].
    """

    features: Tensor
    labels: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        """Features and heads."""
        return self.features.shape[-1], self.labels.shape[-1]


def check(settings: Sequence[Setting], data: Rows) -> None:
    """Refuse settings that contradict themselves, each other or the data; all contradictions in one message.

    Raises
    ------
    RunError
        The settings cannot be carried out, or not as one computation.
    DataError
        The data are not what the settings say, or not finite, or a label is outside [0, 1].
    """
    if problems := list(_contradictions(settings)):
        raise RunError("these settings cannot be simulated: " + "; ".join(problems))
    if problems := list(_faults(settings[0], data)):
        raise DataError("these rows cannot be simulated on: " + "; ".join(problems))


def _contradictions(settings: Sequence[Setting]) -> Iterator[str]:
    if not settings:
        yield "none is given, at least one is wanted"
    if len({setting.shape for setting in settings}) > 1:
        yield "all must agree in clients, rows, cohort, rounds, batch, epochs and hidden; train the others separately"
    for number, setting in enumerate(settings):
        if min(setting.clients, setting.rows, setting.batch, setting.epochs) < 1:
            yield f"setting {number}: clients, rows, batch and epochs must be at least 1"
        if min(setting.rounds, setting.hidden) < 0:
            yield f"setting {number}: rounds and hidden must not be negative"
        if not 1 <= setting.cohort <= setting.clients:
            yield f"setting {number}: cohort must be between 1 and the number of clients"
        if not 0 < setting.learning_rate < math.inf:
            yield f"setting {number}: learning_rate must be positive and finite"
        if not setting.clip > 0:
            yield f"setting {number}: clip must be positive; leave it infinite not to clip"
        if not 0 <= setting.noise < math.inf:
            yield f"setting {number}: noise must be finite and not negative"
        if setting.noise > 0 and math.isinf(setting.clip):
            yield f"setting {number}: noise is in units of clip, so it needs a finite clip"


def _faults(setting: Setting, data: Rows) -> Iterator[str]:
    wanted = (setting.clients, setting.rows)
    for name, values in (("features", data.features), ("labels", data.labels)):
        if values.ndim != 3 or values.shape[:2] != wanted or values.shape[-1] < 1:
            yield f"{name} must be [clients, rows, at least one], as in the settings"
        elif not bool(torch.isfinite(values).all()):
            yield f"{name} must be finite"
        elif name == "labels" and not bool(((values >= 0) & (values <= 1)).all()):
            yield "labels must be within [0, 1]"
