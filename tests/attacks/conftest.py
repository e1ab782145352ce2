# SPDX-License-Identifier: Apache-2.0
"""Small suppliers with real folders, attempts at secure aggregation, and peers in their own environments."""

import datetime
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skyglow_client.readings import ingest
from skyglow_client.supplier import Supplier
from skyglow_shared import messages, signing, vocabulary
from skyglow_shared.models import features, presence
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg import office
from skyglow_shared.secagg.channels import Channel, open_channel
from skyglow_shared.secagg.ledger_heads import Head, Witness
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.signing import Identity
from skyglow_shared.study import COMPOSITION_CLASSES, Source, Study, canonical_bytes, digest
from skyglow_shared.study import Supplier as OnRoster

ROOT = Path(__file__).parents[2]
START, DAYS, HOMES = datetime.date(2026, 3, 9), 14, 24
KEY = bytes(range(32))


def identity_of(number: int) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


OFFICE, NORTH = identity_of(1), identity_of(2)


@dataclass(frozen=True)
class Town:
    """A supplier's whole folder, ready to be opened, and the office that asks it."""

    folder: Path
    office: Identity = OFFICE
    identity: Identity = NORTH
    name: str = "north"

    def write_policy(self, **changes: object) -> None:
        policy = {
            "office_key": self.office.public_key,
            "epsilon": 4.0,
            "delta": 1e-6,
            "window_days": 365,
            "purposes": ["testing"],
            "legal_gateways": [vocabulary.LEGAL_GATEWAYS[-1]],
            "features": ["class22-v1"],
            "trust_modes": ["local"],
            "sources": list(Source.__args__),
            "least_homes": 30,
            "least_suppliers": 2,
            "most_rounds": 10,
        } | changes
        lines = [f"{key} = {json.dumps(value)}" for key, value in policy.items()]
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
            "legal_gateway": vocabulary.LEGAL_GATEWAYS[-1],
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
                phase("training", block("gradient", "gradient", 1.0, 5.0), rounds=3, sampling_rate=0.5),
                phase("release", block("area_scores", "area_score", 1.4, 5.0)),
            ],
            "office_key": self.office.public_key,
            "thresholds": {"least_homes": 30, "least_suppliers": 2},
            "suppliers": [
                {"name": self.name, "public_key": self.identity.public_key},
                {"name": "south", "public_key": "0b" * 32},
            ],
        }
        return msgspec.convert(plain | changes, type=Study)

    def open(self) -> Supplier:
        return Supplier.open(self.folder, self.name)

    def sealed(self, request: messages.Request, signer: Identity | None = None) -> bytes:
        return messages.seal_request(request, signer or self.office)

    def proposal(self, study: Study) -> bytes:
        body = canonical_bytes(study)
        return self.sealed(messages.StudyRequest(study=body, signature=self.office.sign(signing.STUDY, body)))

    def request(self, study: Study, phase: str = "training", round_: int = 0, **changes: object) -> bytes:
        weights = {model.name: messages.encode_weights(np.zeros(23)) for model in study.models}
        plain = {"study": digest(study), "phase": phase, "round": round_, "weights": weights} | changes
        return self.sealed(messages.RoundRequest(**plain))

    def signed_body(self, body: bytes) -> bytes:
        """Any bytes in an envelope that the office signed."""
        envelope = messages.Envelope(1, "office", body, self.office.sign(signing.REQUEST, body))
        return msgspec.msgpack.encode(envelope)

    def read(self, reply: bytes) -> messages.Reply:
        return messages.open_reply(reply, self.name, self.identity.public_key)

    def ask(self, supplier: Supplier, request: bytes) -> messages.Reply:
        return self.read(supplier.handle(request))

    def approve(self, supplier: Supplier, study: Study) -> None:
        supplier.handle(self.proposal(study))
        supplier.approve(digest(study))

    def copy(self, folder: Path) -> "Town":
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)


def block(name: str, source: str, bound: float, noise: float) -> dict[str, object]:
    plain = {"name": name, "source": source, "l2_bound": bound, "noise_multiplier": noise}
    return plain | {"model": "all_aged_66_plus"}


def phase(name: str, *blocks: dict[str, object], **settings: object) -> dict[str, object]:
    return {"name": name, "expected_homes": 200, "blocks": blocks} | settings


