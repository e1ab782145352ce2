# SPDX-License-Identifier: Apache-2.0
"""A small supplier's raw folder, to be spoilt in one way by each test."""

import datetime
import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skyglow_client import supplier as client
from skyglow_client.learning.homes import Homes
from skyglow_client.readings import IngestReport, Store, ingest
from skyglow_shared import messages, signing
from skyglow_shared.models import features, presence
from skyglow_shared.signing import Identity
from skyglow_shared.study import COMPOSITION_CLASSES, Source, Study, canonical_bytes, digest
from skyglow_shared.vocabulary import LEGAL_GATEWAYS

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


@dataclass
class Town:
    """A supplier's whole folder, ready to be opened, and the office that asks it."""

    folder: Path
    raw: Supplier
    office: Identity
    identity: Identity
    name: str = "north"

    def write_policy(self, **changes: object) -> None:
        policy = {
            "office_key": self.office.public_key,
            "epsilon": 4.0,
            "delta": 1e-6,
            "window_days": 365,
            "purposes": ["testing"],
            "legal_gateways": [LEGAL_GATEWAYS[-1]],
            "features": ["class22-v1"],
            "trust_modes": ["local"],
            "sources": list(Source.__args__),
            "levels": ["all", "class", "msoa", "lsoa"],
            "least_homes": 30,
            "least_suppliers": 2,
            "most_rounds": 10,
        } | changes
        lines = [f"{key} = {json.dumps(value)}" for key, value in policy.items() if value is not None]
        (self.folder / "policy.toml").write_text("\n".join(lines))

    def study(self, **changes: object) -> Study:
        contract = features.contract("class22-v1")
        model = {
            "name": "all_aged_66_plus",
            "features": contract.name,
            "features_digest": contract.digest,
            "positive_classes": COMPOSITION_CLASSES[:2],
            "learning_rate": 0.5,
            "score_centre": -0.5,
            "score_width": 2.0,
        }
        plain = {
            "name": "three-areas",
            "title": "Who is home in three areas",
            "purpose": "testing",
            "legal_gateway": LEGAL_GATEWAYS[-1],
            "public_good": "None: it is made up.",
            "reference_date": "2026-03-21",
            "expires": "2126-12-31",
            "trust_mode": "local",
            "epsilon": 2.5,
            "delta": 1e-6,
            "period": {"start": str(START), "days": DAYS},
            "feature_week": "2026-03-16",
            "areas": [[f"E0101000{n}", f"E0200000{n // 2}", "E06000001"] for n in range(3)],
            "households": 5000,
            "models": [model],
            "occupancy": {"basis": "presence_basis_v2", "basis_digest": presence.load("presence_basis_v2").digest},
            "phases": [
                _phase("training", ("gradient", "gradient", 1.0, 5.0), rounds=3, sampling_rate=0.5),
                _phase(
                    "calibration",
                    ("class_scores", "class_score", 1.7, 8.0),
                    ("panel_labels", "area_label", 1.4, 8.0),
                    ("diaries", "diary_profile", 1.6, 8.0),
                ),
                _phase("release", ("area_scores", "area_score", 1.4, 5.0), ("profiles", "area_profile", 0.6, 7.0)),
            ],
            "office_key": self.office.public_key,
            "thresholds": {"least_homes": 30, "least_suppliers": 2},
            "suppliers": [
                {"name": self.name, "public_key": self.identity.public_key},
                {"name": "south", "public_key": "0b" * 32},
            ],
        }
        return msgspec.convert(plain | changes, type=Study)

    def open(self, **settings: object) -> "client.Supplier":
        return client.Supplier.open(self.folder, self.name, **settings)

    def proposal(self, study: Study, signer: Identity | None = None) -> bytes:
        body = canonical_bytes(study)
        signature = (signer or self.office).sign(signing.STUDY, body)
        return messages.seal_request(messages.StudyRequest(study=body, signature=signature), self.office)

    def request(self, study: Study, phase: str = "training", round_: int = 0, **changes: object) -> bytes:
        weights = {model.name: messages.encode_weights(np.zeros(23)) for model in study.models}
        plain = {"study": digest(study), "phase": phase, "round": round_, "weights": weights} | changes
        return messages.seal_request(messages.RoundRequest(**plain), self.office)

    def read(self, reply: bytes) -> messages.Reply:
        return messages.open_reply(reply, self.name, self.identity.public_key)

    def ask(self, supplier: "client.Supplier", request: bytes) -> messages.Reply:
        return self.read(supplier.handle(request))

    def approve(self, supplier: "client.Supplier", study: Study) -> None:
        supplier.handle(self.proposal(study))
        supplier.approve(digest(study))


