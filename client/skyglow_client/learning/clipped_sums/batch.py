# SPDX-License-Identifier: Apache-2.0
"""The homes of a training round as a network sees them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_shared.errors import InternalError
from skyglow_shared.models.network import REAL, Network


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
        fits = self.x.shape[1:] == (*places, network.inputs) and self.y.shape[1:] == (*places, network.outputs)
        if not fits or (self.days is not None and (not places or self.days.shape[1:] != places[:1])):
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
    usable : Tensor or None
        ``[homes]``, bool; None where all are.
    """

    x: Tensor
    y: Tensor
    share: Tensor
    unknown: Tensor | None
    usable: Tensor | None


def rows(network: Network, batch: Batch, dtype: torch.dtype, homes: int) -> Rows:
    """Put a batch in the form of a pass, with zeros added up to `homes` rows and up to the widths of the network.

    A home's loss is the mean over its known places, added over outputs. Days that do not count are replaced, never
    multiplied away: nothing that stands there, NaN not excepted, can reach a result. NumPy's warnings are the caller's
    to silence: they would tell of a home.
    """
    kind = REAL[dtype]
    x, y = (values.reshape(len(batch), network.count, -1) for values in (batch.x, batch.y))
    if batch.days is not None:
        counts = batch.days.repeat(network.count // network.places[0], axis=1)[:, :, None]
        x, y = np.where(counts, x, 0.0), np.where(counts, y, np.nan)
    share, unknown, usable = _even(network.count, network.outputs, y.shape[-1], kind), None, None
    least, most = np.minimum.reduce(y, axis=None), np.maximum.reduce(y, axis=None)  # NaN if one is: no need to ask each
    if np.isnan(least):
        known = ~np.isnan(y)
        even = known / np.maximum(known.sum(axis=1, keepdims=True), 1).astype(kind)
        share = _filled(even, homes, network.outputs, kind)
        unknown = _filled(~known, homes, network.outputs, known.dtype)
        y = np.where(known, y, 0.0)
        least, most = y.min(), y.max()
    x, y = _filled(x, homes, network.inputs, kind), _filled(y, homes, network.outputs, kind)
    if not (np.isfinite(np.vdot(x, x)) and least >= 0.0 and most <= 1.0):  # else no home needs a look
        usable = np.arange(homes) < len(batch)
        for values, low, high in ((x, -np.finfo(kind).max, np.finfo(kind).max), (y, 0.0, 1.0)):
            usable &= ((values >= low) & (values <= high)).all(axis=(1, 2))  # false for NaN
        x, y, share = (np.where(usable[:, None, None], values, 0.0) for values in (x, y, share))
    of_x, of_y, of_share = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(share)
    flags = (None if flag is None else torch.from_numpy(flag) for flag in (unknown, usable))
    return Rows(of_x, of_y, of_share.expand(of_y.shape), *flags)


@lru_cache(maxsize=64)
def _even(count: int, width: int, outputs: int, kind: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Shares of a place where all are known, of each output; none for those that only fill the width up."""
    share = np.zeros(width, kind)
    share[:outputs] = 1.0 / count
    return share


def _filled(given: NDArray[Any], homes: int, width: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """`given`, with zeros for more homes and numbers if it lacks any; not to be written to, it may be the caller's."""
    if given.dtype == kind and len(given) == homes and given.shape[-1] == width:
        return np.require(given, requirements=["C", "W"])  # torch wants what could be written to
    found = np.zeros((homes, given.shape[1], width), kind)
    found[: len(given), :, : given.shape[-1]] = given
    return found
