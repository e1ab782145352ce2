# SPDX-License-Identifier: Apache-2.0
"""An office with three suppliers made by hand: they sign what a test tells them to."""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skyglow_server.checkpoints import Checkpoints
from skyglow_shared import signing
from skyglow_shared.errors import RunError
from skyglow_shared.layout import block_shape
from skyglow_shared.messages import (
    Approval,
    RoundRequest,
    Share,
    StudyRequest,
    encode_integers,
    open_request,
    seal_reply,
)
from skyglow_shared.models import features, presence
from skyglow_shared.signing import Identity
from skyglow_shared.study import COMPOSITION_CLASSES, Study, digest_of
from skyglow_shared.vocabulary import LEGAL_GATEWAYS

NAMES = ("north", "south", "west")
STORES = ("sqlite", "postgresql")
WIDTH = 23


def identity(number):
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def block(name, source, l2_bound, noise, model="all_aged_66_plus"):
    return {"name": name, "source": source, "model": model, "l2_bound": l2_bound, "noise_multiplier": noise}


@pytest.fixture(params=STORES)
def checkpoints(request, tmp_path):
    """Checkpoints that nobody has used before, in a file and in a database."""
    if request.param == "sqlite":
        return Checkpoints.in_file(tmp_path / "office" / "checkpoints.sqlite")
    postgres = pytest.importorskip(
        "skyglow_server.links.postgres", reason="needs the extra postgres", exc_type=RunError
    )
    return Checkpoints(postgres.Postgres(request.getfixturevalue("database")))


@pytest.fixture
def plain_study():
    """A study of three areas as plain data."""
    contract = features.contract("class22-v1")
    return {
        "name": "three-areas",
        "title": "Who is home in three areas",
        "purpose": "testing",
        "legal_gateway": LEGAL_GATEWAYS[-1],
        "public_good": "None: it is made up.",
        "reference_date": "2026-03-21",
        "expires": "2126-12-31",
        "trust_mode": "local",
        "epsilon": 4.0,
        "delta": 1e-6,
        "period": {"start": "2026-03-09", "days": 28},
        "feature_week": "2026-03-16",
        "areas": [[f"E0101000{n}", f"E0200000{n // 2}", "E06000001"] for n in range(3)],
        "households": 5000,
        "models": [
            {
                "name": "all_aged_66_plus",
                "features": contract.name,
                "features_digest": contract.digest,
                "positive_classes": COMPOSITION_CLASSES[:2],
                "learning_rate": 0.5,
                "momentum": 0.75,
                "score_centre": -0.5,
                "score_width": 2.0,
            }
        ],
        "occupancy": {"basis": "presence_basis_v2", "basis_digest": presence.load("presence_basis_v2").digest},
        "phases": [
            {
                "name": "training",
                "rounds": 4,
                "sampling_rate": 0.5,
                "expected_homes": 200,
                "blocks": [block("gradient", "gradient", 1.0, 5.0)],
            },
            {
                "name": "release",
                "expected_homes": 4000,
                "blocks": [
                    block("area_scores", "area_score", 1.118034, 2.0),
                    block("profiles", "area_profile", 0.6, 9.0, model=""),
                ],
            },
        ],
        "office_key": identity(99).public_key,
        "suppliers": [{"name": name, "public_key": identity(n).public_key} for n, name in enumerate(NAMES, start=1)],
    }


@pytest.fixture
def make_study(plain_study):
    """Makes the study, its training with so many rounds."""

    def make(rounds=4):
        plain_study["phases"][0]["rounds"] = rounds
        return msgspec.convert(plain_study, type=Study)

    return make


@pytest.fixture
def numbers():
    """The integers of one supplier's share: a function of supplier, phase and round."""

    def draw(study, phase, name, round_):
        rng = np.random.default_rng([NAMES.index(name), study.phases.index(phase), round_])
        return {one.name: rng.integers(-(2**20), 2**20, block_shape(study, one)) for one in phase.blocks}

    return draw


@dataclass
class Puppets:
    """A federation of suppliers that approve and answer everything, unless `spoil` says otherwise.

    `spoil` maps (name, reply, identity) to the bytes that are sent, or None for no answer.
    """

    study: Study
    draw: object
    spoil: object = None
    spoilt: tuple = ()
    asked: list = field(default_factory=list)

    keys: ClassVar = {name: identity(number) for number, name in enumerate(NAMES, start=1)}
    office = identity(99)

    def ask(self, requests):
        assert set(requests) == set(NAMES)
        replies = {}
        for name, message in requests.items():
            request = open_request(message, self.office.public_key)
            kind = "approvals" if isinstance(request, StudyRequest) else (request.phase, request.round)
            if name == NAMES[0]:
                self.asked.append((kind, request))
            reply = self.answer(name, request)
            sent = seal_reply(reply, name, self.keys[name])
            if self.spoil and (name, kind) in self.spoilt:
                sent = self.spoil(name, reply, self.keys[name])
            if sent is not None:
                replies[name] = sent
        return replies

    def answer(self, name, request):
        if isinstance(request, StudyRequest):
            study = digest_of(request.study)
            return Approval(
                study=study, supplier=name, signature=self.keys[name].sign(signing.APPROVAL, study.encode())
            )
        assert isinstance(request, RoundRequest)
        phase = self.study.phase(request.phase)
        blocks = self.draw(self.study, phase, name, request.round)
        return Share(
            study=request.study,
            phase=request.phase,
            round=request.round,
            attempt=request.attempt,
            step=request.step,
            supplier=name,
            blocks={one: encode_integers(values) for one, values in blocks.items()},
        )


@pytest.fixture
def puppets(make_study, numbers):
    return lambda study=None, **settings: Puppets(study or make_study(), numbers, **settings)
