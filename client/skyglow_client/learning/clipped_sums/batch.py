# SPDX-License-Identifier: Apache-2.0
"""The homes of a training round as a network sees them."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_shared.errors import InternalError
from skyglow_shared.models.network import Network


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """One row a household, in ascending order of its key.

    Attributes
    ----------
    keys : ndarray of uint64, shape (homes,)
        The first 64 bits of each home's pseudonym: fixed, spread evenly, and nothing to do with other homes.
    x : ndarray of float, shape (homes, *places, inputs)
    y : ndarray of float, shape (homes, *places, outputs)
        Labels within [0, 1]; NaN where not known.
    days : ndarray of bool, shape (homes, days), or None
        Days that count. What `x` and `y` hold on others is never looked at. None: all do.

    Privacy
    -------
    Sensitive, one row a household. A home with a number that cannot be used, on a day that counts, contributes nothing.
    """

    keys: NDArray[np.uint64]
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    days: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        arrays = (self.keys, self.x, self.y, *(() if self.days is None else (self.days,)))
        if {len(array) for array in arrays} != {len(self.keys)} or self.keys.ndim != 1:
            raise InternalError("a batch's arrays are not one row a household; please report this")
        if bool((self.keys[1:] < self.keys[:-1]).any()):
            raise InternalError("a batch's homes are not in the order of their keys; please report this")

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: slice) -> "Batch":
        """Only the homes of `rows`, which are neighbours."""
        return Batch(self.keys[rows], self.x[rows], self.y[rows], None if self.days is None else self.days[rows])

    def check(self, network: Network) -> None:
        """InternalError unless the arrays have the network's shape: days must not pass for households."""
        places = network.places
        shapes = {self.x.shape[1:]: (*places, network.inputs), self.y.shape[1:]: (*places, network.outputs)}
        if self.days is not None:
            shapes[self.days.shape[1:]] = places[:1]
        if any(found != wanted for found, wanted in shapes.items()) or (self.days is not None and not places):
            raise InternalError("a batch is not one row a household of its network's shape; please report this")


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as tensors, all of its numbers usable: homes that cannot be used are zero.

    Attributes
    ----------
    x : Tensor
        ``[homes, places, inputs]``
    y : Tensor
        ``[homes, places, outputs]``; zero where not known.
    share : Tensor
        ``[homes, places, outputs]``: weight of a place in its home's loss, 1 over the places known; zero where not.
    unknown : Tensor or None
        ``[homes, places, outputs]``, bool: where the label is not known; None where all are.
    usable : Tensor
        ``[homes]``, bool
    """

    x: Tensor
    y: Tensor
    share: Tensor
    unknown: Tensor | None
    usable: Tensor


def rows(network: Network, batch: Batch, dtype: torch.dtype, homes: int) -> Rows:
    """Put a batch in the form of a pass, with zeros added up to `homes` rows and up to the widths of the network.

    A home's loss is the mean over its known places, added over outputs. Days that do not count are replaced, never
    multiplied away: nothing that stands there, NaN not excepted, can reach a result.
    """
    x, y = _filled(batch.x, homes, network.inputs, dtype), _filled(batch.y, homes, network.outputs, dtype)
    x, y = (values.view(homes, network.count, -1) for values in (x, y))
    left_out = None
    if batch.days is not None:
        days = np.ones((homes, network.places[0]), dtype=bool)
        days[: len(batch)] = batch.days
        left_out = ~torch.from_numpy(days).repeat_interleave(network.count // network.places[0], dim=1)[:, :, None]
        x, y = x.masked_fill(left_out, 0.0), y.masked_fill(left_out, torch.nan)
    outputs = batch.y.shape[-1]
    share, unknown = torch.from_numpy(_even(network, outputs)).to(dtype).expand(y.shape), None
    least, most = map(float, torch.aminmax(y))  # NaN if one is: far quicker than to ask each
    if math.isnan(least):
        unknown = torch.isnan(y)
        y = y.masked_fill(unknown, 0.0)
        least, most = map(float, torch.aminmax(y))
        known = (~unknown).to(dtype)
        share = known / known.sum(1, keepdim=True).clamp_min_(1.0)
        share[..., outputs:] = 0.0
    usable = torch.ones(homes, dtype=torch.bool)
    usable[len(batch) :] = False
    if not (math.isfinite(float(x.sum())) and least >= 0.0 and most <= 1.0):  # else no home needs a look
        largest = torch.finfo(dtype).max
        for values, low, high in ((x.flatten(1), -largest, largest), (y.flatten(1), 0.0, 1.0)):
            usable &= (values.amin(1) >= low) & (values.amax(1) <= high)  # NaN stays NaN
        x, y, share = (values.masked_fill(~usable[:, None, None], 0.0) for values in (x, y, share))
    return Rows(x, y, share, unknown, usable)


@lru_cache(maxsize=64)
def _even(network: Network, outputs: int) -> NDArray[np.float64]:
    """Shares of a place where all are known, of each output; none for those that only fill the width up."""
    share = np.full(network.outputs, 1.0 / network.count)
    share[outputs:] = 0.0
    return share


def _filled(given: NDArray[np.floating], homes: int, width: int, dtype: torch.dtype) -> Tensor:
    """`given`, with zeros for more homes and numbers if it lacks any; not to be written to, it may be the caller's."""
    own = torch.from_numpy(np.require(given, requirements=["C", "W"]))
    if own.dtype == dtype and len(own) == homes and own.shape[-1] == width:
        return own
    found = torch.zeros(homes, *own.shape[1:-1], width, dtype=dtype)
    found[: len(own), ..., : own.shape[-1]] = own
    return found
