# SPDX-License-Identifier: Apache-2.0
"""The cleaned wide store of a supplier: one row a home, 48 local clock slots a day, no meter number, no postcode.

::

    store/
        meta.json             which data folder is current, the period, digests of its files, a mark of the key
        data-<digest>/
            homes.parquet     pseudonym, lsoa21cd, valid_days; ascending by pseudonym
            kwh.npy           float32 [homes, days, 48], NaN on days that are not valid
            valid.npy         bool [homes, days]

A store changes in one step, by the renaming of ``meta.json``: a reader sees the old data or the new, never half of
either. One process writes at a time, by a lock on ``store.lock`` beside it.
"""

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.readings.calendar import SLOTS
from skyglow_client.readings.meters import PSEUDONYM_BYTES
from skyglow_client.readings.tables import guarded, require_columns, unreadable
from skyglow_shared import locks
from skyglow_shared.errors import FormatError
from skyglow_shared.files import write_atomically

FORMAT: Final = "skyglow-store-1"
FILES: Final = ("homes.parquet", "kwh.npy", "valid.npy")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class _Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    folder: str
    start: datetime.date
    days: int
    files: dict[str, _File]
    key: str = ""


@dataclass(frozen=True, slots=True, repr=False)  # a representation would show data
class Store:
    """A supplier's homes and their readings.

    Attributes
    ----------
    pseudonyms : ndarray of uint8, shape (homes, 16)
        Ascending.
    lsoa21cd : ndarray of str, shape (homes,)
    kwh : ndarray of float32, shape (homes, days, 48)
        Memory-mapped, read-only; NaN on days that are not valid and nowhere else.
    valid : ndarray of bool, shape (homes, days)
    start : date
        The first day.
    days : int
    folder : Path
        The data folder, in which things derived from this data and no other may be cached.
    key : str
        `meters.mark_of` the key that pseudonyms are made with; empty in stores of before it was kept.
    """

    pseudonyms: NDArray[np.uint8]
    lsoa21cd: NDArray[np.str_]
    kwh: NDArray[np.float32]
    valid: NDArray[np.bool_]
    start: datetime.date
    days: int
    folder: Path
    key: str = ""

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open the store in the folder `path`.

        Raises
        ------
        FormatError
            If it is missing, of another format, truncated, or differs in a byte from what was written.
        """
        meta = _read_meta(path)
        folder = path / meta.folder
        for name in FILES:
            _check_file(folder / name, meta.files.get(name))
        homes = guarded(folder / FILES[0], "Parquet", lambda: pl.read_parquet(folder / FILES[0], glob=False))
        require_columns(folder / FILES[0], homes.columns, ["pseudonym", "lsoa21cd", "valid_days"])
        kwh = _load_array(folder / FILES[1], (homes.height, meta.days, SLOTS), np.dtype(np.float32))
        valid = _load_array(folder / FILES[2], (homes.height, meta.days), np.dtype(np.bool_))
        pseudonyms = np.frombuffer(b"".join(homes["pseudonym"]), dtype=np.uint8).reshape(-1, PSEUDONYM_BYTES)
        areas = np.array(homes["lsoa21cd"].to_list(), dtype="U9")
        return cls(pseudonyms, areas, kwh, np.asarray(valid), meta.start, meta.days, folder, meta.key)


def current(path: Path) -> Path:
    """The data folder of the store in the folder `path`, named after its content; FormatError as `Store.open`."""
    return path / _read_meta(path).folder


def _read_meta(path: Path) -> _Meta:
    if not (path / "meta.json").is_file():
        raise FormatError(f"there is no store in the folder {path.name}; ingest readings first")
    try:
        meta = msgspec.json.decode((path / "meta.json").read_bytes(), type=_Meta)
    except (msgspec.DecodeError, OSError):
        raise unreadable(path / "meta.json", "a store's description") from None
    if meta.format != FORMAT:
        raise FormatError(f"the store is not of the format {FORMAT}; ingest the readings again")
    if Path(meta.folder).name != meta.folder or not meta.folder.startswith("data-") or meta.days < 1:
        raise FormatError("the store's description contradicts itself; ingest the readings again")
    return meta


def _check_file(path: Path, expected: _File | None) -> None:
    if expected is None or not path.is_file() or path.stat().st_size != expected.bytes:
        raise FormatError(f"{path.name} of the store is missing or truncated; ingest the readings again")
    if _sha256(path) != expected.sha256:
        raise FormatError(f"{path.name} of the store was changed after it was written; ingest the readings again")


def _load_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:  # type: ignore[type-arg]
    array = guarded(path, "a NumPy array", lambda: np.load(path, mmap_mode="r" if shape[0] else None))
    if array.shape != shape or array.dtype != dtype:
        raise FormatError(f"{path.name} of the store does not fit its list of homes; ingest the readings again")
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def incoming(path: Path) -> Iterator[Path]:
    """Give an empty folder for the files of a store's next data; it is gone afterwards, come what may.

    Raises
    ------
    RunError
        Another process is at it: two would write into each other's files.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    busy = "another process loads readings into this store; wait for it to end, then load again"
    with locks.alone(path.with_name(f"{path.name}.lock"), busy):
        folder = path / ".incoming"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(path: Path, folder: Path, *, start: datetime.date, days: int, key: str) -> None:
    """Make the files in `folder` the store's data, in one step, and remove what they replace."""
    files = {}
    for name in FILES:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        files[name] = {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
    plain = {"format": FORMAT, "start": start.isoformat(), "days": days, "files": files}
    target = path / f"data-{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]}"
    intact = target.is_dir() and all(_sha256(target / name) == files[name]["sha256"] for name in FILES)
    if not intact:
        shutil.rmtree(target, ignore_errors=True)  # a damaged copy of the same data is of no use
        folder.replace(target)
    meta = json.dumps({**plain, "folder": target.name, "key": key}, sort_keys=True, indent=1)
    write_atomically(path / "meta.json", meta.encode(), mode=0o600)
    for old in path.glob("data-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
