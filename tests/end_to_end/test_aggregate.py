# SPDX-License-Identifier: Apache-2.0
"""Trust mode `aggregate` from raw files to sums: the office learns sums alone, whoever drops out or is killed."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import APPROVALS, Coordinator
from skyglow_server.federation import InProcess
from skyglow_server.ledger_heads import advertised
from skyglow_shared.aggregation import joined
from skyglow_shared.errors import AttemptError, RollbackError
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.messages import Refusal, RoundRequest, Share, StepReply, encode_weights, open_reply, seal_request
from skyglow_shared.privacy.release import noise_deviation, step_size
from skyglow_shared.privacy.spare import deviation_steps, spare_noise
from skyglow_shared.study import digest
from skyglow_simulations import experiment as experiments
from skyglow_simulations import run as runs
from skyglow_simulations.suppliers import NAMES

STEPS = ("advertise", "share_keys", "mask", "confirm", "unmask")


@pytest.fixture(scope="module")
def ready(approve, tmp_path_factory):
    """A run in trust mode `aggregate` of which no round has begun; copy it before use."""
    return approve(tmp_path_factory.mktemp("ready") / "run", "aggregate")


@pytest.fixture
def office(ready, tmp_path):
    return Office(Path(shutil.copytree(ready, tmp_path / "run")))


class Office:
    """The office of a run whose study is approved; `lost` says who does not hear, or is not heard, when."""

    def __init__(self, folder):
        self.folder, self.parameters = runs.resume(folder)
        self.experiment = experiments.begin(self.folder, self.parameters, lambda phase, done, total: None)
        self.study = self.experiment.study
        self.store = Checkpoints.in_file(self.folder.office / "checkpoints.sqlite")
        self.asked = 0

    def run(self, lost=lambda question, name: False):
        with experiments.opened(self.folder, self.parameters) as held:
            handlers = {name: supplier.handle for name, supplier in held.items()}
            federation = Losing(InProcess(handlers), lost, self)
            return Coordinator(
                self.study, self.experiment.office, federation, self.store, self.experiment.progress
            ).run()

    def ask(self, name, *requests):
        """What one supplier answers to the last of these."""
        key = {one.name: one.public_key for one in self.study.suppliers}[name]
        with experiments.opened(self.folder, self.parameters) as held:
            replies = [held[name].handle(seal_request(request, self.experiment.office)) for request in requests]
        return open_reply(replies[-1], name, key)

    def advertise(self, phase, round_, attempt):
        weights = {model.name: encode_weights(np.zeros(23)) for model in self.study.models}
        return RoundRequest(
            study=digest(self.study), phase=phase, round=round_, attempt=attempt, step="advertise", weights=weights
        )

    def shares(self, phase, round_, spare=()):
        """Every supplier's sealed share of a round, read from its own ledger; of some with its spare noise."""
        key = f"{digest(self.study)}/{phase.name}/{round_}/0/share"
        found = {}
        for entry in self.study.suppliers:
            path = self.folder.supplier(entry.name) / "ledger.sqlite"
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                rows = connection.execute("SELECT reply FROM sealed WHERE key = ?", (key,)).fetchall()
            for (reply,) in rows:
                share = open_reply(reply, entry.name, entry.public_key)
                assert isinstance(share, Share)
                found[entry.name] = joined(self.study, phase, share.blocks)
                if entry.name in spare:
                    found[entry.name] += spare_noise(self.study, share.spare, found[entry.name].size)
        return found


class Losing:
    """A link that loses what `lost` says, before the supplier hears it or after it has answered."""

    def __init__(self, link, lost, office):
        self.link, self.lost, self.office = link, lost, office

    def ask(self, requests):
        number, self.office.asked = self.office.asked, self.office.asked + 1
        heard = {name: request for name, request in requests.items() if self.lost(number, name) != "unheard"}
        replies = self.link.ask(heard)
        return {name: reply for name, reply in replies.items() if not self.lost(number, name)}


