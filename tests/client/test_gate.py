# SPDX-License-Identifier: Apache-2.0
"""The order is the guarantee: what is not approved, not its turn, or changed is not answered, and nothing twice."""

from datetime import timedelta
from hashlib import sha256

import msgspec
import numpy as np
import pytest

from skyglow_client.gate import gate as gates
from skyglow_shared.errors import ApprovalError, BudgetError, ExpiredError, PolicyError, SkyglowError, StudyError
from skyglow_shared.messages import Approval, Refusal, RoundRequest, Share, encode_weights, open_request
from skyglow_shared.privacy.accounting import Event
from skyglow_shared.privacy.sampling import poisson_sample
from skyglow_shared.signing import Identity
from skyglow_shared.study import Aggregation, digest

#: Enough for one of the studies here (1.649), not for two (2.578).
BUDGET = 2.0


SOUTH = {"name": "south", "public_key": "0b" * 32}


def refused(reply, code, rule):
    assert isinstance(reply, Refusal), reply
    assert (reply.code, reply.rule) == (code, rule), reply.message
    return reply.message


def replaced(record, **changes):
    return msgspec.structs.replace(record, **changes)


def with_block(study, **changes):
    """The study with its first block changed."""
    first = study.phases[0]
    return replaced(study, phases=(replaced(first, blocks=(replaced(first.blocks[0], **changes),)), *study.phases[1:]))


@pytest.fixture
def study(town):
    return town.study()


@pytest.fixture
def supplier(town, study):
    """A supplier that approved the study."""
    with town.open() as opened:
        town.approve(opened, study)
        yield opened


