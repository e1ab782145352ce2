# SPDX-License-Identifier: Apache-2.0
"""Homes that are seen more often than others: smart meters and answers that go with the kind of home.

Who has a smart meter and who answers differs by class of composition. The survey organisation knows by how much: it
knows whom it asked, who answered, and asks whether there is a meter. Given these relative chances e_c, and the mix
within positives and negatives of the old census, an area's share θ is seen among the homes that were reached as::

    f(θ) = κ θ / (1 + (κ - 1) θ),   κ = Σ r1_c e_c / Σ r0_c e_c

which is linearised at the old share like all else. Nothing that a home contributes is weighted, so that its bound is
what it was. What is not known of κ, a relative standard deviation, moves all areas together: by f (1 - f) of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """Shares as they are seen [A], their slope in the true shares, and what a unit of log κ moves them by."""

    share: Array
    slope: Array
    moved: Array

    @classmethod
    def of(cls, share: Array, mix: Array, positive: NDArray[np.bool_], chances: Array) -> "Seen":
        """See shares [A] of areas with a mix [A, C] through relative chances [C]."""
        reached = mix * chances
        odds = (reached @ positive) / (mix @ positive) / ((reached @ ~positive) / (mix @ ~positive))
        bent = 1 + (odds - 1) * share
        seen = odds * share / bent
        return cls(seen, odds / bent**2, seen * (1 - seen))

    def known(self, share: Array) -> Array:
        """The part of what is seen that does not depend on what the true shares turn out to be."""
        return self.share - self.slope * share


def chances_of(relative: tuple[float, ...], classes: int) -> Array:
    """Relative chances by stratum [C]; all alike where nothing is given. Strata beyond the classes repeat them."""
    return np.resize(np.array(relative), classes) if relative else np.ones(classes)
