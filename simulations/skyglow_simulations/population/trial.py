# SPDX-License-Identifier: Apache-2.0
"""A trial's real homes: read by a mapping that names the columns, and split anew by each seed.

A mapping is a TOML file: which columns are features, with public bounds; which answers of the survey make a home one
of each composition class; and which classes a label counts. The homes never leave this machine and none is shipped.
"""

import gzip
import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.features.table import CLASS22
from skyglow_shared.errors import DataError, FormatError, RunError
from skyglow_shared.models.features import Feature, FeatureContract, Transform, contract
from skyglow_shared.study import COMPOSITION_CLASSES
from skyglow_simulations.population.randoms import random_of
from skyglow_simulations.population.trial_readings import Readings, features_of

#: Parts of a trial that share no home, and the share of homes in each.
TRAINS, CALIBRATES, TRUE = 0, 1, 2
PARTS: Final = (0.3, 0.3, 0.4)
_LEAST_HOMES = 10  # of a class: fewer can't be split in three
_SPLIT = 7  # label of the generator
_Plain = dict[str, object]


class _Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    low: float
    high: float
    transform: Transform = "none"


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A topic to estimate: the classes it counts, and how logits become scores."""

    positive_classes: tuple[str, ...]
    score_centre: float
    score_width: Annotated[float, msgspec.Meta(gt=0)]


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping: what a trial's columns mean.

    Attributes
    ----------
    contract : str
        Name of the feature contract that these features make; ``class22-v1`` for features made of readings.
    features : tuple
        Name, bounds and transform of each; empty if they are made of readings.
    readings : Readings or None
    classes : dict
        For each composition class the answers, by column, that make a home one of it.
    labels : dict of str to Label
    """

    contract: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
    classes: dict[str, dict[str, str]]
    labels: dict[str, Label]
    features: tuple[_Column, ...] = ()
    readings: Readings | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Trial:
    """A trial's homes that fit one composition class.

    Attributes
    ----------
    contract : FeatureContract
    x : ndarray of float64, shape (homes, features)
    composition : ndarray of int8, shape (homes,)
    labels : mapping of str to Label
    """

    contract: FeatureContract
    x: NDArray[np.float64]
    composition: NDArray[np.int8]
    labels: Mapping[str, Label]

    def label(self, name: str) -> Label:
        """The label of that name; RunError if the mapping has none."""
        if name not in self.labels:
            raise RunError(f"--label must be one of {', '.join(sorted(self.labels))}, as the mapping says")
        return self.labels[name]

    def split(self, seed: int) -> NDArray[np.int8]:
        """The part of each home, `TRAINS`, `CALIBRATES` or `TRUE`: its share of every class, anew by each seed."""
        part = np.empty(len(self.composition), np.int8)
        rng = random_of(seed, _SPLIT)
        for kind in range(len(COMPOSITION_CLASSES)):
            own = rng.permutation(np.flatnonzero(self.composition == kind))
            edges = np.round(np.cumsum(PARTS)[:-1] * len(own)).astype(int)
            for number, homes in enumerate(np.split(own, edges)):
                part[homes] = number
        return part

    def distinct_homes(self, part: NDArray[np.int8]) -> tuple[float, ...]:
        """How many homes stand behind a class's mean score, by class.

        Homes are used many times over, and copies tell nothing new. The calibration's mean and the areas' own mean each
        have the sampling error of their distinct homes; together they are worth 1 / (1/n + 1/m) homes.
        """
        counts = [np.bincount(self.composition[part == number], minlength=6) for number in (CALIBRATES, TRUE)]
        return tuple(1 / (1 / np.maximum(counts[0], 1) + 1 / np.maximum(counts[1], 1)))


def load(path: Path, mapping: str) -> Trial:
    """Read a trial's table of features and answers.

    Parameters
    ----------
    path : Path
        CSV, compressed CSV or Parquet; a row a home.
    mapping : str
        A TOML file, or the name of one that ships: ``cer``.

    Raises
    ------
    FormatError
        Either file is missing, unreadable or lacks a column.
    DataError
        A composition class has too few homes to be split.
    """
    columns = _columns(mapping)
    table = _table(path)
    wanted = {name for conditions in columns.classes.values() for name in conditions}
    wanted |= {column.name for column in columns.features} | ({columns.readings.meter} if columns.readings else set())
    missing = sorted(wanted - set(table.columns))
    if missing:
        raise FormatError(f"{path.name} lacks the column {missing[0]!r}; correct the mapping, or give another --trial")
    if columns.readings is not None:
        agreed = contract(columns.contract)
        x = features_of(columns.readings, path.parent, table[columns.readings.meter].cast(pl.String))
    else:
        given = (Feature(column.name, column.transform, column.low, column.high) for column in columns.features)
        agreed = FeatureContract(columns.contract, tuple(given))
        x = table.select([pl.col(name.name).cast(pl.Float64, strict=False) for name in columns.features]).to_numpy()
    composition = np.full(table.height, -1, np.int8)
    for kind, name in enumerate(COMPOSITION_CLASSES):
        fits = [
            pl.col(column).cast(pl.String).eq(answer).fill_null(False)
            for column, answer in columns.classes[name].items()
        ]
        composition[table.select(pl.all_horizontal(fits)).to_series().to_numpy()] = kind
    usable = (composition >= 0) & np.isfinite(x).all(axis=1)
    counts = np.bincount(composition[usable], minlength=len(COMPOSITION_CLASSES))
    if counts.min() < _LEAST_HOMES:
        name = COMPOSITION_CLASSES[int(counts.argmin())]
        raise DataError(f"the trial has fewer than {_LEAST_HOMES} homes of the class {name}; correct its conditions")
    return Trial(agreed, x[usable], composition[usable], columns.labels)


def _columns(mapping: str) -> Columns:
    path = Path(mapping)
    if not mapping.endswith(".toml"):
        path = Path(str(resources.files("skyglow_simulations") / "trials" / f"{Path(mapping).name}.toml"))
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Columns)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"the mapping {path.name} cannot be read ({type(error).__name__}); give --mapping") from None
    except msgspec.ValidationError as error:
        raise FormatError(f"the mapping {path.name} is wrong: {error}; see docs/how-to/use-a-trial.md") from None
    named = {name for label in found.labels.values() for name in label.positive_classes}
    for what, names in (("[classes]", set(found.classes)), ("positive_classes", named)):
        if not names <= set(COMPOSITION_CLASSES) or (what == "[classes]" and len(names) < len(COMPOSITION_CLASSES)):
            raise FormatError(
                f"{what} of the mapping {path.name} must be of {', '.join(COMPOSITION_CLASSES)}; correct it"
            )
    if not all(found.classes.values()) or not found.labels or bool(found.features) == bool(found.readings):
        raise FormatError(
            f"the mapping {path.name} needs labels, answers for every class, and features or [readings]; complete it"
        )
    if found.readings and found.contract != CLASS22:
        raise FormatError(f"features made of readings are those of {CLASS22}; name that contract in {path.name}")
    return found


def _table(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return pl.read_csv(io.BytesIO(content), infer_schema=False)
    except (OSError, EOFError, pl.exceptions.PolarsError) as error:
        message = f"{path.name} cannot be read as CSV or Parquet ({type(error).__name__}); give another --trial"
        raise FormatError(message) from None
