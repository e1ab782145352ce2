# SPDX-License-Identifier: Apache-2.0
"""Raw files as a supplier's own systems would give them, beside readings: meters, panel, diaries."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.panel import OPEN
from skyglow_shared.study import QUESTIONS, Period

_SLOTS = [f"hh{slot:02d}" for slot in range(1, 49)]


def write_meters(path: Path, meter_id: NDArray[np.int64], postcodes: Sequence[str]) -> None:
    """Write a supplier's customer list, or part of it."""
    schema = {"meter_id": pl.String, "postcode": pl.String}
    pl.DataFrame({"meter_id": meter_id.astype(str), "postcode": list(postcodes)}, schema=schema).write_csv(path)


def panel_table(meter_id: NDArray[np.int64], answers: Mapping[str, NDArray[np.int8]]) -> pl.DataFrame:
    """The consenting, surveyed homes and what they answer, by question as an index in `QUESTIONS`; -1 is left open."""
    names = {question: np.array([*QUESTIONS[question], OPEN])[given] for question, given in answers.items()}
    return pl.DataFrame({"meter_id": meter_id.astype(str), **names})


def diary_table(
    meter_id: NDArray[np.int64], day: NDArray[np.int64], presence: NDArray[np.uint8], period: Period
) -> pl.DataFrame:
    """Diary days: presence 0/1 by half-hour, one row a home and day."""
    dates = [str(period.start + datetime.timedelta(days=int(number))) for number in day]
    frame = pl.DataFrame(
        {"meter_id": meter_id.astype(str), "date": dates}, schema={"meter_id": pl.String, "date": pl.String}
    )
    return frame.with_columns([pl.Series(name, presence[:, slot]) for slot, name in enumerate(_SLOTS)])
