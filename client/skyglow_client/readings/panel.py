# SPDX-License-Identifier: Apache-2.0
"""The consenting, surveyed homes: what they answered and, for part of them, a diary of when somebody was home."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.calendar import SLOTS
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_client.readings.tables import read_csv
from skyglow_shared.study import QUESTIONS

NOT_IN_PANEL: Final = -1
OPEN: Final = "unknown"
_FURTHER: Final = ("household_size", "paid_work")
_SLOTS: Final = tuple(f"hh{n:02d}" for n in range(1, SLOTS + 1))


@dataclass(frozen=True, slots=True, repr=False)
class DiaryDays:
    """The diaries of panel homes, one row a home and day.

    Attributes
    ----------
    home : ndarray of int64, shape (days,)
        Row in the store.
    date : ndarray of datetime64[D], shape (days,)
    at_home : ndarray of float32, shape (days, 48)
        1 where somebody was home, 0 where nobody.
    """

    home: NDArray[np.int64]
    date: NDArray[np.datetime64]
    at_home: NDArray[np.float32]

    def of(self, rows: NDArray[np.bool_]) -> "DiaryDays":
        """Only some of the days."""
        return DiaryDays(self.home[rows], self.date[rows], self.at_home[rows])


NO_DIARIES: Final = DiaryDays(np.zeros(0, np.int64), np.zeros(0, "datetime64[D]"), np.zeros((0, SLOTS), np.float32))


@dataclass(frozen=True, slots=True, repr=False)
class Panel:
    """What the panel's homes said, aligned with the homes of a store.

    Attributes
    ----------
    composition : ndarray of int8, shape (homes,)
        Index of the class, -1 for a home that is not in the panel.
    answers : mapping of str to ndarray of int8, shape (homes,)
        By question beyond composition that the file has a column of: index in `QUESTIONS`, -1 for a home that is not in
        the panel or that left it open.
    counts : mapping of str to int
        Rows quarantined, by reason: ``panel_unknown_class`` (or an answer that is none), ``panel_repeated``,
        ``panel_conflicting``, ``panel_without_readings``, ``diary_unreadable``, ``diary_repeated``,
        ``diary_conflicting``, ``diary_outside_panel``.
    days : DiaryDays
        The diaries, day by day.

    Privacy
    -------
    Labels and counts of single homes: they never leave the supplier.
    """

    composition: NDArray[np.int8]
    counts: Mapping[str, int]
    answers: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    days: DiaryDays = NO_DIARIES


def load_panel(source: Path, store_homes: NDArray[np.uint8], pseudonym_key: bytes, classes: Sequence[str]) -> Panel:
    """Read ``panel.csv`` and ``diaries.csv``; a supplier without either file has no panel, or no diaries.

    ``panel.csv`` has the columns ``meter_id``, ``composition`` and, where the survey asked, ``household_size`` and
    ``paid_work``. `OPEN` stands for an answer that was not given; without a composition there is no panel home.

    Parameters
    ----------
    source : Path
        Folder of the raw files.
    store_homes : ndarray of uint8, shape (homes, 16)
        Pseudonyms of the store's homes.
    pseudonym_key : bytes
        The key the store was made with.
    classes : sequence of str
        Names of the composition classes, in order.

    Raises
    ------
    FormatError
        If a file is not CSV or has other columns.
    DataError
        If the key is too short.
    """
    counts: Counter[str] = Counter()
    homes = {row.tobytes(): place for place, row in enumerate(store_homes)}
    composition = np.full(len(homes), NOT_IN_PANEL, dtype=np.int8)
    answers: dict[str, NDArray[np.int8]] = {}
    days = NO_DIARIES
    if (source / "panel.csv").exists():
        place, labels = _read_labels(source / "panel.csv", homes, pseudonym_key, classes, counts)
        for question, label in labels.items():
            answers[question] = np.full(len(homes), NOT_IN_PANEL, dtype=np.int8)
            answers[question][place] = label
        composition = answers.pop("composition")
    if (source / "diaries.csv").exists():
        days = _read_diaries(source / "diaries.csv", homes, pseudonym_key, counts)
        member = composition[days.home] != NOT_IN_PANEL
        counts["diary_outside_panel"] += int((~member).sum())
        days = days.of(member)
    return Panel(composition, MappingProxyType(dict(counts)), MappingProxyType(answers), days)


def _read_labels(
    path: Path, homes: Mapping[bytes, int], key: bytes, classes: Sequence[str], counts: Counter[str]
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int8]]]:
    """Places of homes, and their answers by question."""
    rows = read_csv(path, ["meter_id", "composition"], _FURTHER)
    further = [name for name in _FURTHER if name in rows.columns]
    understood = [pl.col(name).is_in([*QUESTIONS[name], OPEN]) for name in further]
    sound = [pl.col("meter_id").is_not_null(), pl.col("composition").is_in(list(classes)), *understood]
    known = rows.filter(pl.all_horizontal(sound).fill_null(value=False))
    once = known.unique(maintain_order=True)
    clear = once.filter(~pl.col("meter_id").is_duplicated())
    place = _places(clear["meter_id"], homes, key)
    labels: dict[str, NDArray[np.int8]] = {name: _indices(clear[name], QUESTIONS[name]) for name in further}
    labels["composition"] = _indices(clear["composition"], classes)
    counts["panel_unknown_class"] += rows.height - known.height
    counts["panel_repeated"] += known.height - once.height
    counts["panel_conflicting"] += once.height - clear.height
    counts["panel_without_readings"] += int((place < 0).sum())
    return place[place >= 0], {question: label[place >= 0] for question, label in labels.items()}


def _indices(given: pl.Series, answers: Sequence[str]) -> NDArray[np.int8]:
    """Places of answers among those there are; an open one is as if the home were not in the panel."""
    return np.array([NOT_IN_PANEL if name == OPEN else answers.index(name) for name in given], dtype=np.int8)


def _read_diaries(path: Path, homes: Mapping[bytes, int], key: bytes, counts: Counter[str]) -> DiaryDays:
    """The days that can be read, of homes of the store."""
    rows = read_csv(path, ["meter_id", "date", *_SLOTS])
    dated = rows.with_columns(pl.col("date").str.to_date("%Y-%m-%d", strict=False))
    good = dated.drop_nulls(["meter_id", "date"]).filter(pl.all_horizontal(pl.col(_SLOTS).is_in(["0", "1"])))
    once = good.unique(maintain_order=True)
    clear = once.filter(~pl.struct("meter_id", "date").is_duplicated())
    place = _places(clear["meter_id"], homes, key)
    found = place >= 0
    date = clear["date"].to_numpy().astype("datetime64[D]")
    at_home = clear.select(pl.col(_SLOTS).cast(pl.Float32)).to_numpy()
    counts["diary_unreadable"] += rows.height - good.height
    counts["diary_repeated"] += good.height - once.height
    counts["diary_conflicting"] += once.height - clear.height
    counts["diary_outside_panel"] += int((~found).sum())
    return DiaryDays(place, date, at_home).of(found)


def _places(meters: pl.Series, homes: Mapping[bytes, int], key: bytes) -> NDArray[np.int64]:
    """Place of each meter among the homes, -1 where it is not one of them."""
    return np.array([homes.get(row.tobytes(), -1) for row in pseudonyms_of(meters, key)], dtype=np.int64)
