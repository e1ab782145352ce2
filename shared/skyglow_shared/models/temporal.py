# SPDX-License-Identifier: Apache-2.0
"""The model of presence by half-hour: convolutions along the day and across days, over inputs with public bounds.

Installed parameters are files of the release of skyglow, as the presence basis is: made from simulated homes alone by
`tools/make_presence_model.py`, so that they cost no privacy. A study that uses one names it and pins its digest; it may
also train its own, from these or from nothing, as a model of kind ``temporal``.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError
from skyglow_shared.models.features import HALF_HOURS
from skyglow_shared.models.network import SLOTS, Layer, Network
from skyglow_shared.study import Study

#: What goes in at each half-hour.
CONTRACT = HALF_HOURS
#: Channels of the hidden layers of installed models.
CHANNELS = (32, 32, 32)


def network(days: int, channels: Sequence[int] = CHANNELS) -> Network:
    """The network for homes of so many days: log-odds that somebody is home, ``[homes, days, 48, 1]``.

    It looks along the day, across days and along the day again: a half-hour is judged by the six hours around it, on
    its own day and on those before and after. `channels` are those of its hidden layers; StudyError unless three.
    """
    if len(channels) != len(CHANNELS):
        raise StudyError("a temporal model has three hidden layers; give it as many numbers of channels")
    first, second, third = channels
    layers = (
        Layer(len(CONTRACT.features), first, 1, 7),
        Layer(first, second, 3, 1),
        Layer(second, third, 1, 5),
        Layer(third, 1),
    )
    return Network(layers, (days, SLOTS))


@dataclass(frozen=True, slots=True, eq=False)
class PresenceModel:
    """A model's parameters.

    Attributes
    ----------
    weights : ndarray of float64, shape (parameters,)
        Of `network`, for any number of days.
    level : float
        Log-odds above which a half-hour is called occupied, where one word must do; profiles use the chance itself.
    digest : str
        SHA-256 (hex) of the file they come from; empty for one that a study has trained.
    channels : tuple of int
        Of the network.
    """

    weights: NDArray[np.float64]
    level: float = 0.0
    digest: str = ""
    channels: tuple[int, ...] = CHANNELS


class _File(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    contract: str
    level: float
    weights: str


def installed(study: Study) -> str:
    """Name of the installed model that says when a study's homes are occupied; empty if the rule or its own does."""
    return study.occupancy.model if study.presence_model is None else ""


@lru_cache(maxsize=4)
def load(name: str) -> PresenceModel:
    """Load a model by name.

    Raises
    ------
    StudyError
        This release of skyglow has none of that name, or the file is not one of this network's over its inputs.
    """
    file = resources.files("skyglow_shared.models") / f"{name}.json"
    if not name.isidentifier() or not file.is_file():
        raise StudyError("no model of presence of that name is installed; update the older side")
    return decoded(file.read_bytes())


def decoded(content: bytes) -> PresenceModel:
    """Read a model's file: its parameters as little-endian float32 in base64; StudyError if it cannot be used."""
    try:
        plain = msgspec.json.decode(content, type=_File)
        weights = np.frombuffer(base64.b64decode(plain.weights, validate=True), dtype="<f4").astype(np.float64)
    except (msgspec.MsgspecError, ValueError):
        raise StudyError("a model of presence cannot be read; install skyglow again") from None
    if plain.contract != CONTRACT.digest or weights.shape != (network(1).parameters,):
        raise StudyError("a model of presence is for other inputs than those computed here; update the older side")
    if not np.isfinite([plain.level, *weights]).all():
        raise StudyError("a model of presence has a parameter that is no number; install skyglow again")
    return PresenceModel(weights, plain.level, hashlib.sha256(content).hexdigest())


def encoded(weights: NDArray[np.floating], *, level: float, source: str) -> bytes:
    """A model's file, for `decoded`."""
    content = base64.b64encode(np.ascontiguousarray(weights, dtype="<f4").tobytes()).decode()
    plain = _File(source=source, contract=CONTRACT.digest, level=level, weights=content)
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"
