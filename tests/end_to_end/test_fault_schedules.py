# SPDX-License-Identifier: Apache-2.0
"""Whatever a link does to messages, in whatever order: a study ends complete or with an error of the tree.

A federation between the office and six suppliers with gates and ledgers of their own loses, delays, repeats, mixes up
and spoils messages as a drawn schedule says, the office dies and is started again, and suppliers open their ledgers
anew. Nothing may be charged twice, and every sum must be exactly that of shares that suppliers sealed.
"""

import itertools
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from skyglow_client.gate.ledger import open_ledger
from skyglow_server import coordinator
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_shared.aggregation import joined
from skyglow_shared.errors import SkyglowError
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.messages import open_reply
from skyglow_shared.privacy.release import step_size
from skyglow_shared.privacy.spare import spare_noise
from skyglow_shared.study import digest
from skyglow_simulations import experiment as experiments
from skyglow_simulations import run as runs
from skyglow_simulations.suppliers import NAMES

#: What may become of one message. These lose, delay or repeat it; nobody can do it any harm:
LOSING = ("unheard", "unanswered", "delayed", "twice", "reopened")
#: and these put something else in its place.
SPOILING = ("old", "another's", "corrupt", "garbled", "replayed")
LONGEST = 40  # questions; after these the link is sound
MOST_RUNS = 12
ROUNDS = 2  # of training
#: Ledgers sync to the disk many times a round; what is tested here does not need it to turn.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - folders in it are made for us alone


class Killed(BaseException):
    """The office died."""


class Town:
    """Six suppliers whose study is approved, as they stood then, whatever a schedule did to them before."""

    def __init__(self, folder, trust):
        self.folder, parameters = runs.resume(folder)
        shutil.rmtree(folder / "office", ignore_errors=True)
        for old in (folder / "study.json", *folder.glob("suppliers/*/ledger.sqlite*")):
            old.unlink()
        self.parameters = msgspec.structs.replace(parameters, trust=trust)
        done = experiments.begin(self.folder, self.parameters, lambda *_: None)
        phases = tuple(msgspec.structs.replace(phase, rounds=min(phase.rounds, ROUNDS)) for phase in done.study.phases)
        self.experiment = replace(done, study=msgspec.structs.replace(done.study, phases=phases))
        self.study = self.experiment.study
        self.experiment.approve()
        self.whole = sum(phase.rounds for phase in phases)

    def renew(self, held, place):
        """Give every supplier its ledger of the beginning, in a new place."""
        self.place = place
        for name, supplier in held.items():
            (place / name).mkdir(parents=True)
            for file in self.folder.supplier(name).glob("ledger.sqlite*"):
                shutil.copy(file, place / name)
            self.reopen(supplier)

    def reopen(self, supplier):
        supplier.gate.ledger.close()
        ledger = open_ledger(self.place / supplier.gate.name / "ledger.sqlite")
        supplier.gate = replace(supplier.gate, ledger=ledger)


class Unruly:
    """A link that does to the message of a question and a supplier what the schedule says."""

    def __init__(self, town, held, schedule, deaths):
        self.town, self.held, self.schedule, self.deaths = town, held, schedule, deaths
        self.number = -1
        self.late, self.requests, self.replies = [], {}, {}

    def ask(self, requests):
        self.number += 1
        for name, request in self.late:
            self.replies.setdefault(name, self.held[name].handle(request))
        self.late = []
        ordered = sorted(requests, reverse=self.number % 2 == 1)
        found = {name: self.deliver(name, requests[name], self.schedule.get((self.number, name))) for name in ordered}
        for name in ordered:
            if self.schedule.get((self.number, name)) == "another's":
                found[name] = found[ordered[ordered.index(name) - 1]]
        if self.number in self.deaths:
            raise Killed
        return {"stranger": b"?"} | {name: reply for name, reply in found.items() if reply is not None}

    def deliver(self, name, request, fault):
        if fault == "unheard":
            return None
        if fault == "delayed":
            self.late.append((name, request))
            return None
        if fault == "reopened":
            self.town.reopen(self.held[name])
        earlier, self.requests[name] = self.requests.get(name, request), request
        if fault == "replayed":
            return self.held[name].handle(earlier)
        reply = self.held[name].handle(spoilt(request) if fault == "garbled" else request)
        if fault == "twice":
            assert self.held[name].handle(request) == reply, "a message that comes twice has one answer"
        old, self.replies[name] = self.replies.get(name, reply), reply
        return {"unanswered": None, "old": old, "corrupt": spoilt(reply)}.get(fault, reply)


def spoilt(message):
    """One bit is another."""
    place = len(message) * 2 // 3
    return message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]


