# SPDX-License-Identifier: Apache-2.0
"""Attacks by asking wrongly: what a refusal, an error, a reply's size or form says about homes, which is nothing."""

import shutil

import msgspec
import numpy as np
import pytest

from skyglow_shared.messages import Refusal, Reply, RoundRequest, Share, StepRequest, encode_weights, open_envelope
from skyglow_shared.study import digest


def bodies(town, requests, study):
    """What a supplier answers before it signs."""
    with town.open() as supplier:
        town.approve(supplier, study)
        return [open_envelope(supplier.handle(request)).body for request in requests]


def spoilt_requests(town, study):
    overflow = {"all_aged_66_plus": encode_weights(np.full(23, 1e308))}
    steps = StepRequest(study=digest(study), phase="training", round=0, attempt=0, content=b"")
    return [
        town.request(study, "training", 2),
        town.request(study, "training", 99),
        town.request(study, "nothing"),
        town.request(study, attempt=1),
        town.request(study, step="advertise"),
        town.request(study, weights={}),
        town.request(study, weights={"all_aged_66_plus": bytes(7)}),
        town.request(study, weights={"all_aged_66_plus": b"\xff" * 184}),
        town.request(town.study(name="other"), weights=overflow),
        town.proposal(town.study(name="other")),
        town.proposal(town.study(purpose="marketing")),
        town.proposal(town.study(period={"start": "2026-02-02", "days": 60})),
        town.sealed(steps),
        town.sealed(RoundRequest(study="0" * 64, phase="training", round=0)),
        town.signed_body(b"\xc1"),
        b"",
    ]


def test_refusals_say_nothing_of_the_homes(town, small_town):
    """Every way to be refused, asked of a supplier of 24 homes and of one of seven: the same bytes before signing."""
    study = town.study()
    requests = spoilt_requests(town, study)
    large, small = (bodies(each, requests, study) for each in (town, small_town))
    assert large == small
    said = [msgspec.msgpack.decode(body, type=Reply) for body in large]
    spoken = [reply.message for reply in said if isinstance(reply, Refusal)]
    assert spoken
    assert not any("24" in words or "blocks" in words for words in spoken if "other" not in words)


def test_failures_say_nothing_of_the_homes(town, small_town):
    """Files that are missing or damaged, asked in the middle of a round: the same bytes from both suppliers."""
    study = town.study()
    answers = []
    for each in (town, small_town):
        with each.open() as supplier:
            each.approve(supplier, study)
            (each.folder / "raw" / "panel.csv").write_text("meter_id,nothing\n2000000000037,other\n")
            damaged = open_envelope(supplier.handle(each.request(study))).body
            next((each.folder / "store").glob("data-*/kwh.npy")).write_bytes(b"\x93NUMPY")
            answers.append((damaged, open_envelope(supplier.handle(each.request(study))).body))
    assert answers[0] == answers[1]


def test_shares_have_one_size_and_the_ledger_one_shape(town, small_town):
    """Shares of both suppliers are as long, and their ledgers hold the same entries but for times and digests."""
    study = town.study()
    found = []
    for each in (town, small_town):
        with each.open() as supplier:
            each.approve(supplier, study)
            shares = [each.ask(supplier, each.request(study, "training", n)) for n in range(3)]
            assert all(isinstance(share, Share) for share in shares)
            sizes = [{name: len(content) for name, content in share.blocks.items()} for share in shares]
            charges = [entry.body for entry in supplier.gate.ledger.entries("charge")]
            found.append((sizes, charges))
    assert found[0] == found[1]


def test_one_home_more_or_less_changes_no_refusal_and_no_size(town, neighbour_town):
    """Two suppliers that differ in one home: the same refusals byte for byte, approvals and shares of the same size."""
    study = town.study()
    found = []
    for each in (town, neighbour_town):
        with each.open() as supplier:
            replies = [supplier.handle(each.proposal(study))]
            supplier.approve(digest(study))
            replies += [supplier.handle(each.proposal(study))]
            refusals = [supplier.handle(request) for request in spoilt_requests(each, study)]
            assert not any(isinstance(each.read(reply), Share) for reply in refusals)
            replies += [supplier.handle(each.request(study, "training", n)) for n in range(3)]
            replies += [supplier.handle(each.request(study, "release"))]
            found.append(([len(reply) for reply in replies], [open_envelope(reply).body for reply in refusals]))
    assert found[0] == found[1]


def test_what_is_refused_never_reaches_the_store(town):
    """So its time cannot tell how many homes there are: from a supplier without any store, the same refusals."""
    study = town.study()
    requests = spoilt_requests(town, study)
    before = bodies(town, requests, study)
    for folder in ("store", "raw"):
        shutil.rmtree(town.folder / folder)
    with town.open() as supplier:
        assert [open_envelope(supplier.handle(request)).body for request in requests] == before
        assert town.ask(supplier, town.request(study)).rule == "DataError"  # what is not refused does need it


def test_what_was_answered_is_sent_again_without_the_store(town):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        first = supplier.handle(town.request(study))
    for folder in ("store", "raw"):
        shutil.rmtree(town.folder / folder)
    with town.open() as supplier:
        assert supplier.handle(town.request(study)) == first


@pytest.mark.parametrize("homes", ["24", "seven"])
def test_nothing_is_logged_or_printed_about_homes(town, small_town, caplog, capfd, homes):
    """What a supplier logs and prints in a round and in refusals names no count, no meter and no reading."""
    each = town if homes == "24" else small_town
    study = each.study()
    with caplog.at_level("DEBUG", logger="skyglow_client"):
        bodies(each, [each.request(study), *spoilt_requests(each, study)], study)
    text = caplog.text + "".join(capfd.readouterr())
    assert "homes" not in text.replace("least_homes", "")
    assert "20000000000" not in text
    assert "kwh" not in text
