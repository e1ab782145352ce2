# SPDX-License-Identifier: Apache-2.0
"""Both sides' books of one whole run: they agree, anyone can see it, and every lie in one of them is named."""

import json
import shutil
from pathlib import Path

import pytest

from skyglow_server import audit as office
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_shared import audit, audit_compare
from skyglow_shared.command import main
from skyglow_shared.errors import ProtocolError
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import digest
from skyglow_simulations.suppliers import NAMES


@pytest.fixture(scope="module")
def exported(unbroken, tmp_path_factory):
    """The exported books of a finished run: one a supplier, and the office's."""
    run, out = tmp_path_factory.mktemp("copy") / "run", tmp_path_factory.mktemp("books")
    shutil.copytree(unbroken, run)
    for name in NAMES:
        words = ["supplier", "ledger", "export", str(out / f"{name}.jsonl")]
        assert main([*words, "--folder", str(run / "suppliers" / name)]) == 0
    study = run / "office" / "studies" / "hamlet" / "study.json"
    study.parent.mkdir(parents=True)
    shutil.copy(run / "study.json", study)
    assert main(["office", "audit", "export", str(run / "office"), str(out / "office.jsonl")]) == 0
    return out


@pytest.fixture
def books(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "books"))


def compare(books, name=NAMES[0], *words):
    return main(["audit", "compare", str(books / f"{name}.jsonl"), str(books / "office.jsonl"), *words])


@pytest.mark.parametrize("name", NAMES)
def test_the_books_of_an_honest_run_agree(books, capsys, name):
    assert compare(books, name) == 0
    out = capsys.readouterr().out
    assert f"supplier   {name}" in out
    assert "6 replies agree, 0 in a round not yet complete" in out
    assert out.endswith("the books agree\n")


def test_the_replay_gives_the_epsilon_that_the_supplier_shows(unbroken, books, capsys):
    study = decode_study((unbroken / "study.json").read_bytes())
    found = audit_compare.compare(
        audit.read(books / f"{NAMES[0]}.jsonl", audit.LEDGER),
        audit.read(books / "office.jsonl", audit.OFFICE),
        NAMES[0],
    )
    (account,) = found.accounts
    assert account.charged == account.received > 0
    run = Path(shutil.copytree(unbroken, books / "run"))
    assert main(["supplier", "ledger", "show", "--folder", str(run / "suppliers" / NAMES[0])]) == 0
    assert f"epsilon {account.charged:.3f} at delta {study.delta:g}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_books_of_a_run_whose_shares_were_added_under_masks_agree(skyglow, hamlet, tmp_path, capsys):
    """The office's book holds five replies a round and supplier, and no share; what lies are named is tested apart."""
    run = tmp_path / "run"
    done = skyglow.run(*hamlet(run, trust="aggregate"))
    assert done.returncode == 0, done.stderr
    study = run / "office" / "studies" / "hamlet" / "study.json"
    study.parent.mkdir(parents=True)
    shutil.copy(run / "study.json", study)
    assert main(["office", "audit", "export", str(run / "office"), str(tmp_path / "office.jsonl")]) == 0
    for name in NAMES:
        words = ["supplier", "ledger", "export", str(tmp_path / f"{name}.jsonl")]
        assert main([*words, "--folder", str(run / "suppliers" / name)]) == 0
        capsys.readouterr()
        assert compare(tmp_path, name) == 0
        assert "30 replies agree, 0 in a round not yet complete" in capsys.readouterr().out


def rewrite(path, domain, change):
    """Change a book's entries and chain them anew, as whoever keeps it could."""
    entries = []
    for entry in audit.read(path, domain):
        kind, body = change(entry.kind, json.loads(entry.body)) or (None, None)
        if kind:
            entries.append(audit.link(domain, len(entries) + 1, kind, body, entries[-1].hash if entries else ""))
    audit.write(path, entries)


def mine(body, **place):
    return body.get("supplier") == NAMES[0] and all(body[name] == value for name, value in place.items())


def at(body, place):
    return body.get("key", "").endswith(place)