def on_the_grid(study, phase, outcome):
    """A phase's sums as the integers that suppliers' shares added up to."""
    parts = []
    for block in phase.blocks:
        scale = column_weights(study, block) / step_size(share_block(study, block))
        parts.append((outcome.sums[block.name].values * scale).ravel())
    return np.concatenate(parts)


def test_the_sum_is_exactly_that_of_shares_that_never_left(office, accounts):
    outcome = office.run()
    received = {place: office.store.load(place) for place in office.store.places(digest(office.study))}
    for phase in office.study.phases:
        shares = office.shares(phase, phase.rounds - 1)
        for place, replies in received.items():
            if place.phase != APPROVALS:
                for entry in office.study.suppliers:
                    assert isinstance(open_reply(replies[entry.name], entry.name, entry.public_key), StepReply)
        if phase.name != "training":
            total = on_the_grid(office.study, phase, outcome)
            np.testing.assert_allclose(total, np.sum(list(shares.values()), axis=0), atol=1e-3)
        sent = b"".join(b"".join(replies.values()) for place, replies in received.items() if place.phase == phase.name)
        for share in shares.values():
            assert share.astype("<i8").tobytes()[:24] not in sent
    for events in accounts(office.folder.path).values():
        charges = [body["key"] for kind, body in events if kind == "charge"]
        assert len(charges) == len(set(charges)) == sum(phase.rounds for phase in office.study.phases)
    heads = advertised(office.study, office.store)
    assert heads.keys() == set(NAMES)
    for name, head in heads.items():  # what a release says of ledgers: each round's charge is among the entries
        with closing(sqlite3.connect(office.folder.supplier(name) / "ledger.sqlite")) as ledger:
            (held,) = ledger.execute("SELECT hash FROM entries WHERE seq = ?", (head.entries,)).fetchone()
            after = "SELECT count(*) FROM entries WHERE seq > ? AND kind = 'charge'"
            assert (held, ledger.execute(after, (head.entries,)).fetchone()) == (head.digest, (0,))


def test_the_noise_of_the_fewest_honest_suppliers_is_the_noise_that_is_charged(office):
    """Six suppliers, one may drop and one collude: five shares, or four with what is spare, hold all of the noise."""
    assert office.study.noise_shares == 5
    for block in office.study.blocks:
        made, whole = share_block(office.study, block), block.noise_multiplier * block.l2_bound
        for shares, spares in ((5, 0), (4, 4)):
            assert whole <= noise_deviation(made, deviation_steps(office.study, shares, spares)) < 1.01 * whole
        assert noise_deviation(made, deviation_steps(office.study, 1, 1)) < 0.51 * whole


@pytest.mark.parametrize("step", range(5), ids=STEPS)
@pytest.mark.parametrize("how", ["unheard", "unanswered"])
def test_one_supplier_may_drop_out_at_any_step_and_stay_away(office, step, how):
    gone = NAMES[step]
    outcome = office.run(lambda question, name: name == gone and question >= step and how)
    assert outcome.sums.keys() == {block.name for phase in office.study.phases[1:] for block in phase.blocks}
    assert {found.shares for found in outcome.sums.values()} == {5}
    phase = office.study.phases[-1]
    others = [share for name, share in office.shares(phase, 0, spare=NAMES).items() if name != gone]
    np.testing.assert_allclose(on_the_grid(office.study, phase, outcome), np.sum(others, axis=0), atol=1e-3)


def test_two_missing_are_one_too_many_and_a_later_attempt_makes_it_good(office, accounts):
    masked = 2  # keys, secrets, masked vectors
    outcome = office.run(lambda question, name: question == masked and name in NAMES[:2] and "unanswered")
    attempts = {place.attempt for place in office.store.places(digest(office.study)) if place.phase == "training"}
    assert attempts == {0, 1}
    assert outcome.sums
    for events in accounts(office.folder.path).values():
        keys = [body["key"] for kind, body in events if kind == "charge"]
        assert len(keys) == len(set(keys)) == sum(phase.rounds for phase in office.study.phases)


