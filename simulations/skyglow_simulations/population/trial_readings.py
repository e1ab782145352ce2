# SPDX-License-Identifier: Apache-2.0
"""A trial's half-hours, cleaned and turned into features as a supplier's are."""

import datetime
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.features.table import build_features
from skyglow_client.readings import Store, ingest
from skyglow_client.readings.formats import load_format
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_shared.errors import RunError

_KEY = b"a trial's own key, for this run alone"
_POSTCODE, _LSOA = "ZZ10 1AA", "E01000001"  # a trial's homes are nowhere


class Readings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a trial's half-hours are, if it has them, and which week of them is used.

    Attributes
    ----------
    folder : str
        Of the files of readings, beside the table of answers.
    format : str
        As for ``skyglow supplier load``: a name, or a mapping beside the table that ends in .toml.
    meter : str
        The table's column of meters.
    start : date
    days : int
        From 14 to 366; a home needs readings on half of them.
    week : date
        The Monday whose week the features are of.
    """

    folder: str
    format: str
    meter: str
    start: datetime.date
    days: int
    week: datetime.date


def features_of(readings: Readings, beside: Path, meters: pl.Series) -> NDArray[np.float64]:
    """Features [homes, 22] of the meters, in their order; NaN for those without enough readings.

    Raises
    ------
    DataError
        The files, the period or the week cannot be used; a FormatError if a file is not of the format.
    RunError
        The table names a meter twice.
    """
    if meters.is_duplicated().any():
        raise RunError("the trial's table names a meter twice; keep one row a home")
    source = beside / readings.folder
    form = load_format(str(beside / readings.format) if readings.format.endswith(".toml") else readings.format)
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        raw.mkdir()
        for path in source.glob(form.files):
            (raw / path.name).symlink_to(path.resolve())
        table = pl.DataFrame({"meter_id": meters.drop_nulls(), "postcode": _POSTCODE})
        table.write_csv(raw / "meters.csv")
        (Path(scratch) / "postcodes.csv").write_text(f"pcds,lsoa21cd\n{_POSTCODE},{_LSOA}\n")
        store = Path(scratch) / "store"
        ingest(
            raw,
            store,
            start=readings.start,
            days=readings.days,
            postcodes=Path(scratch) / "postcodes.csv",
            pseudonym_key=_KEY,
            form=form,
        )
        found = build_features(store, week_start=readings.week).features
        place = {row.tobytes(): number for number, row in enumerate(Store.open(store).pseudonyms)}
        x = np.full((len(meters), found.shape[1]), np.nan)
        for row, pseudonym in enumerate(pseudonyms_of(meters.fill_null(""), _KEY)):
            if pseudonym.tobytes() in place:
                x[row] = found[place[pseudonym.tobytes()]]
    return x
