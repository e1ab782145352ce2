# SPDX-License-Identifier: Apache-2.0
"""Whole studies over a real SuperLink and SuperNodes, killed and resumed: the same estimates, nothing charged twice."""

import signal
import subprocess
import time

import pytest

from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_shared.study import digest
from skyglow_simulations import deployed, deployed_flower, experiment, run
from skyglow_simulations.run import Parameters


@pytest.fixture
def ready(tmp_path):
    """Makes a run whose study, with so many rounds of training, is approved; and the same run once more beside it."""
    pytest.importorskip("flwr", reason="needs the flower extra: make test-flower")

    def make(trust, rounds):
        template = tmp_path / "short.toml"
        text = experiment._template("southampton").read_text()
        template.write_text(text.replace("rounds = 40", f"rounds = {rounds}"))
        parameters = Parameters(study=str(template), scale=0.02, seed=7, workers=1, trust=trust)
        done = deployed.begin(run.start(tmp_path / "run", parameters), parameters, lambda *_: None)
        done.prepare()
        done.approve()
        return done, deployed.twin(done)

    return make


def completed(done):
    """How many rounds the office holds."""
    store, study = Checkpoints.in_file(done.folder.office / "checkpoints.sqlite"), done.study
    rounds = [(phase.name, number) for phase in study.phases for number in range(phase.rounds)]
    return sum(store.load(Place(digest(study), *place)) is not None for place in rounds)


def charged(done):
    """How many charges each supplier's ledger holds for the study; all of them are verified."""
    found = {}
    with experiment.opened(done.folder, done.parameters) as held:
        for name in deployed.NAMES:
            held[name].gate.ledger.verify()
            found[name] = len(held[name].gate.ledger.charges()[digest(done.study)])
    return found


def ended(done, office):
    try:
        code = office.wait(500)
    except subprocess.TimeoutExpired:
        office.kill()
        code = office.wait()
    assert code == 0, (done.folder.path / "logs" / "office-.log").read_text()[-2000:]


@pytest.mark.slow
def test_a_study_of_masked_shares_over_flower_is_the_study_in_one_process(ready):
    done, twin = ready("aggregate", rounds=1)
    deployment = deployed_flower.enrol(done.folder)
    with deployed_flower.started(deployment, "node", "site") as running:
        running["office", ""] = deployment.start("office")
        ended(done, running["office", ""])
    deployed.compare(done, twin)
    assert set(charged(done).values()) == {sum(phase.rounds for phase in done.study.phases)}


@pytest.mark.slow
def test_a_study_whose_supernode_superlink_and_office_are_killed_is_the_study_without(ready):
    done, twin = ready("local", rounds=4)
    deployment = deployed_flower.enrol(done.folder)
    with deployed_flower.started(deployment, "node", "site") as running:
        running["office", ""] = deployment.start("office")
        for mark, *who in ((1, "node", "north"), (2, "superlink", ""), (4, "office", "")):
            deadline = time.monotonic() + 240
            while completed(done) < mark:
                assert running["office", ""].poll() is None, "the office ended too early"
                assert time.monotonic() < deadline, "it took too long"
                time.sleep(0.05)
            running[tuple(who)].kill()
            assert running[tuple(who)].wait() == -signal.SIGKILL
            deployment.restart(running, *who)
        ended(done, running["office", ""])
    deployed.compare(done, twin)
    assert set(charged(done).values()) == {sum(phase.rounds for phase in done.study.phases)}