def test_without_enough_suppliers_there_is_no_sum_and_none_is_charged_twice(office, accounts):
    with pytest.raises(AttemptError, match="fewer than 5 suppliers"):
        office.run(lambda question, name: name in NAMES[:2] and "unheard")
    assert [place.phase for place in office.store.places(digest(office.study))] == [APPROVALS]
    assert office.run().sums
    for events in accounts(office.folder.path).values():
        keys = [body["key"] for kind, body in events if kind == "charge"]
        assert len(keys) == len(set(keys))


def test_who_helped_to_unmask_one_attempt_refuses_any_other(office):
    office.run()
    reply = office.ask("north", office.advertise("training", 0, 1))
    assert isinstance(reply, Refusal)
    assert reply.rule == "order"


def test_a_round_cannot_be_had_without_masks(office):
    weights = office.advertise("training", 0, 0).weights
    reply = office.ask("north", RoundRequest(study=digest(office.study), phase="training", round=0, weights=weights))
    assert isinstance(reply, Refusal)
    assert reply.rule == "order"


@pytest.mark.parametrize("stop", [0, 3, 7, 12, 24])
def test_an_office_killed_between_any_two_steps_goes_on(office, stop, monkeypatch, tmp_path):
    class Killed(BaseException):
        pass

    save, count = Checkpoints.save, iter(range(1000))

    def saved(self, place, replies):
        if next(count) == stop:
            raise Killed
        save(self, place, replies)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", saved)
        with pytest.raises(Killed):
            office.run()
    outcome = office.run()
    assert {sum.shares for sum in outcome.sums.values()} == {6}
    assert {place.attempt for place in office.store.places(digest(office.study))} == {0}


@pytest.fixture
def went_back(office, tmp_path):
    """Four rounds, and then north's backup of before given back to it, lock file and all; its right folder's copy."""
    north = office.folder.supplier("north")
    shutil.copytree(north, tmp_path / "backup")
    with pytest.raises(AttemptError):
        office.run(lambda question, name: question >= 20 and "unheard")
    shutil.copytree(north, tmp_path / "right")
    shutil.rmtree(north)
    shutil.copytree(tmp_path / "backup", north)
    return tmp_path / "right"


def test_peers_notice_a_ledger_that_went_back(office, went_back):
    """They refuse to share anything with it, and the study goes on without."""
    first = office.ask("north", office.advertise("training", 0, 1))
    assert isinstance(first, StepReply)
    outcome = office.run()
    assert {found.shares for found in outcome.sums.values()} == {5}


def test_a_ledger_that_went_back_and_has_grown_since_is_noticed(office, went_back):
    """The office has it answer alone until it is longer than anybody saw it; it masks nothing and leaves nothing."""
    alone = [office.advertise("training", round_, number) for round_ in range(4) for number in range(16)]
    assert isinstance(office.ask("north", *alone), StepReply)
    outcome = office.run()
    assert {found.shares for found in outcome.sums.values()} == {5}
    last = office.study.phases[-1]
    for request in (office.advertise("training", 3, 15), office.advertise(last.name, last.rounds - 1, 0)):
        reply = office.ask("north", request)
        assert isinstance(reply, Refusal)
        assert (reply.code, reply.rule) == (52, "RollbackError")
    north = office.folder.supplier("north")
    with experiments.opened(office.folder, office.parameters) as held, pytest.raises(RollbackError):
        held["north"].approve(digest(office.study))
    shutil.rmtree(north)
    shutil.copytree(went_back, north)
    assert isinstance(office.ask("north", office.advertise(last.name, last.rounds - 1, 0)), StepReply)


def test_one_who_comes_back_may_have_missed_rounds_but_is_not_asked_for_them_again(office):
    outcome = office.run(lambda question, name: question < 5 and name == "north" and "unheard")
    assert {found.shares for found in outcome.sums.values()} == {6}
    reply = office.ask("north", office.advertise("training", 0, 0))
    assert isinstance(reply, Refusal)
    assert reply.rule == "order"