def sealed(town, held, phase, round_):
    """Every supplier's share of a round as its ledger has it, and its spare noise."""
    key = f"{digest(town.study)}/{phase.name}/{round_}/0/share"
    keys = {entry.name: entry.public_key for entry in town.study.suppliers}
    replies = {name: supplier.gate.ledger.sealed(key) for name, supplier in held.items()}
    shares = {name: open_reply(reply, name, keys[name]) for name, reply in replies.items() if reply is not None}
    vectors = {name: joined(town.study, phase, share.blocks) for name, share in shares.items()}
    return {name: (one, spare_noise(town.study, shares[name].spare, one.size)) for name, one in vectors.items()}


def check_sum(town, held, phase, round_, sums):
    """The sum is that of as many sealed shares as it says, whosever they are; with some spare noise only if of all."""
    parts, counts = [], set()
    for block in phase.blocks:
        scale = column_weights(town.study, block) / step_size(share_block(town.study, block))
        parts.append((sums[block.name].values * scale).ravel())
        counts.add(sums[block.name].shares)
    (count,) = counts
    withstood = town.study.aggregation.dropouts if town.study.aggregation else 0
    assert count >= len(NAMES) - withstood
    total, shares = np.concatenate(parts), sealed(town, held, phase, round_)
    sets = [
        [share + spare * (name in left) for name, (share, spare) in some]
        for some in itertools.combinations(shares.items(), count)
        for left in (subsets(NAMES) if count == len(NAMES) else [NAMES])
    ]
    assert any(np.allclose(total, np.sum(some, axis=0), rtol=0, atol=1e-3) for some in sets), (phase.name, round_)


def subsets(names):
    return [some for size in range(len(names) + 1) for some in itertools.combinations(names, size)]


def play(town, held, place, schedule, deaths, monkeypatch):
    """Run the study, again and again until the link is sound; whether it is complete, and how each run before ended."""
    town.renew(held, place)
    link, advanced, ends = Unruly(town, held, schedule, deaths), {}, []
    real = coordinator.advance

    def advance(study, phase, round_, outcome, sums):
        values = {name: (block.values.tobytes(), block.shares) for name, block in sums.items()}
        assert advanced.setdefault((phase.name, round_), values) == values, "a round that was added does not change"
        check_sum(town, held, phase, round_, sums)
        return real(study, phase, round_, outcome, sums)

    with monkeypatch.context() as patch:
        patch.setattr(coordinator, "advance", advance)
        store = Checkpoints.in_file(place / "checkpoints.sqlite")
        for _ in range(MOST_RUNS):
            last = link.number >= LONGEST
            try:
                Coordinator(town.study, town.experiment.office, link, store, lambda *_: None).run()
            except Killed:
                ends.append("killed")
            except SkyglowError as error:
                assert type(error) is not SkyglowError
                ends.append(type(error).__name__)
                if last:
                    break
            else:
                ends.append("complete")
                break
            if len(ends) > 3:
                link.number = LONGEST  # it has been through enough
    for supplier in held.values():
        ledger = supplier.gate.ledger
        ledger.verify()
        keys = Counter(msgspec.json.decode(entry.body)["key"] for entry in ledger.entries("charge"))
        assert set(keys.values()) <= {1}, "a round was charged twice"
        assert len(keys) <= town.whole
        assert len(ledger.charges().get(digest(town.study), [])) == len(keys)
    return ends


def schedules(kinds):
    questions = st.integers(0, 4) | st.integers(0, 20) | st.integers(0, LONGEST - 1)  # a study asks 5, or 21
    return st.dictionaries(st.tuples(questions, st.sampled_from(NAMES)), st.sampled_from(kinds), max_size=12)


@pytest.fixture(scope="module", params=["local", "aggregate"])
def town(request, approved, tmp_path_factory):
    made = Town(Path(shutil.copytree(approved, tmp_path_factory.mktemp(request.param) / "run")), request.param)
    with experiments.opened(made.folder, made.parameters) as held:
        yield made, held


def holds(town, schedule, deaths):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=MEMORY) as place:
        ends = play(*town, Path(place), schedule, deaths, patch)
    note(f"{ends}")
    if not set(schedule.values()) & set(SPOILING):
        assert ends[-1] == "complete", ends


COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
DEATHS = st.frozensets(st.integers(0, LONGEST - 1), max_size=2)


@example(schedule={(2, "north"): "old"}, deaths=frozenset())  # the share of another round of training
@settings(max_examples=3, derandomize=True, **COMMON)
@given(schedule=schedules(LOSING + SPOILING), deaths=DEATHS)
def test_a_study_ends_complete_or_with_an_error_and_adds_exactly_what_was_sealed(town, schedule, deaths):
    holds(town, schedule, deaths)


@pytest.mark.slow
@settings(max_examples=150, **COMMON)
@given(schedule=schedules(LOSING + SPOILING), deaths=DEATHS)
def test_many_studies_end_complete_or_with_an_error(town, schedule, deaths):
    holds(town, schedule, deaths)


@pytest.mark.slow
@settings(max_examples=50, **COMMON)
@given(schedule=schedules(LOSING), deaths=DEATHS)
def test_a_link_that_only_loses_stops_no_study_for_good(town, schedule, deaths):
    holds(town, schedule, deaths)
