# SPDX-License-Identifier: Apache-2.0
"""Federated averaging of many settings, each with its cohort of clients, as one batched computation.

Every setting draws from a generator of its own and in the same order, on the processor whatever the device, so that it
comes to the same weights alone as in company, but for the order of floating-point sums.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.random import SFC64
from torch import Generator, Tensor

from skyglow_shared.errors import RunError
from skyglow_simulations.stacked.device import device_named
from skyglow_simulations.stacked.model import (
    Chosen,
    Step,
    Weights,
    descend,
    initial_weights,
    logits,
    step_of,
    weight_shapes,
    with_ones,
)
from skyglow_simulations.stacked.setting import Rows, Setting, check


def train(settings: Sequence[Setting], data: Rows, *, start: Weights | None = None, device: str = "cpu") -> Weights:
    """Train every setting on the same clients.

    Parameters
    ----------
    settings : sequence of Setting
        Alike in shape; they may differ in learning rate, clip, noise and seed.
    data : Rows
        Every client's rows.
    start : tuple of Tensor, optional
        Weights to begin from, `[1 or settings, …]`; by default each setting draws its own.
    device : str
        Where to compute, e.g. ``cpu`` or ``cuda``.

    Returns
    -------
    tuple of Tensor
        Float32 weights `[settings, …]` on the device; see `model.Weights`.

    Raises
    ------
    RunError, DataError
        The settings or the data cannot be used, see `setting.check`; or there is no such device.

    Notes
    -----
    For simulation only: the noise is floating-point and seeded, and the rows of all clients are in one place. Nothing
    that a supplier sends comes from here.
    """
    check(settings, data)
    common, place = settings[0], device_named(device)
    generators = [Generator().manual_seed(setting.seed) for setting in settings]
    words = [SFC64(setting.seed % 2**64) for setting in settings]
    weights = tuple(part.to(place) for part in _first(settings, data, generators, start))
    models = tuple(part.new_empty(len(settings) * common.cohort, *part.shape[1:]) for part in weights)
    steps = _steps(settings, data, models)
    for _ in range(common.rounds):
        _spread(weights, models, common.cohort)
        cohorts = [torch.randperm(common.clients, generator=own)[: common.cohort] for own in generators]
        for _ in range(common.epochs):
            order = torch.cat([_order(common, *pair) for pair in zip(cohorts, words, strict=True)]).to(place)
            _epoch(order if order.device.type != "cpu" else order.numpy(), common.batch, steps)
        _average(weights, models, settings)
        _perturb(weights, settings, generators)
    return weights


def accuracy(weights: Weights, data: Rows, head: int = 0) -> Tensor:
    """Share of all rows that each setting's model classifies as labelled, `[settings]`."""
    place = weights[0].device
    inputs = with_ones(data.features).flatten(0, 1).to(place)
    labels = data.labels.flatten(0, 1)[:, head].to(place) > 0.5
    return ((logits(weights, inputs[None])[:, :, head] > 0) == labels).float().mean(dim=1)


def _first(settings: Sequence[Setting], data: Rows, generators: Sequence[Generator], start: Weights | None) -> Weights:
    """Weights to begin from, `[settings, …]`; each generator draws them even if they are given."""
    shapes = weight_shapes(data.sizes[0], settings[0].hidden, data.sizes[1])
    drawn = zip(*(initial_weights(shapes, generator) for generator in generators), strict=True)
    begin = start or tuple(torch.cat(parts) for parts in drawn)
    given = tuple(tuple(part.shape) for part in begin)
    if given not in {tuple((count, *shape) for shape in shapes) for count in (1, len(settings))}:
        raise RunError(
            "start must be weights of the settings' model, one set or one a setting; leave it out to draw them"
        )
    return tuple(part.to(torch.float32).expand(len(settings), -1, -1).clone() for part in begin)


def _steps(settings: Sequence[Setting], data: Rows, models: Weights) -> dict[int, Step]:
    """The local steps of all models, by their rows: full batches, and what is left at the end."""
    common, place = settings[0], models[0].device
    rates = torch.tensor([setting.learning_rate for setting in settings], device=place)
    rates = rates.repeat_interleave(common.cohort).view(-1, 1, 1)
    table = torch.cat([with_ones(data.features), data.labels.to(torch.float32)], dim=-1).flatten(0, 1).to(place)
    sizes = {min(common.batch, common.rows), common.rows % common.batch or common.batch}
    return {size: step_of(models, rates / size, size, table) for size in sizes}


def _spread(weights: Weights, models: Weights, cohort: int) -> None:
    for part, copies in zip(weights, models, strict=True):
        copies.view(len(part), cohort, *part.shape[1:]).copy_(part[:, None])


def _order(setting: Setting, cohort: Tensor, words: SFC64) -> Tensor:
    """Row numbers of each client of the cohort in a fresh order, `[cohort, rows]`.

    Notes
    -----
    Random words are sorted whose last bits are row numbers: several times faster than sorting numbers of rows by keys.
    """
    last = np.uint64(2 ** (setting.rows - 1).bit_length() - 1)
    keys = words.random_raw(setting.cohort * setting.rows).reshape(setting.cohort, setting.rows)
    keys &= ~last
    keys |= np.arange(setting.rows, dtype=np.uint64)
    keys.sort(axis=1)
    keys &= last
    return torch.from_numpy(keys.view(np.int64)).add_(cohort[:, None] * setting.rows)


def _epoch(order: Chosen, batch: int, steps: Mapping[int, Step]) -> None:
    for begin in range(0, order.shape[1], batch):
        chosen = order[:, begin : begin + batch]
        descend(steps[chosen.shape[1]], chosen)


def _average(weights: Weights, models: Weights, settings: Sequence[Setting]) -> None:
    """Put the mean of the clients' weights, or of their clipped updates added to the old ones, in `weights`."""
    count, cohort = len(settings), settings[0].cohort
    if all(math.isinf(setting.clip) for setting in settings):
        for part, copies in zip(weights, models, strict=True):
            torch.mean(copies.view(count, cohort, *part.shape[1:]), dim=1, out=part)
        return
    pairs = zip(weights, models, strict=True)
    updates = [copies.view(count, cohort, -1).sub_(part.view(count, 1, -1)) for part, copies in pairs]
    squares = torch.stack([torch.linalg.vector_norm(update, dim=2).square_() for update in updates])
    clips = torch.tensor([[setting.clip] for setting in settings], device=squares.device)
    shares = (clips / squares.sum(0).sqrt_()).clamp_max_(1.0).div_(cohort)[:, None]
    for part, update in zip(weights, updates, strict=True):
        part.view(count, 1, -1).baddbmm_(shares, update)


def _perturb(weights: Weights, settings: Sequence[Setting], generators: Sequence[Generator]) -> None:
    for number, (setting, generator) in enumerate(zip(settings, generators, strict=True)):
        if setting.noise > 0:
            scale = setting.noise * setting.clip / setting.cohort
            for part in weights:
                noise = torch.randn(part.shape[1:], generator=generator)
                part[number].add_(noise.to(part.device), alpha=scale)