CHANGES = {
    "one round more": lambda study: replaced(study, phases=(replaced(study.phases[0], rounds=4), *study.phases[1:])),
    "another clip": lambda study: with_block(study, l2_bound=1.5),
    "less noise": lambda study: with_block(study, noise_multiplier=4.9),
    "another area": lambda study: replaced(study, areas=(replaced(study.areas[0], lsoa="E01000009"), *study.areas[1:])),
    "another delta": lambda study: replaced(study, delta=2e-6),
    "another sampling rate": lambda study: replaced(
        study, phases=(replaced(study.phases[0], sampling_rate=0.6), *study.phases[1:])
    ),
    "another day of expiry": lambda study: replaced(study, expires=study.expires - timedelta(days=1)),
    "another supplier": lambda study: replaced(
        study, suppliers=(study.suppliers[0], replaced(study.suppliers[1], name="east"))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_study_changed_after_approval_is_not_approved(town, study, supplier, change):
    changed = CHANGES[change](study)
    refused(town.ask(supplier, town.request(changed)), 33, "approval")
    assert isinstance(town.ask(supplier, town.proposal(changed)), Refusal)
    refused(town.ask(supplier, town.request(changed)), 33, "approval")
    assert isinstance(town.ask(supplier, town.proposal(study)), Approval)


def test_nothing_is_computed_before_it_is_charged(town, study, supplier, monkeypatch):
    ledger = supplier.gate.ledger
    kinds = []
    monkeypatch.setattr(
        type(supplier), "homes", lambda self, study: kinds.append([e.kind for e in ledger.entries()][-1]) or 1 / 0
    )
    refused(town.ask(supplier, town.request(study)), 70, "InternalError")
    assert kinds == ["charge"]
    monkeypatch.undo()
    assert isinstance(town.ask(supplier, town.request(study)), Share)
    assert [entry.kind for entry in ledger.entries("charge", "seal")] == ["charge", "seal"]


def test_a_share_is_sealed_before_it_is_sent(town, study, supplier):
    request = town.request(study)
    reply = supplier.handle(request)
    message = open_request(request, town.office.public_key)
    assert supplier.gate.ledger.sealed(gates.round_key(message)) == reply


def test_the_same_request_gets_the_same_bytes_for_ever(town, study):
    request = town.request(study)
    with town.open() as supplier:
        town.approve(supplier, study)
        reply = supplier.handle(request)
        town.ask(supplier, town.request(study, round_=1))
        assert supplier.handle(request) == reply
    with town.open() as again:
        assert again.handle(request) == reply
        assert len(again.gate.ledger.entries("charge")) == 2


@pytest.mark.parametrize("sealed", [True, False])
def test_a_round_is_answered_for_one_content_only(town, study, supplier, monkeypatch, sealed):
    """Other weights in the same round would be a second look under one charge, before the seal and after it."""
    if not sealed:
        monkeypatch.setattr(gates, "noised", lambda *arguments: 1 / 0)
    supplier.handle(town.request(study))
    monkeypatch.undo()
    other = {"all_aged_66_plus": encode_weights(np.ones(23))}
    refused(town.ask(supplier, town.request(study, weights=other)), 34, "order")
    assert isinstance(town.ask(supplier, town.request(study)), Share)


@pytest.mark.parametrize(
    ("phase", "round_", "changes"),
    [
        ("training", 1, {}),
        ("training", 3, {}),
        ("training", -1, {}),
        ("training", 10**12, {}),
        ("calibration", 0, {}),
        ("release", 0, {}),
        ("unknown", 0, {}),
        ("", 0, {}),
        ("training", 0, {"attempt": 1}),
        ("training", 0, {"attempt": -1}),
        ("training", 0, {"weights": {}}),
        ("training", 0, {"weights": {"other": b""}}),
    ],
)
def test_rounds_out_of_order_or_not_of_the_study(town, study, supplier, phase, round_, changes):
    refused(town.ask(supplier, town.request(study, phase, round_, **changes)), 34, "order")
    assert not supplier.gate.ledger.entries("charge")


@pytest.mark.parametrize("content", [b"", b"\0" * 8 * 22, b"\0" * 8 * 24, np.full(23, np.nan).tobytes()])
def test_weights_that_are_not_weights_cost_nothing(town, study, supplier, content):
    refused(town.ask(supplier, town.request(study, weights={"all_aged_66_plus": content})), 40, "ProtocolError")
    assert not supplier.gate.ledger.entries("charge")


def test_a_phase_begins_when_the_one_before_has_ended(town, study, supplier):
    for round_ in range(3):
        refused(town.ask(supplier, town.request(study, "calibration")), 34, "order")
        assert isinstance(town.ask(supplier, town.request(study, "training", round_)), Share)
    refused(town.ask(supplier, town.request(study, "release")), 34, "order")
    assert isinstance(town.ask(supplier, town.request(study, "calibration")), Share)


def test_a_study_signed_by_another_key_is_not_even_kept(town, study):
    with town.open() as supplier:
        stranger = Identity.generate()
        refused(town.ask(supplier, town.proposal(study, signer=stranger)), 21, "SignatureError")
        assert not supplier.gate.ledger.studies()
        with pytest.raises(ApprovalError, match="propose"):
            supplier.approve(digest(study))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expires": "2020-01-01"}, 22),
        ({"suppliers": [{"name": "north", "public_key": "0c" * 32}, SOUTH]}, 20),
        ({"suppliers": [{"name": "east", "public_key": "0c" * 32}, SOUTH]}, 20),
        ({"purpose": "marketing"}, 31),
        ({"trust_mode": "aggregate", "aggregation": Aggregation(dropouts=0, colluders=0)}, 31),
        ({"occupancy": {"basis": "presence_basis_v2", "basis_digest": "00" * 32}}, 20),
        ({"occupancy": {"basis": "presence_basis_v9", "basis_digest": "00" * 32}}, 20),
        ({"epsilon": 1.0}, 32),
    ],
)
def test_a_study_that_cannot_be_approved(town, change, code):
    study = town.study(**change)
    with town.open() as supplier:
        assert town.ask(supplier, town.proposal(study)).code == code
        with pytest.raises(SkyglowError):
            supplier.approve(digest(study))
        assert town.ask(supplier, town.request(study)).code == 33


def test_an_approved_feature_contract_is_the_installed_one(town):
    study = town.study()
    study = replaced(study, models=(replaced(study.models[0], features_digest="00" * 32),))
    with town.open() as supplier:
        assert town.ask(supplier, town.proposal(study)).code == 20


