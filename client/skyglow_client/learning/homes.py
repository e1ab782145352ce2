# SPDX-License-Identifier: Apache-2.0
"""The homes of one supplier as one study sees them: aligned arrays, one row a household."""

import hashlib
import hmac
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.table import HomeFeatures
from skyglow_client.learning.rows import by_blocks
from skyglow_client.readings.panel import Panel
from skyglow_client.readings.store import Store
from skyglow_shared.errors import InternalError
from skyglow_shared.models import features, presence
from skyglow_shared.study import Study, digest


@dataclass(frozen=True, slots=True, repr=False)
class Homes:
    """Homes of the study's areas, in the order of their pseudonyms; those elsewhere are left out.

    Attributes
    ----------
    pseudonyms : ndarray of uint8, shape (homes, 16)
    lsoa, msoa : ndarray of int64, shape (homes,)
        Rows in `study.lsoas` and `study.msoas`.
    x : dict of str to ndarray of float64, shape (homes, features)
        Normalised features by model; zero where unusable.
    profile : ndarray of float64, shape (homes, 2, K)
        Coefficients of the presence profile by the rule; zero where not metered.
    metered : ndarray of bool, shape (homes,)
        Features and presence profile are complete: the cohort of everything that readings go into.
    composition : ndarray of int8, shape (homes,)
        Index in `COMPOSITION_CLASSES`; -1 = not in the panel.
    diary : ndarray of float64, shape (homes, 2, K)
        Coefficients of the diary's presence; NaN for a day type without a diary.
    calibrates : ndarray of bool, shape (homes,)
        Which half of the panel a home would be in: calibration (true) or training.

    Privacy
    -------
    One row is one household, and depends on that household alone, to the last bit.
    """

    pseudonyms: NDArray[np.uint8]
    lsoa: NDArray[np.int64]
    msoa: NDArray[np.int64]
    x: dict[str, NDArray[np.float64]]
    profile: NDArray[np.float64]
    metered: NDArray[np.bool_]
    composition: NDArray[np.int8]
    diary: NDArray[np.float64]
    calibrates: NDArray[np.bool_]

    def __post_init__(self) -> None:
        arrays = [value for field in fields(self) if field.name != "x" for value in [getattr(self, field.name)]]
        if {len(array) for array in (*arrays, *self.x.values())} != {len(self)}:
            raise InternalError("homes are not aligned; please report this")

    def __len__(self) -> int:
        return len(self.lsoa)

    def take(self, rows: NDArray[np.bool_]) -> "Homes":
        """Only the homes of `rows`, a mask."""
        whole = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "x"}
        x = {model: values[rows] for model, values in self.x.items()}
        return Homes(x=x, **{name: array[rows] for name, array in whole.items()})


def homes_of(study: Study, store: Store, table: HomeFeatures, panel: Panel) -> Homes:
    """Put a supplier's store, features and panel in the form one study needs.

    Parameters
    ----------
    study : Study
    store, table, panel
        Aligned: one row a home, in the order of the store.

    Raises
    ------
    StudyError
        The study names a feature contract or presence basis that is not installed here.
    """
    lsoa_row = {code: row for row, code in enumerate(study.lsoas)}
    msoa_row = {code: row for row, code in enumerate(study.msoas)}
    msoa_of = np.array([msoa_row[area.msoa] for area in study.areas], dtype=np.int64)
    everywhere = np.array([lsoa_row.get(code, -1) for code in store.lsoa21cd], dtype=np.int64)
    inside = everywhere >= 0
    lsoa = everywhere[inside]
    basis = presence.load(study.occupancy.basis)
    profile = by_blocks(basis.project, table.profile[inside])
    metered = np.asarray(np.isfinite(profile).all(axis=(1, 2)))
    x = {}
    for model in study.models:
        x[model.name], usable = features.normalise(features.contract(model.features), table.features[inside])
        metered &= usable
    return Homes(
        pseudonyms=store.pseudonyms[inside],
        lsoa=lsoa,
        msoa=msoa_of[lsoa],
        x=x,
        profile=np.where(metered[:, None, None], profile, 0.0),
        metered=metered,
        composition=panel.composition[inside],
        diary=by_blocks(basis.project, panel.diary[inside]),
        calibrates=calibrates(store.pseudonyms[inside], digest(study)),
    )


def calibrates(pseudonyms: NDArray[np.uint8], study: str) -> NDArray[np.bool_]:
    """One fair bit a home, from its own pseudonym and the study's digest alone: no other home can change it."""
    key = b"skyglow-half-v1\0" + study.encode()
    bits = [hmac.digest(key, pseudonym.tobytes(), hashlib.sha256)[0] & 1 for pseudonym in pseudonyms]
    return np.array(bits, dtype=bool)
