# SPDX-License-Identifier: Apache-2.0
"""The homes of a training round as a network sees them."""

from dataclasses import dataclass

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
    usable : Tensor
        ``[homes]``, bool
    """

    x: Tensor
    y: Tensor
    share: Tensor
    usable: Tensor


def rows(network: Network, batch: Batch, dtype: torch.dtype, homes: int) -> Rows:
    """Put a batch in the form of a pass, with zeros added up to `homes` rows and up to the widths of the network.

    A home's loss is the mean over its known places, added over outputs. Days that do not count are replaced, never
    multiplied away: nothing that stands there, NaN not excepted, can reach a result.
    """
    count, places = len(batch), network.count
    x = torch.zeros(homes, places, network.inputs, dtype=dtype)
    y = torch.full((homes, places, network.outputs), torch.nan, dtype=dtype)
    for into, given in ((x, batch.x), (y, batch.y)):
        into[:count, :, : given.shape[-1]] = _tensor(given).view(count, places, given.shape[-1])
    if batch.days is not None:
        counts = torch.zeros(homes, network.places[0], dtype=torch.bool)
        counts[:count] = torch.from_numpy(batch.days)
        left_out = ~counts.repeat_interleave(places // network.places[0], dim=1)[:, :, None]
        x.masked_fill_(left_out, 0.0)
        y.masked_fill_(left_out, torch.nan)
    unknown = torch.isnan(y)
    y.masked_fill_(unknown, 0.0)
    known = (~unknown).to(dtype)
    share = known / known.sum(1, keepdim=True).clamp_min(1.0)
    least, most = (extreme.amin(1) for extreme in (x.flatten(1), -x.flatten(1)))  # NaN stays NaN
    lowest, highest = (extreme.amin(1) for extreme in (y.flatten(1), -y.flatten(1)))
    usable = torch.isfinite(least) & torch.isfinite(most) & (lowest >= 0) & (highest >= -1)
    if not bool(usable.all()):
        for values in (x, y, share):
            values.masked_fill_(~usable[:, None, None], 0.0)
    return Rows(x, y, share, usable)


def _tensor(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