def test_an_approved_plan_counts_in_full_before_it_is_charged(town, study):
    """Two studies that fit one by one do not fit together, and the second is told what is left."""
    town.write_policy(epsilon=BUDGET)
    with town.open() as supplier:
        town.approve(supplier, study)
        message = refused(town.ask(supplier, town.proposal(town.study(name="second"))), 32, "epsilon")
        assert "0.351 remaining" in message
        assert not supplier.gate.ledger.entries("charge")


def test_a_withdrawn_study_counts_with_what_was_charged(town, study):
    town.write_policy(epsilon=BUDGET)
    second = town.study(name="second")
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study))
        supplier.refuse(digest(study))
        refused(town.ask(supplier, town.request(study)), 33, "approval")
        refused(town.ask(supplier, town.proposal(study)), 33, "approval")
        refused(town.ask(supplier, town.proposal(second)), 33, "approval")
        spent = supplier.approve(digest(second))
        assert 0 < spent.before < 0.5
        with pytest.raises(BudgetError):
            supplier.approve(digest(study))


def test_the_ledger_records_the_rounds_event(town, study, supplier):
    town.ask(supplier, town.request(study))
    (entry,) = supplier.gate.ledger.entries("charge")
    event = msgspec.convert(msgspec.json.decode(entry.body)["event"], Event)
    assert event == Event(5.0, 0.5, 1, 23)


def test_the_approval_signs_the_digest(town, study, supplier):
    reply = town.ask(supplier, town.proposal(study))
    assert isinstance(reply, Approval)
    assert (reply.study, reply.supplier) == (digest(study), "north")
    town.identity.key.public_key().verify(
        reply.signature, b"skyglow-approval-v2\0" + sha256(digest(study).encode()).digest()
    )


def test_approving_or_refusing_twice_is_once(town, study, supplier):
    supplier.approve(digest(study))
    supplier.refuse(digest(study))
    supplier.refuse(digest(study))
    assert [entry.kind for entry in supplier.gate.ledger.entries("approval", "refusal")] == ["approval", "refusal"]


def test_two_suppliers_with_the_same_homes_never_send_the_same(town, study, monkeypatch):
    """Noise comes from the operating system: neither folder, study nor environment decides it."""
    monkeypatch.setenv("SKYGLOW_SEED", "1")
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    shares = []
    for _ in range(2):
        with town.open() as supplier:
            town.approve(supplier, study)
            shares.append(town.ask(supplier, town.request(study)))
        for file in town.folder.glob("ledger.sqlite*"):
            file.unlink()
    one, two = (np.frombuffer(share.blocks["gradient"], "<i8") for share in shares)
    assert (one != two).all()


def test_a_poisson_sample_is_one_word_a_home():
    secret = bytes(range(32))
    sample = poisson_sample(secret, 10_000, 0.3)
    np.testing.assert_array_equal(sample, poisson_sample(secret, 10_000, 0.3))
    np.testing.assert_array_equal(sample[:50], poisson_sample(secret, 50, 0.3))
    assert abs(sample.mean() - 0.3) < 0.03  # 6 deviations
    assert not (sample & ~poisson_sample(secret, 10_000, 0.31)).any()
    assert poisson_sample(secret, 5, 1.0).all()
    assert not poisson_sample(secret, 5, 1e-30).any()
    assert poisson_sample(secret, 0, 0.5).shape == (0,)


def test_every_round_has_a_sample_of_its_own(town, study, supplier):
    secrets = []
    for round_ in range(3):
        message = open_request(town.request(study, round_=round_), town.office.public_key)
        assert isinstance(message, RoundRequest)
        supplier.gate._charge(study, study.phases[0], message)
        secrets.append(supplier.gate.ledger.secret(gates.round_key(message)))
    assert len(set(secrets)) == 3
    assert {len(secret) for secret in secrets} == {32}


def test_typed_errors_of_the_gate_keep_their_types(town):
    with town.open() as supplier, pytest.raises(StudyError):
        supplier.gate.check(town.study(suppliers=[{"name": "south", "public_key": "0c" * 32}]))
    with town.open() as supplier, pytest.raises(ExpiredError):
        supplier.gate.check(town.study(expires="2020-01-01"))
    with town.open() as supplier, pytest.raises(PolicyError):
        supplier.gate.check(town.study(purpose="marketing"))
