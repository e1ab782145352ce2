# SPDX-License-Identifier: Apache-2.0
"""A book that was made to mislead, or to keep an auditor waiting, is read to its end and named for what it is."""

import hashlib
import time

import msgspec
import pytest

from skyglow_shared import audit, audit_compare
from skyglow_shared.layout import round_numbers
from skyglow_shared.models import features, presence
from skyglow_shared.privacy.sampling import sampler_of
from skyglow_shared.study import Study, canonical_bytes, digest


@pytest.fixture(params=["local", "aggregate"])
def asked(request, plain):
    """A sound study."""
    contract = features.contract("class22-v1")
    plain["models"][0] |= {"features": contract.name, "features_digest": contract.digest}
    plain["occupancy"] |= {"basis_digest": presence.load("presence_basis_v2").digest}
    plain["trust_mode"] = request.param
    if request.param == "local":
        del plain["aggregation"]
    return msgspec.convert(plain, type=Study)


def entry(kind, body):
    return audit.Entry(1, kind, "2026-01-01T00:00:00+00:00", msgspec.json.encode(body), "", "")


def of_office(study, *replies):
    name = digest(study)
    return [
        entry("study", audit.Asked(study=name, canonical=canonical_bytes(study).decode())),
        *(entry("reply", reply) for reply in replies),
    ]


def charge(study, key):
    phase = study.phases[0]
    event = sampler_of(study, phase, round_numbers(study, phase)).event()
    return entry("charge", {"key": key, "study": digest(study), "event": event, "request": "r"})


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "01", "²", "٣", "", "40", "1e1"])
def test_a_round_that_is_no_number_is_a_difference(asked, number):
    key = f"{digest(asked)}/training/{number}/0/share"
    found = audit_compare.compare([charge(asked, key)], of_office(asked), "north")
    assert any("charged otherwise" in problem for problem in found.problems)


def test_long_books_take_no_longer_than_their_length(asked):
    step = "share" if asked.trust_mode == "local" else "advertise"
    keys = [f"{digest(asked)}/training/{number % 40}/{number // 40}/{step}" for number in range(12_000)]
    seals = [entry("seal", {"key": key, "reply": hashlib.sha256(key.encode()).hexdigest()}) for key in keys]
    replies = []
    for key in keys:
        _, phase, round_, attempt, _ = key.split("/")
        sealed = hashlib.sha256(key.encode()).hexdigest()
        replies.append(
            audit.Received(
                study=digest(asked),
                phase=phase,
                round=int(round_),
                attempt=int(attempt),
                step=step,
                supplier="north",
                reply=sealed,
                size=1,
            )
        )
    begun = time.process_time()
    found = audit_compare.compare([*seals, *[charge(asked, keys[0])] * 2], of_office(asked, *replies), "north")
    assert time.process_time() - begun < 5
    assert found.accounts[0].agreed == len(keys)
    assert sum("charged twice" in problem for problem in found.problems) == 1
