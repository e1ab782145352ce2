# SPDX-License-Identifier: Apache-2.0
"""Reading a supplier's files so that whatever is wrong with one becomes a typed error without a data value."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException

from skyglow_shared.errors import FormatError

_Result = TypeVar("_Result")


def unreadable(path: Path, kind: str) -> FormatError:
    """The error for a file that is corrupt, truncated or of another format."""
    return FormatError(
        f"{path.name}: cannot be read as {kind}; it may be truncated or of another format. Export it again"
    )


def guarded(path: Path, kind: str, action: Callable[[], _Result]) -> _Result:
    """Run `action` on a file; FormatError instead of whatever the parser says, for it may quote data."""
    if not path.is_file():
        raise FormatError(f"{path.name}: no such file in the folder {path.parent.name}; export it or correct the path")
    try:
        return action()
    except (pl.exceptions.PolarsError, OSError, ValueError, PanicException):
        raise unreadable(path, kind) from None


def require_columns(path: Path, present: list[str], wanted: list[str], allowed: Sequence[str] = ()) -> None:
    """FormatError unless the columns of a file are `wanted`, in any order, with some or none of `allowed`."""
    missing = sorted(set(wanted) - set(present))
    surplus = len(set(present) - set(wanted) - set(allowed))
    if missing or surplus:
        lack = f"lacks the columns {', '.join(missing)}" if missing else f"has {surplus} columns too many"
        raise FormatError(f"{path.name}: {lack}; its columns must be {_brief(wanted)}")


def read_csv(path: Path, wanted: list[str], allowed: Sequence[str] = ()) -> pl.DataFrame:
    """Read a comma-separated file, every value as text, with those of the allowed columns that it has.

    Raises
    ------
    FormatError
        If it is missing, not UTF-8 text in comma-separated form, or its columns are not `wanted`.
    """
    frame = guarded(path, "CSV", lambda: pl.read_csv(path, infer_schema=False))
    require_columns(path, frame.columns, wanted, allowed)
    return frame.select([*wanted, *(name for name in allowed if name in frame.columns)])


def scan_parquet(path: Path, wanted: Mapping[str, tuple[type[pl.DataType], ...]]) -> pl.LazyFrame:
    """Open a Parquet file lazily; FormatError unless it has exactly the columns wanted, each of an accepted type."""
    schema = guarded(path, "Parquet", lambda: pl.scan_parquet(path, glob=False).collect_schema())
    require_columns(path, schema.names(), list(wanted))
    wrong = [name for name, accepted in wanted.items() if not isinstance(schema[name], accepted)]
    if wrong:
        raise FormatError(f"{path.name}: the columns {_brief(wrong)} are of another type than documented")
    return pl.scan_parquet(path, glob=False).select(list(wanted))


def _brief(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else ", ".join([*names[:4], "…", names[-1]])
