# SPDX-License-Identifier: Apache-2.0
"""A study whose homes are allocated to rounds: real, rehearsed and audited, it has the same homes and charges."""

import shutil

import msgspec
import numpy as np
import pytest

from skyglow_server import audit as office_audit
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_server.federation import InProcess
from skyglow_shared import audit, audit_compare
from skyglow_shared.files import write_atomically
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import canonical_bytes, digest
from skyglow_simulations import experiment, suppliers
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder

EPOCHS, EPOCH = 2, 3


def allocating(study):
    """The study with two epochs of three rounds, in which homes walk a step by themselves."""
    training = study.phases[0]
    walking = tuple(msgspec.structs.replace(block, local_steps=2, local_rate=0.3) for block in training.blocks)
    training = msgspec.structs.replace(
        training, sampling="random_allocation", sampling_rate=1 / EPOCH, rounds=EPOCHS * EPOCH, blocks=walking
    )
    return msgspec.structs.replace(study, phases=(training, *study.phases[1:]))


@pytest.fixture(scope="module", params=["local", "aggregate"])
def ran(request, finished, tmp_path_factory):
    """The run's folder, the experiment, and what the study came to."""
    parameters = msgspec.structs.replace(finished.experiment.parameters, trust=request.param)
    study = allocating(experiment.trusting(finished.experiment.study, request.param))
    folder = Folder(tmp_path_factory.mktemp("allocated") / "run")
    for name in suppliers.NAMES:  # stores and panel are the finished run's; ledgers are new
        folder.supplier(name).mkdir(parents=True)
        for kept in ("store", "raw"):
            (folder.supplier(name) / kept).symlink_to(finished.experiment.folder.supplier(name) / kept)
    write_atomically(folder.study, canonical_bytes(study))
    one = experiment.begin(folder, parameters, lambda *_: None)
    one.introduce()
    one.approve()
    folder.office.mkdir()
    checkpoints = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
    with experiment.opened(folder, parameters) as held:
        federation = InProcess({name: supplier.handle for name, supplier in held.items()})
        outcome = Coordinator(study, one.office, federation, checkpoints, lambda *_: None).run()
        parties = [
            Party(name, supplier.homes(study), SeededRandomness(parameters.seed, name))
            for name, supplier in held.items()
        ]
    return one, outcome, parties


def test_a_rehearsal_draws_the_homes_that_the_gate_drew(ran):
    one, outcome, parties = ran
    [mine] = rehearse([one.study], parties)
    for name, block in outcome.sums.items():
        np.testing.assert_allclose(mine.sums[name].values, block.values, rtol=0, atol=1e-3 * block.deviation.min())
    for name, training in outcome.models.items():
        np.testing.assert_allclose(mine.models[name].final, training.final, rtol=1e-4)


def test_every_ledger_was_charged_what_the_plan_says_epoch_by_epoch(ran):
    one, _, _ = ran
    planned = study_cost(plan(one.study, all_round_numbers(one.study)), one.study.delta)
    for name in suppliers.NAMES:
        with suppliers.open_supplier(one.folder, name, one.parameters.seed) as supplier:
            events = supplier.gate.ledger.charges()[digest(one.study)]
            assert not supplier.gate.ledger.rows("SELECT epoch FROM allocations")
        assert [event.count for event in events[: EPOCHS * EPOCH]] == [1, 0, 0] * EPOCHS
        assert study_cost(events, one.study.delta) == planned


def test_the_books_agree(ran, tmp_path):
    one, _, _ = ran
    place = one.folder.office / "studies" / one.study.name
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(one.folder.study, place / "study.json")
    office_audit.export(one.folder.office, tmp_path / "office.jsonl")
    book = audit.read(tmp_path / "office.jsonl", audit.OFFICE)
    for name in suppliers.NAMES:
        with suppliers.open_supplier(one.folder, name, one.parameters.seed) as supplier:
            supplier.gate.ledger.export(tmp_path / f"{name}.jsonl")
        found = audit_compare.compare(audit.read(tmp_path / f"{name}.jsonl", audit.LEDGER), book, name)
        assert not found.problems
        [account] = found.accounts
        assert account.received == pytest.approx(account.charged)
