# SPDX-License-Identifier: Apache-2.0
"""Public tables that others made: CSV files with a header, read whole and refused whole."""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import FormatError


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Every line of a table, by column; columns beyond those asked for are kept as they are.

    Raises
    ------
    FormatError
        The file cannot be read as CSV, lacks a column, or has a line with too few fields.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FormatError(f"{path.name} lacks the columns {', '.join(missing)}; use the published table")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path.name} cannot be read as CSV ({type(error).__name__}); fetch it again: it has the columns "
        raise FormatError(message + ", ".join(columns)) from None
    if any(not row[name] for row in rows for name in columns):
        raise FormatError(f"{path.name} has a line with too few fields; fetch it again")
    return rows


def digests(folder: Path, names: Iterable[str]) -> Mapping[str, str]:
    """SHA-256 of those of a folder's files that are there, by name: which tables figures were made with."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names if (folder / name).exists()
    }


def read_numbers(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> NDArray[np.float64]:
    """Numbers [rows, columns] of a table's lines; FormatError for one that is none, or negative or infinite."""
    try:
        numbers = np.array([[float(row[name]) for name in columns] for row in rows], dtype=np.float64)
    except (ValueError, TypeError):
        numbers = np.full(1, np.nan)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise FormatError(
            f"{path.name} has something in {', '.join(columns)} that is not a number, or is negative or infinite;"
            " use the published table"
        )
    return numbers.reshape(len(rows), len(columns))