def _phase(name: str, *blocks: tuple[str, str, float, float], **settings: object) -> dict[str, object]:
    plain = [
        {"name": block, "source": source, "l2_bound": bound, "noise_multiplier": noise}
        | ({} if source.endswith("profile") else {"model": "all_aged_66_plus"})
        for block, source, bound, noise in blocks
    ]
    return {"name": name, "expected_homes": 200, "blocks": plain} | settings


@pytest.fixture(scope="session")
def town_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a panel of all homes and some diaries; to be copied."""
    folder = tmp_path_factory.mktemp("town")
    raw = make_supplier(folder, homes=24)
    raw.key = bytes(range(32))
    raw.ingest()
    write_panel(raw, range(24))
    (folder / "pseudonym.key").write_bytes(raw.key)
    (folder / "supplier.toml").write_text('name = "north"\n')
    return folder


@pytest.fixture
def make_homes() -> Callable[..., Homes]:
    """Homes of three areas, all metered and of the panel, without diaries; change what a test is about."""

    def make(number: int, rng: np.random.Generator, **changes: object) -> Homes:
        components, lsoa = presence.load("presence_basis_v2").components.shape[1], rng.integers(0, 3, number)
        plain = {
            "pseudonyms": rng.integers(0, 256, (number, 16), dtype=np.uint8),
            "lsoa": lsoa,
            "msoa": lsoa // 2,
            "x": {"all_aged_66_plus": rng.uniform(-1, 1, (number, 22))},
            "profile": np.zeros((number, 2, components)),
            "metered": np.ones(number, dtype=bool),
            "composition": rng.integers(0, 6, number).astype(np.int8),
            "diary": np.full((number, 2, components), np.nan),
            "calibrates": np.ones(number, dtype=bool),
        }
        return Homes(**plain | changes)

    return make


def write_panel(raw: Supplier, members: Iterable[int]) -> None:
    """Put some meters in the panel, every composition in turn; every other one keeps a diary of two days."""
    rng = np.random.default_rng(9)
    rows = [(raw.meter(n), COMPOSITION_CLASSES[n % 6]) for n in members]
    pl.DataFrame(rows, schema=["meter_id", "composition"], orient="row").write_csv(raw.raw / "panel.csv")
    slots = [f"hh{n:02d}" for n in range(1, 49)]
    days = [(raw.meter(n), str(raw.date(day)), *rng.integers(0, 2, 48)) for n in members for day in (2, 5) if n % 2]
    pl.DataFrame(days, schema=["meter_id", "date", *slots], orient="row").write_csv(raw.raw / "diaries.csv")


@pytest.fixture
def town(tmp_path: Path, town_template: Path) -> Town:
    """A supplier's folder with keys and policy, nothing proposed yet."""
    folder = tmp_path / "north"
    shutil.copytree(town_template, folder)
    keys = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))  # so that digests repeat
    made = Town(folder, make_supplier(folder, homes=24), *map(Identity, keys))
    made.raw.key = bytes(range(32))
    made.identity.save(folder / "identity.key")
    made.write_policy()
    return made
