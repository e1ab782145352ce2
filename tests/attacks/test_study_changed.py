# SPDX-License-Identifier: Apache-2.0
"""Attacks on what was approved: other parameters, other settings, other suppliers than the person agreed to."""

import msgspec
import pytest

from skyglow_shared import signing
from skyglow_shared.messages import Approval, RoundRequest, Share, StudyRequest
from skyglow_shared.signing import Identity
from skyglow_shared.study import canonical_bytes, digest


def changed(study, path, value):
    """A study with one field of its JSON replaced."""
    plain = msgspec.json.decode(canonical_bytes(study))
    *steps, last = path
    place = plain
    for step in steps:
        place = place[step]
    place[last] = value
    return msgspec.convert(plain, type=type(study))


CHANGES = {
    "epsilon": (("epsilon",), 2.6),
    "delta": (("delta",), 9e-7),
    "clip": (("phases", 0, "blocks", 0, "l2_bound"), 1e9),
    "noise": (("phases", 0, "blocks", 0, "noise_multiplier"), 5.0 - 1e-12),
    "rounds": (("phases", 0, "rounds"), 4),
    "sampling": (("phases", 0, "sampling_rate"), 0.51),
    "columns": (("models", 0, "positive_classes"), ["one_person_66_plus"]),
    "areas": (("areas", 2, 0), "E01009999"),
    "purpose": (("public_good",), "Another."),
    "expiry": (("expires",), "2126-12-30"),
    "roster": (("suppliers", 1, "public_key"), "0c" * 32),
}


@pytest.mark.slow
def test_flower_settings_after_approval(peer):
    """A Flower app signed by somebody the site trusts runs with epsilon, clip and columns that nobody signed."""
    found = peer("flower_run_config")
    assert found["succeeded"]
    assert found["used"]["epsilon"] == 1000.0


def test_parameters_changed_after_approval(town):
    """The office changes a parameter of an approved study and asks on: it is another study, which nobody approved."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        head = supplier.gate.ledger.head
        for name, (path, value) in CHANGES.items():
            other = changed(study, path, value)
            assert digest(other) != digest(study), name
            assert town.ask(supplier, town.request(other)).rule == "approval", name
        assert supplier.gate.ledger.head == head
        for name in ("delta", "clip"):
            other = changed(study, *CHANGES[name])
            assert town.ask(supplier, town.proposal(other)).rule in ("approval", "epsilon")
            assert town.ask(supplier, town.request(other)).rule == "approval"
        assert not supplier.gate.ledger.entries("charge")
        assert isinstance(town.ask(supplier, town.request(study)), Share)


def test_other_bytes_under_an_approved_signature(town):
    """The office's signature of the approved study on other bytes, and a study signed by a stranger: refused."""
    study = town.study()
    other = canonical_bytes(changed(study, *CHANGES["clip"]))
    signature = town.office.sign(signing.STUDY, canonical_bytes(study))
    stranger = Identity.generate().sign(signing.STUDY, other)
    with town.open() as supplier:
        town.approve(supplier, study)
        for given in (signature, stranger):
            reply = town.ask(supplier, town.sealed(StudyRequest(study=other, signature=given)))
            assert reply.rule == "SignatureError"
        assert len(supplier.gate.ledger.studies()) == 1


def test_the_same_study_in_other_bytes(town):
    """An approved study encoded otherwise, so that two digests stand for one plan: refused."""
    study = town.study()
    other = msgspec.json.encode(study)
    assert other != canonical_bytes(study)
    message = StudyRequest(study=other, signature=town.office.sign(signing.STUDY, other))
    with town.open() as supplier:
        town.approve(supplier, study)
        assert town.ask(supplier, town.sealed(message)).rule == "StudyError"


@pytest.mark.parametrize("setting", ["epsilon", "l2_bound", "noise_multiplier", "sampling_rate", "rounds", "override"])
def test_a_round_brings_no_settings(town, setting):
    """A request for a round that carries a setting of its own, as Flower's do: not a message we know."""
    study = town.study()
    plain = {"type": "RoundRequest", "study": digest(study), "phase": "training", "round": 0, "weights": {}}
    with town.open() as supplier:
        town.approve(supplier, study)
        reply = town.ask(supplier, town.signed_body(msgspec.msgpack.encode(plain | {setting: 1000.0})))
        assert reply.rule == "ProtocolError"
        assert not supplier.gate.ledger.entries("charge")


@pytest.mark.parametrize(("phase", "round_"), [("training", 3), ("training", -1), ("release", 1), ("calibration", 0)])
def test_rounds_beyond_the_plan(town, phase, round_):
    """A round more than was approved, or a phase that was not: refused, and nothing is charged."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        assert town.ask(supplier, town.request(study, phase, round_)).rule in ("order", "StudyError")
        assert not supplier.gate.ledger.entries("charge")


def test_an_approval_cannot_be_lifted_onto_another_study(town):
    """A supplier's approval names the digest it signs: under another study's it does not verify."""
    study = town.study()
    other = changed(study, *CHANGES["clip"])
    with town.open() as supplier:
        town.approve(supplier, study)
        approval = town.ask(supplier, town.proposal(study))
    assert isinstance(approval, Approval)
    key = town.identity.public_key
    signing.verify(key, signing.APPROVAL, digest(study).encode(), approval.signature, what="the approval")
    with pytest.raises(signing.SignatureError):
        signing.verify(key, signing.APPROVAL, digest(other).encode(), approval.signature, what="the approval")


@pytest.mark.parametrize(
    "roster",
    [
        [("north", None), ("ghost", None)],
        [("north", None), ("north", "0b" * 32)],
        [("north", None), ("south", "0b" * 32), ("ghost", "0b" * 32)],
    ],
    ids=["own key twice", "own name twice", "another's key twice"],
)
def test_sybil_suppliers(town, roster):
    """One supplier twice on a study's roster, by key or by name, so that a sum holds fewer than it says: refused."""
    own = town.identity.public_key
    study = town.study(suppliers=[{"name": name, "public_key": key or own} for name, key in roster])
    with town.open() as supplier:
        assert town.ask(supplier, town.proposal(study)).rule == "StudyError"
        assert not supplier.gate.ledger.studies()


def test_invented_suppliers(town):
    """A roster padded with keys of the office's own making: only those that the policy lists may stand there."""
    town.write_policy(rivals=["0b" * 32])
    own = {"name": "north", "public_key": town.identity.public_key}
    rival, ghost = ({"name": name, "public_key": key} for name, key in (("south", "0b" * 32), ("ghost", "0c" * 32)))
    with town.open() as supplier:
        assert town.ask(supplier, town.proposal(town.study(suppliers=[own, rival]))).rule == "approval"
        assert "rivals" in town.ask(supplier, town.proposal(town.study(suppliers=[own, rival, ghost]))).rule


def test_weights_that_are_not_the_models(town):
    """Parameters of the wrong length or of another model, or none: refused before anything is charged."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        for weights in ({"all_aged_66_plus": bytes(8 * 22)}, {"other": bytes(8 * 23)}, {"all_aged_66_plus": b""}):
            request = RoundRequest(study=digest(study), phase="training", round=0, weights=weights)
            assert town.ask(supplier, town.sealed(request)).code in (20, 33, 34, 40)
        assert not supplier.gate.ledger.entries("charge")
