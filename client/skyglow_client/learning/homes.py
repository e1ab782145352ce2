# SPDX-License-Identifier: Apache-2.0
"""The homes of one supplier as one study sees them: aligned arrays, one row a household."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.table import HomeFeatures
from skyglow_client.readings.panel import Panel
from skyglow_client.readings.store import Store
from skyglow_shared.models import features, presence
from skyglow_shared.study import Study, digest


@dataclass(frozen=True, slots=True)
class Homes:
    """Homes of the study's areas, sorted by pseudonym; those elsewhere are left out.

    Attributes
    ----------
    pseudonyms : ndarray of uint8, shape (homes, 16)
    lsoa, msoa : ndarray of int64, shape (homes,)
        Rows in `study.lsoas` and `study.msoas`.
    x : dict of str to ndarray of float64, shape (homes, features)
        Normalised features by model.
    metered : ndarray of bool, shape (homes,)
        Usable for area sums: features and presence profile are complete.
    profile : ndarray of float64, shape (homes, 2, K)
        Coefficients of the presence profile by the rule; zero where the home is not usable.
    composition : ndarray of int8, shape (homes,)
        Index in `COMPOSITION_CLASSES`; -1 = not in the panel.
    diary : ndarray of float64, shape (homes, 2, K)
        Coefficients of the diary's presence; NaN for a day type without a diary.
    calibrates : ndarray of bool, shape (homes,)
        Which half of the panel a home is in: calibration (true) or training.
    """

    pseudonyms: NDArray[np.uint8]
    lsoa: NDArray[np.int64]
    msoa: NDArray[np.int64]
    x: dict[str, NDArray[np.float64]]
    metered: NDArray[np.bool_]
    profile: NDArray[np.float64]
    composition: NDArray[np.int8]
    diary: NDArray[np.float64]
    calibrates: NDArray[np.bool_]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Homes":
        """The same homes restricted to some rows."""
        return Homes(
            self.pseudonyms[rows],
            self.lsoa[rows],
            self.msoa[rows],
            {name: x[rows] for name, x in self.x.items()},
            self.metered[rows],
            self.profile[rows],
            self.composition[rows],
            self.diary[rows],
            self.calibrates[rows],
        )


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
    row = {code: index for index, code in enumerate(study.lsoas)}
    msoa_row = {code: index for index, code in enumerate(study.msoas)}
    msoa_of = np.array([msoa_row[area.msoa] for area in study.areas])
    lsoa = np.array([row.get(code, -1) for code in store.lsoa21cd], dtype=np.int64)
    inside = np.flatnonzero(lsoa >= 0)
    basis = presence.load(study.occupancy.basis)
    profile = basis.project(table.profile[inside])
    usable = np.asarray(np.isfinite(profile).all(axis=(1, 2)))
    x = {}
    for model in study.models:
        normalised, complete = features.normalise(features.contract(model.features), table.features[inside])
        x[model.name] = normalised
        usable &= complete
    return Homes(
        store.pseudonyms[inside],
        lsoa[inside],
        msoa_of[lsoa[inside]],
        x,
        usable,
        np.where(usable[:, None, None], profile, 0.0),
        panel.composition[inside],
        basis.project(panel.diary[inside]),
        _calibrates(store.pseudonyms[inside], digest(study)),
    )


def _calibrates(pseudonyms: NDArray[np.uint8], study: str) -> NDArray[np.bool_]:
    """One fair bit a home, from its own pseudonym and the study alone: no other home can change it."""
    prefix = b"skyglow-half-v1\0" + study.encode()
    bits = [hashlib.sha256(prefix + pseudonym.tobytes()).digest()[0] & 1 for pseudonym in pseudonyms]
    return np.array(bits, dtype=bool)
