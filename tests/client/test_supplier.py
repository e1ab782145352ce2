# SPDX-License-Identifier: Apache-2.0
"""One way in and out: a whole study through a supplier, and what it says when it says no."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.contributions import contributions
from skyglow_shared import signing
from skyglow_shared.errors import DataError, FormatError, LedgerBusyError
from skyglow_shared.layout import block_shape
from skyglow_shared.messages import (
    Approval,
    Envelope,
    Refusal,
    RoundRequest,
    Share,
    decode_integers,
    seal_request,
)
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import add_noise, grouped_sum
from skyglow_shared.privacy.sampling import poisson_sample
from skyglow_shared.signing import Identity
from skyglow_shared.study import digest


def test_a_whole_study_from_proposal_to_release(town):
    study = town.study()
    with town.open() as supplier:
        refusal = town.ask(supplier, town.proposal(study))
        assert isinstance(refusal, Refusal) and (refusal.code, refusal.rule) == (33, "approval")
        supplier.approve(digest(study))
        assert isinstance(town.ask(supplier, town.proposal(study)), Approval)
        for phase in study.phases:
            for round_ in range(phase.rounds):
                share = town.ask(supplier, town.request(study, phase.name, round_))
                assert isinstance(share, Share), share
                assert list(share.blocks) == [block.name for block in phase.blocks]
                for block in phase.blocks:
                    numbers = decode_integers(share.blocks[block.name], block_shape(study, block))
                    assert np.abs(numbers).max() > 0
        assert supplier.gate.ledger.spent(study.delta).epsilon_upper == pytest.approx(
            supplier.gate.check(study).requested.epsilon_upper
        )


class Known:
    """Randomness a test can repeat: a stream is a function of its label."""

    def __init__(self):
        self.labels = []

    def stream(self, *label):
        self.labels.append(label)
        return self.of(*label)

    @staticmethod
    def of(*label):
        return ByteStream(hashlib.sha256(repr(label).encode()).digest())


def test_a_share_is_the_sampled_homes_sum_and_noise_of_its_own(town):
    """Number by number: exact sum over the Poisson sample plus one stream of noise a block, each stream used once."""
    study, known = town.study(), Known()
    weights = {"all_aged_66_plus": np.zeros(23)}
    with town.open(randomness=known) as supplier:
        town.approve(supplier, study)
        for phase in study.phases:
            for round_ in range(phase.rounds):
                share = town.ask(supplier, town.request(study, phase.name, round_))
                label = (digest(study), phase.name, round_, 0)
                homes = supplier.homes(study)
                secret = known.of("sample", *label).read(32)
                chosen = homes.take(poisson_sample(secret, len(homes), phase.sampling_rate))
                assert (len(chosen) < len(homes)) == (phase.sampling_rate < 1)
                for block in phase.blocks:
                    shape = block_shape(study, block)
                    parts = contributions(study, block, chosen, weights)
                    exact = grouped_sum(parts.vectors, parts.groups, shape[0], block)
                    noised = add_noise(exact, known.of("noise", *label, block.name))
                    np.testing.assert_array_equal(decode_integers(share.blocks[block.name], shape), noised)
    assert len(set(known.labels)) == len(known.labels)


def test_a_supplier_with_no_homes_at_all_is_indistinguishable_in_form(town):
    """No panel, one panel home, or no home in the study's areas: the same blocks of the same size, all noise."""
    study = town.study()
    requests = [town.request(study, phase.name, round_) for phase in study.phases for round_ in range(phase.rounds)]
    with town.open() as supplier:
        town.approve(supplier, study)
        sizes = [len(supplier.handle(request)) for request in requests]
    for spoil in (no_panel, one_panel_home, other_areas):
        for file in town.folder.glob("ledger.sqlite*"):
            file.unlink()
        spoil(town)
        with town.open() as supplier:
            town.approve(supplier, study)
            replies = [supplier.handle(request) for request in requests]
        assert [len(reply) for reply in replies] == sizes, spoil.__name__
        for reply in replies:
            for content in town.read(reply).blocks.values():
                assert (np.frombuffer(content, "<i8") != 0).any()


def no_panel(town):
    for name in ("panel.csv", "diaries.csv"):
        (town.folder / "raw" / name).unlink()


def one_panel_home(town):
    text = f"meter_id,composition\n{town.raw.meter(3)},other\n"
    (town.folder / "raw" / "panel.csv").write_text(text)