#: Who lies, how, and what is said of it.
LIES = {
    "the office has another reply": (
        "office",
        lambda kind, body: (kind, body | {"reply": "0" * 64} if mine(body, phase="training", round=2) else body),
        "training/2/0/share: the office has another reply than the ledger sealed",
    ),
    "the office leaves a reply out": (
        "office",
        lambda kind, body: None if mine(body, phase="training", round=1) else (kind, body),
        "training/1/0/share: it left, and the office does not show it",
    ),
    "the office claims an attempt that never was": (
        "office",
        lambda kind, body: (kind, body | {"attempt": 1} if mine(body, phase="training", round=0) else body),
        "training/0/1/share: the office has a reply that the ledger does not record",
    ),
    "the office forgets the study": (
        "office",
        lambda kind, body: None if kind == "study" else (kind, body),
        "charged for a study that the office's book does not hold",
    ),
    "the supplier hides a reply": (
        "supplier",
        lambda kind, body: None if at(body, "/training/3/0/share") else (kind, body),
        "training/3/0/share: the office has a reply that the ledger does not record",
    ),
    "the supplier hides a charge": (
        "supplier",
        lambda kind, body: None if kind == "charge" and at(body, "/training/3/0/share") else (kind, body),
        "training/3/0/share: sealed without a charge",
    ),
    "the supplier charges less": (
        "supplier",
        lambda kind, body: (
            kind,
            body | {"event": body["event"] | {"noise_multiplier": 50.0}} if kind == "charge" else body,
        ),
        "training/0/0/share: charged otherwise than the signed study says",
    ),
    "the supplier charges twice": (
        "supplier",
        lambda kind, body: (kind, json.loads(json.dumps(body).replace("/training/1/", "/training/0/"))),
        "training/0/0/share: charged twice",
    ),
    "the supplier never approved": (
        "supplier",
        lambda kind, body: None if kind == "approval" else (kind, body),
        "the office has an approval that the ledger does not record",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_named(books, capsys, lie):
    who, change, words = LIES[lie]
    path, domain = (
        (books / "office.jsonl", audit.OFFICE) if who == "office" else (books / f"{NAMES[0]}.jsonl", audit.LEDGER)
    )
    rewrite(path, domain, change)
    assert compare(books) == 50
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DIFFERS")]
    assert any(words in line for line in told), told


def test_a_charge_that_was_refunded_shows_in_the_epsilon(books, capsys):
    rewrite(
        books / f"{NAMES[0]}.jsonl",
        audit.LEDGER,
        lambda kind, body: None if at(body, "/release/0/0/share") else (kind, body),
    )
    assert compare(books) == 50
    assert "what the office received costs epsilon" in capsys.readouterr().out


def test_a_round_under_way_is_no_difference(books, capsys):
    last = audit.read(books / "office.jsonl", audit.OFFICE)[-1]
    place = {name: json.loads(last.body)[name] for name in ("phase", "round")}
    rewrite(
        books / "office.jsonl",
        audit.OFFICE,
        lambda kind, body: None if kind == "reply" and mine(body, **place) else (kind, body),
    )
    assert compare(books) == 0
    assert "5 replies agree, 1 in a round not yet complete" in capsys.readouterr().out


def test_another_suppliers_ledger_is_not_taken_for_this_ones(books, capsys):
    assert compare(books, NAMES[1], "--supplier", NAMES[0]) == 50
    assert capsys.readouterr().out.count("another reply than the ledger sealed") == 6


def test_nobodys_ledger(books):
    rewrite(
        books / f"{NAMES[0]}.jsonl",
        audit.LEDGER,
        lambda kind, body: (kind, body | {"reply": "0" * 64} if kind == "seal" else body),
    )
    assert compare(books) == 11
    assert compare(books, NAMES[0], "--supplier", NAMES[0]) == 50


def test_a_changed_file_is_not_compared(books):
    path = books / "office.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":2', 1))
    assert compare(books) == 50


def test_the_office_reads_what_it_hands_out(unbroken, tmp_path):
    """A reply in the checkpoints that its supplier did not sign is not listed as if it had."""
    study = decode_study((unbroken / "study.json").read_bytes())
    stored = Checkpoints.in_file(Path(shutil.copytree(unbroken / "office", tmp_path / "office")) / "checkpoints.sqlite")
    identity = digest(study)
    replies = stored.load(Place(identity, "training", 0))
    forged = {**replies, NAMES[0]: replies[NAMES[1]]}

    class Forged:
        places = staticmethod(stored.places)

        @staticmethod
        def load(place):
            return forged if place == (identity, "training", 0, 0, "share") else stored.load(place)

    with pytest.raises(ProtocolError, match="names another sender"):
        office.book([study], Forged())
    (only,) = office.book([study], None)
    assert json.loads(only.body)["study"] == identity
