# SPDX-License-Identifier: Apache-2.0
"""The books of a study whose shares were added under masks: both sides agree, and every lie in one of them is named."""

import json
import shutil
from pathlib import Path

import pytest

from skyglow_server import audit as office
from skyglow_server.checkpoints import Checkpoints
from skyglow_shared import audit
from skyglow_shared.command import main

NAME, OTHER = "north", "south"
NAMES = ("east", "north", "south", "up", "west")
ROUNDS, STEPS = 3, 5


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The books of a finished study, as both sides export them."""
    out = tmp_path_factory.mktemp("books")
    for name in NAMES:
        finished.suppliers[name].gate.ledger.export(out / f"{name}.jsonl")
    store = Checkpoints.in_file(finished.path / "checkpoints.sqlite")
    audit.write(out / "office.jsonl", office.book([finished.study], store))
    return out


@pytest.fixture
def books(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "books"))


def compare(books, name=NAME, *words):
    return main(["audit", "compare", str(books / f"{name}.jsonl"), str(books / "office.jsonl"), *words])


def rewrite(path, domain, change):
    """Change a book's entries and chain them anew, as whoever keeps it could."""
    entries = []
    for entry in audit.read(path, domain):
        kind, body = change(entry.kind, json.loads(entry.body)) or (None, None)
        if kind:
            entries.append(audit.link(domain, len(entries) + 1, kind, body, entries[-1].hash if entries else ""))
    audit.write(path, entries)


@pytest.mark.parametrize("name", NAMES)
def test_the_books_of_an_honest_study_agree(books, capsys, name):
    assert compare(books, name) == 0
    out = capsys.readouterr().out
    assert f"{ROUNDS * STEPS} replies agree, 0 in a round not yet complete" in out
    assert out.endswith("the books agree\n")


def test_no_share_is_in_the_offices_book(books):
    ledger = audit.read(books / f"{NAME}.jsonl", audit.LEDGER)
    sealed = [json.loads(entry.body) for entry in ledger if entry.kind == "seal"]
    shares = {body["reply"] for body in sealed if body["key"].endswith("/share")}
    received = {json.loads(entry.body).get("reply") for entry in audit.read(books / "office.jsonl", audit.OFFICE)}
    assert len(shares) == ROUNDS
    assert not shares & received


def at(body, step, round_=1):
    """Whether this is that step of that round of training, of the supplier whose ledger is compared."""
    place = body.get("supplier"), body.get("phase"), body.get("round"), body.get("step")
    return place == (NAME, "training", round_, step)


def key_of(body, ending):
    return "/training/1/0/" in body.get("key", "") and body["key"].endswith(ending)


#: Who lies, how, and what is said of it.
LIES = {
    "the office has another masked vector": (
        "office",
        lambda kind, body: (kind, body | {"reply": "0" * 64} if at(body, "mask") else body),
        "training/1/0/mask: the office has another reply than the ledger sealed",
    ),
    "the office leaves a masked vector out": (
        "office",
        lambda kind, body: None if at(body, "mask") else (kind, body),
        "it left, and the office does not show it",
    ),
    "the office claims an attempt that never was": (
        "office",
        lambda kind, body: (kind, body | {"attempt": 3} if at(body, "unmask") else body),
        "training/1/3/unmask: the office has a reply that the ledger does not record",
    ),
    "the office has the share itself": (
        "office",
        lambda kind, body: (kind, body | {"step": "share"} if at(body, "mask") else body),
        "training/1/0/share: the office has a share without its masks",
    ),
    "the office has one step twice": (
        "office",
        lambda kind, body: (kind, body | {"step": "mask"} if at(body, "confirm") else body),
        "training/1/0/mask: the office has it twice",
    ),
    "the supplier hides that it advertised": (
        "supplier",
        lambda kind, body: None if kind == "seal" and key_of(body, "/advertise") else (kind, body),
        "training/1/0/advertise: the office has another reply than the ledger sealed",
    ),
    "the supplier hides a charge": (
        "supplier",
        lambda kind, body: None if kind == "charge" and key_of(body, "/share") else (kind, body),
        "training/1/0/share: sealed without a charge",
    ),
    "the supplier charges less": (
        "supplier",
        lambda kind, body: (
            kind,
            body | {"event": body["event"] | {"noise_multiplier": 50.0}} if kind == "charge" else body,
        ),
        "training/0/0/share: charged otherwise than the signed study says",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_named(books, capsys, lie):
    who, change, words = LIES[lie]
    path, domain = (
        (books / "office.jsonl", audit.OFFICE) if who == "office" else (books / f"{NAME}.jsonl", audit.LEDGER)
    )
    rewrite(path, domain, change)
    assert compare(books) == 50
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DIFFERS")]
    assert any(words in line for line in told), told


def test_the_share_passed_off_as_a_step(books, capsys):
    """The office holds what never should have left, and calls it a masked vector: the ledger knows it as the share."""
    ledger = audit.read(books / f"{NAME}.jsonl", audit.LEDGER)
    sealed = [json.loads(entry.body) for entry in ledger if entry.kind == "seal"]
    (share,) = (body["reply"] for body in sealed if key_of(body, "/share"))
    change = {"reply": share}
    rewrite(
        books / "office.jsonl", audit.OFFICE, lambda kind, body: (kind, body | (change if at(body, "mask") else {}))
    )
    assert compare(books) == 50
    assert "training/1/0/mask: the office has another reply than the ledger sealed" in capsys.readouterr().out


def test_what_was_lost_on_the_way_is_no_difference(books, capsys):
    """A supplier's last step in an attempt may not have come: it left, the office lacks it, and neither lies."""
    rewrite(books / "office.jsonl", audit.OFFICE, lambda kind, body: None if at(body, "unmask") else (kind, body))
    assert compare(books) == 0
    assert f"{ROUNDS * STEPS - 1} replies agree" in capsys.readouterr().out


def test_another_suppliers_ledger_is_not_taken_for_this_ones(books, capsys):
    assert compare(books, OTHER, "--supplier", NAME) == 50
    assert capsys.readouterr().out.count("another reply than the ledger sealed") == ROUNDS * STEPS
