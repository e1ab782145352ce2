# SPDX-License-Identifier: Apache-2.0
"""The homes of one supplier as one study sees them: aligned arrays, one row a household."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from skyglow_client.features.table import HomeFeatures
from skyglow_client.features.use import mean_use
from skyglow_client.learning.diaried import Diaried, by_model, by_rule, diaried, gaps
from skyglow_client.learning.rows import by_blocks
from skyglow_client.readings.panel import NOT_IN_PANEL, Panel
from skyglow_client.readings.store import Store
from skyglow_shared.errors import InternalError, StudyError
from skyglow_shared.layout import trains
from skyglow_shared.models import features, presence, temporal
from skyglow_shared.study import Study, digest

#: One row a household, and a request's parameters by model.
Vectors = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, repr=False)
class Homes:
    """Homes of the study's areas, in the order of their pseudonyms; those elsewhere are left out.

    Attributes
    ----------
    pseudonyms : ndarray of uint8, shape (homes, 16)
    lsoa, msoa : ndarray of int64, shape (homes,)
        Rows in `study.lsoas` and `study.msoas`.
    x : dict of str to ndarray of float64, shape (homes, features)
        Normalised features by model of the panel's answers; zero where unusable.
    profile : ndarray of float64, shape (homes, 2, K)
        Coefficients of the presence profile by the rule or the installed model; zero where not metered.
    metered : ndarray of bool, shape (homes,)
        Features and presence profile are complete: the cohort of everything that readings go into.
    composition : ndarray of int8, shape (homes,)
        Index in `COMPOSITION_CLASSES`; -1 = not in the panel.
    diary : ndarray of float64, shape (homes, 2, K)
        Coefficients of how much more somebody was home by the diary than by the meter (rule or installed model) on the
        diary's days; NaN for a day type without a diary.
    calibrates : ndarray of bool, shape (homes,)
        Which half of the panel a home would be in: calibration (true) or training; true where nothing trains.
    answers : dict of str to ndarray of int8, shape (homes,)
        By question, for those beyond composition: index in `QUESTIONS`; -1 = not in the panel.
    use : ndarray of float64, shape (homes, parts of the day), or None
        Mean kWh by part of the day, where the study asks for electricity use; NaN without a valid day.
    diaried : Diaried or None
        Half-hours and diaries, where the study trains a model of presence.
    key : str
        The store's mark of the key that pseudonyms are made with.

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
    answers: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    use: NDArray[np.float64] | None = None
    diaried: Diaried | None = None
    key: str = ""

    def __post_init__(self) -> None:
        arrays = [getattr(self, name) for name in _ARRAYS]
        arrays += [own for own in (self.use, self.diaried) if own is not None]
        if {len(array) for array in (*arrays, *self.x.values(), *self.answers.values())} != {len(self)}:
            raise InternalError("homes are not aligned; please report this")

    def __len__(self) -> int:
        return len(self.lsoa)

    def take(self, rows: NDArray[np.bool_]) -> "Homes":
        """Only the homes of `rows`, a mask."""
        x = {model: values[rows] for model, values in self.x.items()}
        answers = {question: values[rows] for question, values in self.answers.items()}
        use = None if self.use is None else self.use[rows]
        diaried = None if self.diaried is None else self.diaried.take(rows)
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return Homes(x=x, answers=answers, use=use, diaried=diaried, key=self.key, **arrays)

    @property
    def surveyed(self) -> NDArray[np.bool_]:
        """Which homes are of the study's panel, metered or not."""
        return np.asarray(self.composition >= 0)

    @property
    def half_hours(self) -> Diaried:
        """What a study's own model of presence learns from and judges; InternalError without such a model."""
        if self.diaried is None:
            raise InternalError("a study's model of presence lacks its half-hours; please report this")
        return self.diaried

    def answered(self, question: str) -> NDArray[np.int8]:
        """What the panel's homes answered to a question: index in `QUESTIONS`, -1 elsewhere."""
        return self.composition if question == "composition" else self.answers[question]


_OTHERWISE = ("x", "answers", "use", "diaried", "key")
_ARRAYS = tuple(field.name for field in fields(Homes) if field.name not in _OTHERWISE)


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
        The study names a feature contract or presence basis that is not installed here, or asks a question that this
        panel was not asked.

    Notes
    -----
    A panel home that left one of the study's questions unanswered is not in the study's panel at all: every block is
    about the same homes.
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
    for model in study.answer_models:
        weeks = [raw[inside] for raw in (table.features, *table.later)]
        x[model.name], usable = features.averaged(features.contract(model.features), weeks)
        metered &= usable
    questions = sorted({"composition", *(model.question for model in study.answer_models)})
    answers = members({name: _answers(panel, name)[inside] for name in questions})
    named = temporal.installed(study)
    meter = by_model(temporal.load(named), store.start) if named else by_rule
    gap = by_blocks(basis.difference, gaps(store, inside, panel.days, meter))
    return Homes(
        pseudonyms=store.pseudonyms[inside],
        lsoa=lsoa,
        msoa=msoa_of[lsoa],
        x=x,
        profile=np.where(metered[:, None, None], profile, 0.0),
        metered=metered,
        composition=answers["composition"],
        diary=gap,
        calibrates=calibrates(study, store.pseudonyms[inside]),
        answers={name: given for name, given in answers.items() if name != "composition"},
        use=mean_use(store)[inside] if _asks_use(study) else None,
        diaried=None if study.presence_model is None else diaried(store, inside, panel.days),
        key=store.key,
    )


def members(answers: Mapping[str, NDArray[np.int8]]) -> dict[str, NDArray[np.int8]]:
    """Answers by question of the homes that gave all of them; `NOT_IN_PANEL` of all others."""
    member = np.all([given >= 0 for given in answers.values()], axis=0)
    return {name: np.where(member, given, NOT_IN_PANEL).astype(np.int8) for name, given in answers.items()}


def _asks_use(study: Study) -> bool:
    sources = {block.source for block in study.blocks}
    return not sources.isdisjoint({"area_use", "area_use_histogram"})


def _answers(panel: Panel, question: str) -> NDArray[np.int8]:
    if question == "composition":
        return panel.composition
    if question not in panel.answers:
        raise StudyError(f"the study asks for {question}, a column that panel.csv lacks; add it, or refuse the study")
    return panel.answers[question]


def calibrates(study: Study, pseudonyms: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """One fair bit a home, from its own pseudonym and the study's digest alone: no other home can change it.

    It tells apart who trains and who calibrates; of a study that trains nothing, every home calibrates.
    """
    if not trains(study):
        return np.ones(len(pseudonyms), dtype=bool)
    key = b"skyglow-half-v1\0" + digest(study).encode()
    bits = [hmac.digest(key, pseudonym.tobytes(), hashlib.sha256)[0] & 1 for pseudonym in pseudonyms]
    return np.array(bits, dtype=bool)