def other_areas(town):
    town.raw.postcodes = [(postcode, "E01099999") for postcode, _ in town.raw.postcodes]
    town.raw.ingest()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda message: b"", 40),
        (lambda message: b"\xc1" * 100, 40),
        (lambda message: message[:-1], 40),
        (lambda message: message + b"\0", 40),
        (lambda message: message[: len(message) // 2], 40),
        (lambda message: bytes([message[0], 9]) + message[2:], 40),
        (lambda message: message[:-1] + bytes([message[-1] ^ 1]), 21),
        (lambda message: bytes(64 * 1024 * 1024 + 1), 40),
        (lambda message: b"\x91" * 100_000, 40),
    ],
)
def test_bytes_that_are_no_request_get_a_signed_refusal(town, spoil, code):
    with town.open() as supplier:
        reply = town.ask(supplier, spoil(town.request(town.study())))
    assert isinstance(reply, Refusal)
    assert reply.code == code


def test_only_the_pinned_office_is_heard(town):
    stranger = Identity.generate()
    message = seal_request(RoundRequest(study="0" * 64, phase="training", round=0), stranger)
    with town.open() as supplier:
        assert town.ask(supplier, message).code == 21


def test_a_request_cannot_bring_randomness_or_anything_else_unknown(town):
    body = msgspec.msgpack.encode(
        {"type": "RoundRequest", "study": "0" * 64, "phase": "training", "round": 0, "seed": 1}
    )
    envelope = Envelope(1, "office", body, town.office.sign(signing.REQUEST, body))
    with town.open() as supplier:
        assert town.ask(supplier, msgspec.msgpack.encode(envelope)).code == 40


CANARY = "4.815162342"


@pytest.mark.parametrize("error", [ValueError, DataError, KeyError, MemoryError, UnicodeError, FormatError])
def test_no_data_in_refusals(town, monkeypatch, caplog, capfd, error):
    """Whatever an error says, and whoever raised it: what is sent depends on its kind alone."""
    study = town.study()

    def fail(*arguments):
        canary = f"{CANARY} kWh at meter {town.raw.meter(3)}"
        raise error(canary)

    with town.open() as supplier:
        town.approve(supplier, study)
        monkeypatch.setattr("skyglow_client.supplier.homes_of", fail)
        reply = town.ask(supplier, town.request(study))
    assert isinstance(reply, Refusal)
    assert reply.code == {DataError: 10, FormatError: 10, MemoryError: 36}.get(error, 70)
    assert CANARY not in reply.message + reply.rule
    printed = "".join(capfd.readouterr())
    assert CANARY not in printed
    assert issubclass(error, DataError) or CANARY not in caplog.text
    assert "Traceback" not in caplog.text + printed


def test_the_suppliers_real_errors_carry_no_data_either(town, caplog):
    """Damaged files of its own: the refusal says that its data are not ready; its own log names the file."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        (town.folder / "raw" / "panel.csv").write_text(f"meter_id,{CANARY}\n{town.raw.meter(3)},other\n")
        reply = town.ask(supplier, town.request(study))
        assert (reply.code, reply.message) == (10, "the supplier's data are not ready; its own log says why")
        assert "panel.csv" in caplog.text
        assert CANARY not in caplog.text
        assert town.raw.meter(3) not in caplog.text
        one_panel_home(town)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        assert len(supplier.gate.ledger.entries("charge")) == 1


@pytest.mark.parametrize("name", ["homes.parquet", "kwh.npy", "valid.npy"])
def test_a_damaged_store_is_never_summed(town, name):
    study = town.study()
    (file,) = (town.folder / "store").glob(f"data-*/{name}")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with town.open() as supplier:
        town.approve(supplier, study)
        assert town.ask(supplier, town.request(study)).code == 10


def test_a_store_of_another_period_is_never_summed(town):
    study = town.study(period={"start": "2026-03-16", "days": 14})
    with town.open() as supplier:
        town.approve(supplier, study)
        assert town.ask(supplier, town.request(study)).code == 10


def test_one_request_at_a_time(town):
    """Links may be threaded: the same request from many threads is charged once and answered alike."""
    study = town.study()
    with town.open() as supplier, ThreadPoolExecutor(4) as threads:
        town.approve(supplier, study)
        replies = set(threads.map(supplier.handle, [town.request(study)] * 8))
        assert len(replies) == 1
        assert len(supplier.gate.ledger.entries("charge")) == 1


def test_an_open_supplier_holds_its_ledger(town):
    with town.open(), pytest.raises(LedgerBusyError):
        town.open()
    town.open().close()


def test_a_folder_without_keys_is_refused(town):
    (town.folder / "identity.key").unlink()
    with pytest.raises(FormatError, match="backup"):
        town.open()
    assert not list(town.folder.glob("ledger*")), "nothing half-made"


def test_a_supplier_shows_no_home(town):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study))
        assert "array" not in repr(supplier)
