# SPDX-License-Identifier: Apache-2.0
"""What other processes and people change while a supplier serves: its policy, its store, its ledger's place."""

import datetime

import pytest

from skyglow_client import handover
from skyglow_client import supplier as suppliers
from skyglow_client.gate import proposals
from skyglow_client.gate.ledger import open_ledger
from skyglow_shared import command
from skyglow_shared.errors import FormatError, LedgerBusyError, LedgerError
from skyglow_shared.messages import Approval, Refusal, Share
from skyglow_shared.study import canonical_bytes, digest


def test_a_stricter_policy_holds_from_the_next_request_on(town):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        town.write_policy(most_rounds=1)
        refusal = town.ask(supplier, town.request(study, round_=1))
        assert isinstance(refusal, Refusal) and (refusal.code, refusal.rule) == (31, "most_rounds")
        town.write_policy(epsilon=0.1)
        refusal = town.ask(supplier, town.request(study, round_=1))
        assert isinstance(refusal, Refusal) and (refusal.code, refusal.rule) == (32, "epsilon")
        town.write_policy()
        assert isinstance(town.ask(supplier, town.request(study, round_=1)), Share)


@pytest.mark.parametrize("content", [b"", b"epsilon = ", b"a = " + b"[" * 10_000, b"a = " + b"9" * 5_000, b"\xff"])
def test_nothing_is_answered_under_a_policy_that_cannot_be_read(town, content):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        (town.folder / "policy.toml").write_bytes(content)
        assert town.ask(supplier, town.request(study)).code == 10
        assert town.ask(supplier, town.proposal(study)).code == 10
        with pytest.raises(FormatError, match="not a policy"):
            supplier.approve("ab" * 32)
        assert not supplier.gate.ledger.entries("charge")
        town.write_policy()
        assert isinstance(town.ask(supplier, town.proposal(study)), Approval)


def test_a_store_that_is_replaced_while_it_is_read_is_never_summed(town, monkeypatch):
    """Else the readings of one home could stand in two rows: in its own, and in that of another home's answers."""
    study = town.study()
    real = suppliers.load_panel

    def meanwhile(*arguments):
        town.raw.set(0, 3, {"hh05": 0.9})
        town.raw.ingest()
        return real(*arguments)

    with town.open() as supplier:
        town.approve(supplier, study)
        with monkeypatch.context() as patch:
            patch.setattr(suppliers, "load_panel", meanwhile)
            assert town.ask(supplier, town.request(study)).code == 10
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        assert len(supplier.gate.ledger.entries("charge")) == 1


@pytest.mark.parametrize("limit", [{"MOST": 3}, {"MOST_BYTES": 10_000}])
def test_an_office_cannot_fill_the_disk_with_what_it_asks_for(town, monkeypatch, limit):
    for name, most in limit.items():
        monkeypatch.setattr(proposals, name, most)
    studies = [town.study(title=f"Study {number}") for number in range(5)]
    assert 10_000 / 4 < len(canonical_bytes(studies[0])) < 10_000 / 3
    with town.open() as supplier:
        kept = [town.ask(supplier, town.proposal(study)).message.count("no other is kept") == 0 for study in studies]
        assert kept == [True, True, True, False, False]
        assert len(supplier.gate.ledger.studies()) == 3
        assert "awaiting approval" in town.ask(supplier, town.proposal(studies[0])).message, "what is kept is heard"
        supplier.refuse(digest(studies[0]))
        assert "awaiting approval" in town.ask(supplier, town.proposal(studies[3])).message
        supplier.approve(digest(studies[1]))
        assert isinstance(town.ask(supplier, town.request(studies[1])), Share)


def test_a_pseudonym_key_that_is_lost_is_never_made_anew(town, capsys):
    """With another key no home of the store would be in the panel, and nobody would know."""
    study = town.study()
    (town.folder / "pseudonym.key").unlink()
    words = ["--start", "2026-03-09", "--days", "28", "--postcodes", str(town.folder / "postcodes.csv")]
    with town.open() as supplier:
        town.approve(supplier, study)
        assert town.ask(supplier, town.request(study)).code == 10
    assert command.main(["supplier", "load", *words, "--folder", str(town.folder)]) == 11
    assert "backup" in capsys.readouterr().err
    assert not (town.folder / "pseudonym.key").exists()


def test_a_ledger_under_two_names_has_one_holder(tmp_path):
    for folder in ("north", "other"):
        (tmp_path / folder).mkdir()
    real, linked = tmp_path / "north" / "ledger.sqlite", tmp_path / "other" / "ledger.sqlite"
    linked.symlink_to(real)
    open_ledger(linked).close()
    assert real.is_file() and linked.is_symlink()
    ledger = open_ledger(real)
    with pytest.raises(LedgerBusyError):
        open_ledger(linked)
    ledger.close()


def test_an_export_never_takes_the_ledgers_place(town):
    with town.open() as supplier:
        ledger = supplier.gate.ledger
        before = (town.folder / "ledger.sqlite").read_bytes()
        (town.folder / "chain.jsonl").symlink_to(town.folder / "ledger.sqlite.lock")
        for name in ("ledger.sqlite", "ledger.sqlite.lock", "ledger.sqlite-wal", "chain.jsonl"):
            with pytest.raises(FormatError, match="another name"):
                ledger.export(town.folder / name)
        assert (town.folder / "ledger.sqlite").read_bytes() == before
        ledger.accept_clock(datetime.datetime.now(datetime.UTC).date())
    town.open().close()


def test_a_ledger_that_cannot_be_opened_again_ends_the_serving(town, monkeypatch):
    """Whatever the system says, somebody hears of it: a service that goes on without a ledger answers nobody."""
    served = handover.threading.Event()

    def away(*_):
        raise PermissionError(13, "the folder is not ours any more")

    with (
        pytest.raises(PermissionError, match="not ours"),
        town.open() as supplier,
        handover.lending(supplier, served),
    ):
        with handover.opened(town.folder, town.open):
            monkeypatch.setattr(suppliers, "open_ledger", away)
        assert served.wait(5)
        with pytest.raises(LedgerError):
            supplier.gate.ledger.verify()
