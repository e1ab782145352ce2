# SPDX-License-Identifier: Apache-2.0
"""The public basis on which presence profiles are projected before anything is summed.

A profile is the share of weekdays and of weekend days on which somebody was home, by half-hour of the local day:
[2, 48]. It is centred on a public mean curve and projected on a few public components for each day type. Mean and
components are constants of the release of skyglow; their digest is part of every study that uses them.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError

SLOTS = 48


@dataclass(frozen=True, slots=True)
class PresenceBasis:
    """Mean curves and orthonormal components.

    Attributes
    ----------
    mean : ndarray of float64, shape (2, 48)
        Public mean share at home, weekday and weekend.
    components : ndarray of float64, shape (2, K, 48)
        Orthonormal rows for each day type.
    digest : str
        SHA-256 (hex) of the file they come from.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    digest: str

    def project(self, profile: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coefficients [..., 2, K] of profiles [..., 2, 48]; in root-mean-square units, so of size about 0.3."""
        return self.difference(np.asarray(profile, dtype=np.float64) - self.mean)

    def difference(self, profile: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coefficients [..., 2, K] of a difference of two profiles [..., 2, 48]."""
        wide = np.asarray(profile, dtype=np.float64)
        coefficients: NDArray[np.float64] = np.einsum("...ts,tks->...tk", wide, self.components)
        return coefficients / np.sqrt(SLOTS)

    @property
    def empty(self) -> NDArray[np.float64]:
        """Coefficients [2, K] of a home where nobody ever is."""
        return self.project(np.zeros((2, SLOTS)))

    @property
    def towards_empty(self) -> NDArray[np.float64]:
        """Coefficients [2, K] of length one, along those of a home where nobody ever is."""
        empty = self.empty
        return np.asarray(empty / np.linalg.norm(empty))

    def curve(self, coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
        """Profiles [..., 2, 48] of coefficients [..., 2, K]: the inverse of `project` within the components' span."""
        centred: NDArray[np.float64] = np.einsum("...tk,tks->...ts", coefficients, self.components)
        return self.mean + np.sqrt(SLOTS) * centred


class _File(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    mean: list[list[float]]
    components: list[list[list[float]]]


@lru_cache(maxsize=4)
def load(name: str) -> PresenceBasis:
    """Load a basis by name; StudyError if this release of skyglow has none of that name."""
    file = resources.files("skyglow_shared.models") / f"{name}.json"
    if not name.isidentifier() or not file.is_file():
        raise StudyError("no presence basis of that name is installed; update the older side")
    content = file.read_bytes()
    plain = msgspec.json.decode(content, type=_File)
    return PresenceBasis(np.array(plain.mean), np.array(plain.components), hashlib.sha256(content).hexdigest())