def write_homes(folder: Path, homes: int) -> None:
    """Give a supplier so many homes of three areas, all in the panel."""
    raw, rng = folder / "raw", np.random.default_rng(5)
    raw.mkdir(parents=True, exist_ok=True)
    meters = [f"{2_000_000_000_000 + 37 * n}" for n in range(homes)]
    postcodes = [f"ZZ{n % 3 + 1} 1AB" for n in range(homes)]
    pl.DataFrame({"meter_id": meters, "postcode": postcodes}).write_csv(raw / "meters.csv")
    lookup = {"pcds": [f"ZZ{n + 1} 1AB" for n in range(3)], "lsoa21cd": [f"E0101000{n}" for n in range(3)]}
    pl.DataFrame(lookup).write_csv(folder / "postcodes.csv")
    kwh = (rng.gamma(2.0, 0.1, (homes * DAYS, 48)) + 0.05).astype(np.float32)
    dates = [START + datetime.timedelta(days=day) for day in range(DAYS)]
    frame = pl.DataFrame({"meter_id": np.repeat(meters, DAYS), "date": dates * homes})
    slots = [pl.Series(f"hh{n + 1:02d}", kwh[:, n]) for n in range(48)]
    empty = [pl.Series(f"hh{n}", [None] * len(kwh), dtype=pl.Float32) for n in (49, 50)]
    frame.with_columns(slots + empty).write_parquet(raw / "readings-000.parquet")
    codes = folder / "postcodes.csv"
    ingest(raw, folder / "store", start=START, days=DAYS, postcodes=codes, pseudonym_key=KEY)
    panel = {"meter_id": meters, "composition": [COMPOSITION_CLASSES[n % 6] for n in range(homes)]}
    pl.DataFrame(panel).write_csv(raw / "panel.csv")


def make_town(folder: Path, homes: int) -> Town:
    write_homes(folder, homes)
    (folder / "pseudonym.key").write_bytes(KEY)
    (folder / "supplier.toml").write_text('name = "north"\n')
    town = Town(folder)
    town.identity.save(folder / "identity.key")
    town.write_policy()
    return town


@pytest.fixture(scope="session")
def _town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return make_town(tmp_path_factory.mktemp("town") / "north", HOMES)


@pytest.fixture
def town(tmp_path: Path, _town: Town) -> Town:
    """A supplier of 24 homes, nothing proposed yet."""
    return _town.copy(tmp_path / "north")


@pytest.fixture
def neighbour_town(tmp_path: Path) -> Town:
    """The same supplier with one home less."""
    return make_town(tmp_path / "neighbour", HOMES - 1)


@pytest.fixture
def small_town(tmp_path: Path) -> Town:
    """The same supplier with seven homes."""
    return make_town(tmp_path / "small", 7)


@pytest.fixture
def peer():
    """Run one of the scripts in `peers` in that peer's environment, and give what it found; skip if there is none."""

    def run(script: str) -> dict[str, object]:
        name = script.split("_", maxsplit=1)[0]
        python = ROOT / f".venv-{name}" / "bin" / "python"
        if not python.exists():
            pytest.skip(f"there is no .venv-{name}; `make attacks` makes it")
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [python, Path(__file__).parent / "peers" / f"{script}.py"],
            env=os.environ | quiet,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@dataclass
class Attempt:
    """One attempt at secure aggregation between honest suppliers; a test plays the office that asks them."""

    session: Session
    identities: dict[str, Identity]
    channels: dict[str, Channel]
    rounds: dict[str, Round]
    adverts: dict[str, object]
    vectors: dict[str, np.ndarray]

    def say(self, name: str, message: object) -> object:
        """Ask one supplier as the gate does: encoded, decoded, and its next state kept."""
        content = secagg.decode_request(secagg.encode(message))
        self.rounds[name], reply = self.rounds[name].answer(
            content, lambda: self.vectors[name], Witness({}, lambda entries: "")
        )
        return reply

    def say_all(self, messages_: dict[str, object]) -> dict[str, object]:
        return {name: self.say(name, message) for name, message in messages_.items()}

    def shared(self) -> tuple[office.Adding, dict[str, object]]:
        """Honestly up to where deliveries are ready."""
        collecting, message = office.begin(self.session).advertised(self.adverts)
        return collecting.shared(self.say_all(dict.fromkeys(self.adverts, message)))

    def masked(self) -> tuple[office.Adding, dict[str, object]]:
        """Honestly up to where every masked vector has come."""
        adding, deliveries = self.shared()
        return adding, self.say_all(deliveries)


def make_attempt(dropouts: int, colluders: int, suppliers: int = 5, **changes: object) -> Attempt:
    identities = {f"supplier-{n}": identity_of(n + 10) for n in range(suppliers)}
    plain = {
        "study": "ab" * 32,
        "phase": "training",
        "round": 0,
        "attempt": 0,
        "roster": tuple(OnRoster(name=name, public_key=one.public_key) for name, one in identities.items()),
        "parameters": Parameters(suppliers, dropouts, colluders),
        "words": 20,
        "word_bits": 32,
    }
    session, rng = Session(**(plain | changes)), np.random.default_rng(7)
    began, channels = {}, {}
    for name, one in identities.items():
        channels[name] = open_channel(session.study, name, one, SystemRandomness())
        given = one, Head(3, "cd" * 32), SystemRandomness()
        began[name] = Round.begin(session, name, *given, channel=channels[name], seen={})
    vectors = {name: rng.integers(-1000, 1000, 20) for name in identities}
    return Attempt(
        session,
        identities,
        channels,
        {name: round_ for name, (round_, _) in began.items()},
        {name: advert for name, (_, advert) in began.items()},
        vectors,
    )


@pytest.fixture
def attempt():
    """Make an attempt between suppliers that tolerates so many dropouts and colluders; all have advertised keys."""
    return make_attempt
