# SPDX-License-Identifier: Apache-2.0
"""A small supplier's raw folder, to be spoilt in one way by each test."""

import datetime
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skyglow_client.readings import IngestReport, Store, ingest

START = datetime.date(2026, 3, 9)
DAYS = 28
SPRING = 20  # 2026-03-29
KEY = b"a supplier's own pseudonym key"


@dataclass
class Supplier:
    """Raw files in memory; change them, then `write()` or `ingest()`."""

    folder: Path
    meters: list[tuple[str, str]]
    readings: pl.DataFrame
    postcodes: list[tuple[str, str]]
    kwh: np.ndarray
    start: datetime.date
    days: int
    key: bytes = KEY

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def write(self) -> None:
        self.raw.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(self.meters, schema=["meter_id", "postcode"], orient="row").write_csv(self.raw / "meters.csv")
        pl.DataFrame(self.postcodes, schema=["pcds", "lsoa21cd"], orient="row").write_csv(self.folder / "postcodes.csv")
        half = self.readings.height // 2
        self.readings[:half].write_parquet(self.raw / "readings-000.parquet")
        self.readings[half:].write_parquet(self.raw / "readings-001.parquet")

    def ingest(self) -> tuple[IngestReport, Store]:
        self.write()
        return self.ingest_again()

    def ingest_again(self) -> tuple[IngestReport, Store]:
        report = ingest(
            self.raw,
            self.store,
            start=self.start,
            days=self.days,
            postcodes=self.folder / "postcodes.csv",
            pseudonym_key=self.key,
        )
        return report, Store.open(self.store)

    def meter(self, number: int) -> str:
        return self.meters[number][0]

    def set(self, number: int, day: int, values: dict[str, float | None]) -> None:
        """Change half-hours of one meter-day."""
        here = (pl.col("meter_id") == self.meter(number)) & (pl.col("date") == self.date(day))
        self.readings = self.readings.with_columns(
            [
                pl.when(here).then(pl.lit(value, dtype=pl.Float32)).otherwise(pl.col(name)).alias(name)
                for name, value in values.items()
            ]
        )

    def row(self, number: int, day: int) -> pl.DataFrame:
        return self.readings.filter(pl.col("meter_id") == self.meter(number), pl.col("date") == self.date(day))

    def date(self, day: int) -> datetime.date:
        return self.start + datetime.timedelta(days=day)


def make_supplier(folder: Path, *, homes: int = 6, start: datetime.date = START, days: int = DAYS) -> Supplier:
    rng = np.random.default_rng(5)
    kwh = rng.gamma(2.0, 0.1, (homes, days, 48)).astype(np.float32).round(3) + np.float32(0.05)
    meters = [(f"{2_000_000_000_000 + 37 * n}", f"ZZ{n % 3 + 1} {n % 4}AB") for n in range(homes)]
    postcodes = sorted({(postcode, f"E0101{n % 3:04d}") for n, (_, postcode) in enumerate(meters)})
    wide = np.full((homes, days, 50), np.nan, dtype=np.float32)
    wide[:, :, :48] = kwh
    for day in range(days):
        date = start + datetime.timedelta(days=day)
        if date == datetime.date(2026, 3, 29):
            wide[:, day, 2:46], wide[:, day, 46:] = kwh[:, day, 4:], np.nan
        if date == datetime.date(2026, 10, 25):
            wide[:, day, 4:50] = kwh[:, day, 2:]
            wide[:, day, 2:4] += 0.2  # first pass of the repeated hour
    frame = pl.DataFrame(
        {
            "meter_id": np.repeat([meter for meter, _ in meters], days),
            "date": np.tile(np.datetime64(start) + np.arange(days), homes),
        }
    ).with_columns(pl.col("date").cast(pl.Date))
    columns = [
        pl.Series(f"hh{n + 1:02d}", np.ascontiguousarray(wide.reshape(-1, 50)[:, n])).fill_nan(None) for n in range(50)
    ]
    return Supplier(folder, meters, frame.with_columns(columns), postcodes, kwh, start, days)


@pytest.fixture
def supplier(tmp_path: Path) -> Supplier:
    return make_supplier(tmp_path)


@pytest.fixture
def new_supplier(tmp_path: Path) -> Callable[..., Supplier]:
    return lambda name="other", **settings: make_supplier(tmp_path / name, **settings)


@pytest.fixture
def row_of() -> Callable[[Supplier, Store, int], int]:
    """Where meter `number` of a supplier ended up in its store; -1 if it did not."""

    def find(supplier: Supplier, store: Store, number: int) -> int:
        wanted = hmac.new(supplier.key, supplier.meter(number).encode(), hashlib.sha256).digest()[:16]
        found = [place for place, row in enumerate(store.pseudonyms) if row.tobytes() == wanted]
        return found[0] if found else -1

    return find
