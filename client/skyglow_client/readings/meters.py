# SPDX-License-Identifier: Apache-2.0
"""The supplier's list of meters, de-identified as early as can be: from here on a home is its pseudonym."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.tables import read_csv
from skyglow_client.reference.postcodes import load_postcodes, normalised
from skyglow_shared.errors import DataError

PSEUDONYM_BYTES: Final = 16
LEAST_KEY_BYTES: Final = 16


def pseudonyms_of(meters: Iterable[str], key: bytes) -> NDArray[np.uint8]:
    """Pseudonyms of meters: HMAC-SHA256 under the supplier's own key, 16 bytes each, shape (meters, 16).

    Raises
    ------
    DataError
        If the key is shorter than 16 bytes: meter numbers are few enough to try them all.
    """
    if len(key) < LEAST_KEY_BYTES:
        raise DataError(f"the pseudonym key is shorter than {LEAST_KEY_BYTES} bytes; generate a new one")
    digests = (hmac.digest(key, meter.encode(), hashlib.sha256)[:PSEUDONYM_BYTES] for meter in meters)
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, PSEUDONYM_BYTES)


def mark_of(key: bytes) -> str:
    """What tells a key of pseudonyms from any other, and nothing of it: a digest (hex) that is no meter's pseudonym."""
    return hmac.digest(key, b"skyglow-pseudonym-key-v1", hashlib.sha256).hex()


@dataclass(frozen=True, slots=True, repr=False)
class Meters:
    """Meters with one known area, ordered by pseudonym.

    Attributes
    ----------
    rows : DataFrame
        ``meter_id`` of every meter listed and its place ``home`` in the arrays below, null if it is left out: in memory
        only, to join readings.
    pseudonyms : ndarray of uint8, shape (meters, 16)
        Ascending.
    lsoa21cd : ndarray of str, shape (meters,)
    counts : dict of str to int
        By the names of `report.COUNTS`.
    """

    rows: pl.DataFrame
    pseudonyms: NDArray[np.uint8]
    lsoa21cd: NDArray[np.str_]
    counts: dict[str, int]


def load_meters(path: Path, postcodes: Path, pseudonym_key: bytes) -> Meters:
    """Read ``meters.csv``, link each meter to its area and give it its pseudonym.

    Raises
    ------
    FormatError
        If either file is missing, not CSV or has other columns.
    GeographyError
        If the lookup is not one of postcodes to LSOAs.
    """
    listed = read_csv(path, ["meter_id", "postcode"])
    named = listed.filter(pl.col("meter_id").is_not_null()).with_columns(postcode=normalised(pl.col("postcode")))
    once = named.unique(maintain_order=True)
    clear = once.filter(~pl.col("meter_id").is_duplicated())
    located = clear.join(load_postcodes(postcodes), on="postcode", how="inner").select("meter_id", "lsoa21cd")
    pseudonyms = pseudonyms_of(located["meter_id"], pseudonym_key)
    order = np.lexsort(pseudonyms.T[::-1])
    located = located[order].with_row_index("home")
    counts = {
        "meters": once["meter_id"].n_unique(),
        "meters_without_id": listed.height - named.height,
        "meters_repeated": named.height - once.height,
        "meters_conflicting": once["meter_id"].n_unique() - clear.height,
        "homes_without_area": clear.height - located.height,
    }
    areas = np.array(located["lsoa21cd"].to_list(), dtype="U9")
    rows = once.select("meter_id").unique(maintain_order=True).join(located, on="meter_id", how="left")
    return Meters(rows.select("meter_id", "home"), pseudonyms[order], areas, counts)
