# SPDX-License-Identifier: Apache-2.0
"""MSOAs that drift as their neighbours do, where a study is given who they are: the spatial option.

Drifts of MSOAs are independent of each other unless the office says which lie side by side. With these neighbours, the
correlations of MSOAs' drifts are those of Leroux, Lei and Breslow (2000)::

    C ~ (λ (D - W) + (1 - λ) I)⁻¹,   W which are neighbours, D how many each has

scaled so that every MSOA's own variance is σ_M², whatever λ and however many neighbours it has. With λ = 0 they are
independent; near 1 a drift is that of its neighbours but for a little. λ is integrated over `NEARNESS`, each value as
likely as the others, so that neighbours who have nothing in common cost little.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_server.public_tables import read_rows
from skyglow_shared.errors import FormatError, GeographyError

Array = NDArray[np.float64]

#: Values of λ.
NEARNESS = (0.0, 0.6, 0.9, 0.98)
_COLUMNS = ("area_code", "neighbour_code")


def correlations(neighbours: NDArray[np.bool_], nearness: float) -> Array:
    """C [M, M] of MSOAs' drifts from who is whose neighbour [M, M]; the identity matrix where `nearness` is 0."""
    many = neighbours.sum(axis=1)
    precision = np.diag(np.where(many > 0, nearness * many + 1 - nearness, 1.0)) - nearness * neighbours
    covariance = np.linalg.inv(precision)
    deviation = np.sqrt(np.diagonal(covariance))
    return np.asarray(covariance / np.outer(deviation, deviation))


def load_neighbours(path: Path, msoas: tuple[str, ...]) -> NDArray[np.bool_]:
    """Read which MSOAs lie side by side: area_code, neighbour_code; a pair may be there one way or both.

    Parameters
    ----------
    path : Path
    msoas : tuple of str
        Codes of the study's MSOAs, sorted. Pairs with one that the study has not are left out: a table may be a
        country's.

    Returns
    -------
    ndarray of bool, shape (M, M)
        Symmetric, none its own neighbour.

    Raises
    ------
    FormatError
        The file cannot be read, lacks a column, or says that an area is its own neighbour.
    GeographyError
        None of its pairs is of the study.
    """
    rows = read_rows(path, _COLUMNS)
    pairs = [(row["area_code"], row["neighbour_code"]) for row in rows]
    if any(one == other for one, other in pairs):
        raise FormatError(f"{path.name} has an area that is its own neighbour; leave the line out")
    place = {code: at for at, code in enumerate(msoas)}
    near = np.zeros((len(msoas), len(msoas)), np.bool_)
    for one, other in pairs:
        if one in place and other in place:
            near[place[one], place[other]] = near[place[other], place[one]] = True
    if not near.any():
        raise GeographyError(f"{path.name} has no two of the study's MSOAs; give 2021 codes of MSOAs, or no such table")
    return near
