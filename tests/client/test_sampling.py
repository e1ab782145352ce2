# SPDX-License-Identifier: Apache-2.0
"""Random allocation and capped samples through the gate: what is charged, what is kept, what is told."""

import msgspec
import numpy as np
import pytest

from skyglow_client.gate import rounds
from skyglow_client.supplier import Supplier
from skyglow_shared.errors import LedgerError
from skyglow_shared.messages import Refusal, Share, open_request
from skyglow_shared.privacy.accounting import Event
from skyglow_shared.privacy.sampling import allocated
from skyglow_shared.study import Study


def allocating(study: Study, epochs: int = 2) -> Study:
    """The town's study with a training phase of so many epochs of two rounds."""
    training = msgspec.structs.replace(study.phases[0], sampling="random_allocation", rounds=2 * epochs)
    return msgspec.structs.replace(study, phases=(training, *study.phases[1:]))


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[set[bytes]]:
    """Which homes every block was computed on, as the gate takes them, in order."""
    seen: list[set[bytes]] = []
    real = rounds.noised

    def spy(study, block, homes, weights, stream):
        seen.append({row.tobytes() for row in homes.pseudonyms})
        return real(study, block, homes, weights, stream)

    monkeypatch.setattr("skyglow_client.gate.gate.noised", spy)
    return seen


def charges(supplier: Supplier) -> list[Event]:
    return [event for events in supplier.gate.ledger.charges().values() for event in events]


def kept(supplier: Supplier) -> list[tuple[str, bytes]]:
    return supplier.gate.ledger.rows("SELECT * FROM allocations")


def test_each_home_is_in_one_round_of_each_epoch_and_an_epoch_is_charged_once(town, samples):
    study = allocating(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        homes = {row.tobytes() for row in supplier.homes(study).pseudonyms}
        for round_ in range(4):
            assert isinstance(town.ask(supplier, town.request(study, "training", round_)), Share)
            assert len(kept(supplier)) == (round_ + 1) % 2, "an epoch's secret is erased with its last reply"
        assert [event.count for event in charges(supplier)] == [1, 0, 1, 0]
        assert {event.epoch for event in charges(supplier)} == {2}
    for first, second in (samples[:2], samples[2:]):
        assert first | second == homes
        assert not first & second
    assert samples[0] != samples[2], "epochs are drawn apart"


def test_a_restart_in_the_middle_of_an_epoch_keeps_the_allocation(town, samples):
    study = allocating(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study, "training", 0))
        ((_, secret),) = kept(supplier)
    with town.open() as supplier:
        town.ask(supplier, town.request(study, "training", 1))
        homes = supplier.homes(study).pseudonyms
    for round_ in (0, 1):
        drawn = {row.tobytes() for row in homes[allocated(secret, homes, 2) == round_]}
        assert samples[round_] == drawn


def test_a_crash_between_charge_and_seal_within_an_epoch_completes_the_same_rounds(town, samples, monkeypatch):
    study = allocating(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study, "training", 0))
        before = kept(supplier)
        with monkeypatch.context() as broken:
            broken.setattr(type(supplier.gate.ledger), "seal", lambda *_, **__: 1 / 0)
            assert isinstance(town.ask(supplier, town.request(study, "training", 1)), Refusal)
        assert kept(supplier) == before
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.request(study, "training", 1)), Share)
        assert len(charges(supplier)) == 2
        assert not kept(supplier)
    assert samples[1] == samples[2]
    assert not samples[0] & samples[1]


def test_an_epoch_whose_secret_is_gone_is_not_drawn_a_second_time(town):
    study = allocating(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study, "training", 0))
        supplier.gate.ledger.connection.execute("DELETE FROM allocations")
        refused = town.ask(supplier, town.request(study, "training", 1))
        assert isinstance(refused, Refusal)
        assert refused.rule == LedgerError.__name__
        assert len(charges(supplier)) == 1


def test_replies_of_an_epoch_are_of_one_size_however_homes_fall(town):
    study = allocating(town.study(), epochs=3)
    with town.open() as supplier:
        town.approve(supplier, study)
        sizes = {len(supplier.handle(town.request(study, "training", round_))) for round_ in range(6)}
    assert len(sizes) <= 2  # a round's number may take a byte more
    assert max(sizes) - min(sizes) <= 1


def test_an_audit_of_the_books_accepts_the_charges_of_epochs(town):
    study = allocating(town.study())
    with town.open() as supplier:
        town.approve(supplier, study)
        planned = rounds.sampler_for(study, study.phases[0])
        for round_ in range(4):
            message = open_request(town.request(study, "training", round_), town.office.public_key)
            town.ask(supplier, town.request(study, "training", round_))
            assert charges(supplier)[-1] == planned.event(begins=round_ % 2 == 0)
            assert rounds.epoch_over(message, planned) == (
                "" if round_ % 2 == 0 else rounds.epoch_key(message, planned)
            )


def test_a_sample_beyond_the_cap_is_cut_and_nothing_tells(town, samples):
    """The town's 24 homes under a cap of three in a study that says so: the same form, the same size, no refusal."""
    study = town.study()
    capped = msgspec.structs.replace(study.phases[0], largest_batch=3)
    cut = msgspec.structs.replace(study, supplier_households=24, phases=(capped, *study.phases[1:]))
    with town.open() as supplier:
        sampler = rounds.sampler_for(cut, capped)
        homes = supplier.homes(study)
        chosen = sampler.members(bytes(32), homes.pseudonyms, 0)
        assert chosen.sum() == 3
        assert not (chosen & ~rounds.sampler_for(study, study.phases[0]).members(bytes(32), homes.pseudonyms, 0)).any()
        allowed = msgspec.structs.replace(
            study, supplier_households=24, phases=(msgspec.structs.replace(capped, largest_batch=24), *study.phases[1:])
        )
        town.approve(supplier, allowed)
        with_cap = town.ask(supplier, town.request(allowed, "training", 0))
        town.approve(supplier, study)
        without = town.ask(supplier, town.request(study, "training", 0))
        assert isinstance(with_cap, Share)
        assert {name: len(block) for name, block in with_cap.blocks.items()} == {
            name: len(block) for name, block in without.blocks.items()
        }
    np.testing.assert_array_equal(chosen.shape, (len(homes),))
