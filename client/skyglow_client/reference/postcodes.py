# SPDX-License-Identifier: Apache-2.0
"""From a postcode to the area it lies in, by the public lookup."""

from pathlib import Path

import polars as pl

from skyglow_client.readings.tables import read_csv
from skyglow_shared.errors import GeographyError

LSOA_CODE = r"^[EW]01[0-9]{6}$"


def normalised(postcode: pl.Expr) -> pl.Expr:
    """Bring postcodes to one form: no spaces, upper case."""
    return postcode.str.replace_all(r"\s", "").str.to_uppercase()


def load_postcodes(path: Path) -> pl.DataFrame:
    """Read the lookup of postcodes to LSOAs.

    Parameters
    ----------
    path : Path
        CSV with the columns ``pcds,lsoa21cd``.

    Returns
    -------
    DataFrame
        ``postcode`` (normalised, each once) and ``lsoa21cd``. Rows without an area (postcodes outside England and
        Wales) are left out.

    Raises
    ------
    FormatError
        If the file is missing, not CSV or has other columns.
    GeographyError
        If an area code is not an LSOA's, or a postcode is given two areas.
    """
    table = read_csv(path, ["pcds", "lsoa21cd"]).select(postcode=normalised(pl.col("pcds")), lsoa21cd="lsoa21cd")
    table = table.drop_nulls().unique(maintain_order=True)
    if not table["lsoa21cd"].str.contains(LSOA_CODE).all():
        raise GeographyError(f"{path.name}: an area code is not E01 or W01 and six digits; use a lookup to LSOAs")
    if table["postcode"].is_duplicated().any():
        raise GeographyError(f"{path.name}: a postcode is given two areas; use a best-fit lookup")
    return table
