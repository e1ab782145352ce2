# SPDX-License-Identifier: Apache-2.0
"""Kill -9 a supplier at any line, or at any moment: what left was charged, and what was sealed is never lost.

The office asks round after round, and now and then again for an old one. A process of its own answers; it is killed at
a line of the gate, the ledger or the mechanism that is drawn at random, of all or of those since the seal began, or
after a random time, so that it may be within SQLite; and the next one goes on. After each death the books are read as
they were left.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skyglow_client.gate.ledger import open_ledger
from skyglow_client.supplier import Supplier
from skyglow_shared import signing
from skyglow_shared.messages import RoundRequest, StudyRequest, encode_weights, seal_request
from skyglow_shared.privacy.accounting import study_cost
from skyglow_shared.signing import Identity
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import canonical_bytes, digest
from skyglow_simulations.suppliers import NAMES

KINDS = {"charged", "sealed", "sent"}
ROUNDS = 40
LINES, LINES_OF_SEAL = 300, 40

#: Answers requests from the one named on, in a child for each line of its input. What does not differ between deaths is
#: done once, before: features are read, plans composed, and one preview loads what torch loads when it first computes.
DRIVER = """
import os, signal, sys, time
from pathlib import Path

from skyglow_client.gate import budget
from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.preview import preview
from skyglow_client.supplier import Supplier
from skyglow_shared.soundness import decode_study

folder, outbox = Path(sys.argv[1]), Path(sys.argv[2])
requests = [path.read_bytes() for path in sorted((folder / "requests").iterdir())]
study = decode_study((folder / "study.json").read_bytes())
with Supplier.open(folder, sys.argv[3]) as supplier:
    homes = supplier.homes(study)
    budget.check_committed(supplier.gate.policy, supplier.gate.ledger)
    preview(study, homes, sys.argv[3])
Supplier.homes = lambda self, study: homes
traced = ("/gate/", "/privacy/", "/learning/", "/messages.py", "/supplier.py", "<string>")
left = 0

def trace(frame, event, argument):
    global left
    if not any(part in frame.f_code.co_filename for part in traced):
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

def from_the_first_seal(lines):
    original = Ledger.seal

    def seal(*arguments, **named):
        global left
        if not sys.gettrace():
            left = lines
            sys.settrace(trace)
        original(*arguments, **named)

    Ledger.seal = seal

def answer(run, lines, first):
    global left
    with Supplier.open(folder, sys.argv[3]) as supplier:
        left = lines
        if lines > 0:
            sys.settrace(trace)
        if lines < 0:
            from_the_first_seal(-lines)
        for number in range(first, len(requests)):
            reply = supplier.handle(requests[number])
            (outbox / f"{run:05d}-{number:05d}").write_bytes(reply)
    os._exit(0)

for run, line in enumerate(sys.stdin):
    lines, microseconds, first = map(int, line.split())
    child = os.fork()
    if not child:
        signal.alarm(100)  # a child that hangs is a failure, not a wait for ever
        answer(run, lines, first)
    if microseconds:
        time.sleep(microseconds / 1e6)
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Books:
    """A supplier's books and outbox, read after each death and held against what they were before."""

    def __init__(self, folder, outbox, keys):
        self.folder, self.outbox, self.keys = folder, outbox, keys
        self.charged, self.sealed, self.pending = {}, {}, {}
        self.left = {}

    def look(self, aside):
        """Check everything; returns where the supplier was when it died."""
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for file in self.folder.glob("ledger.sqlite*"):
            shutil.copy(file, aside)
        with closing(open_ledger(aside / "ledger.sqlite")) as ledger:  # which verifies it
            charged = dict(ledger.connection.execute("SELECT key, request FROM charges"))
            sealed = dict(ledger.connection.execute("SELECT key, reply FROM sealed"))
            pending = dict(ledger.connection.execute("SELECT key, secret FROM pending"))
            assert len(ledger.entries("charge")) == len(charged), "a round was charged twice"
            events = [event for events in ledger.charges().values() for event in events]
        assert charged.items() >= self.charged.items(), "a charge was taken back"
        assert sealed.items() >= self.sealed.items(), "a sealed round was lost, or changed"
        assert set(sealed) <= set(charged), "sealed without a charge"
        for key in self.pending.keys() & pending.keys():
            assert pending[key] == self.pending[key], "other homes were drawn under the same charge"
        for file in self.outbox.iterdir():
            self._left(self.keys[int(file.name.partition("-")[2])], file.read_bytes(), sealed)
            file.unlink()
        assert len(events) >= len(self.left), "something left that no charge covers"
        self.charged, self.sealed, self.pending = charged, sealed, pending
        return "charged" if pending else "sealed" if set(sealed) - set(self.left) else "sent"

    def _left(self, key, content, sealed):
        assert key in sealed, "something left before it was sealed"
        assert sealed[key].startswith(content), "what left is not what was sealed"
        if content == sealed[key]:
            assert self.left.setdefault(key, content) == content


@pytest.fixture
def set_up(approved, tmp_path):
    """Makes a supplier of a hamlet with an approved study of many rounds; returns folder, study and rounds' keys."""

    def make(name):
        folder = Path(shutil.copytree(approved / "suppliers" / NAMES[0], tmp_path / name))
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()
        office, plain = Identity.generate(), decode_study((approved / "study.json").read_bytes())
        policy = (folder / "policy.toml").read_text().replace(plain.office_key, office.public_key)
        (folder / "policy.toml").write_text(policy)
        training = msgspec.structs.replace(plain.phases[0], rounds=ROUNDS)
        quiet = [msgspec.structs.replace(block, noise_multiplier=60.0) for block in training.blocks]
        phases = (msgspec.structs.replace(training, blocks=tuple(quiet)), *plain.phases[1:])
        study = msgspec.structs.replace(plain, office_key=office.public_key, phases=phases)
        body = canonical_bytes(study)
        (folder / "study.json").write_bytes(body)
        with Supplier.open(folder, NAMES[0]) as supplier:
            proposal = StudyRequest(study=body, signature=office.sign(signing.STUDY, body))
            supplier.handle(seal_request(proposal, office))
            supplier.approve(digest(study))
        weights = {model.name: encode_weights(np.zeros(23)) for model in study.models}
        places = [(phase.name, round_) for phase in study.phases for round_ in range(phase.rounds)]
        (folder / "requests").mkdir()
        for number, (phase, round_) in enumerate(places):
            request = RoundRequest(study=digest(study), phase=phase, round=round_, weights=weights)
            (folder / "requests" / f"{number:05d}").write_bytes(seal_request(request, office))
        return folder, study, [f"{digest(study)}/{phase}/{round_}/0/share" for phase, round_ in places]

    return make


def kill_again_and_again(skyglow, set_up, aside, name, kills, rng):
    """One study under fire until it is done, or killed so often; returns where the supplier stood at each death."""
    folder, study, keys = set_up(name)
    (aside / f"{name}-outbox").mkdir()
    books, places = Books(folder, aside / f"{name}-outbox", keys), []
    program = (sys.executable, "-c", DRIVER, folder, books.outbox, NAMES[0])
    with skyglow.start(program=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:

        def child(lines, microseconds):
            done = len(books.left)
            first = max(0, min(done, len(keys)) - rng.choice((0, 0, 0, 1, 3)))
            driver.stdin.write(f"{lines} {microseconds} {first}\n")
            driver.stdin.flush()
            return int(driver.stdout.readline())

        while len(places) < kills and len(books.left) < len(keys):
            moments = (rng.randint(1, LINES), 0), (-rng.randint(1, LINES_OF_SEAL), 0), (0, rng.randint(100, 60_000))
            status = child(*rng.choice(moments))
            places.append(books.look(aside / "look"))
            assert status in (-signal.SIGKILL, 0)
        assert child(0, 0) == 0
        books.look(aside / "look")
        driver.stdin.close()
    assert set(books.left) == set(books.sealed) == set(books.charged) == set(keys), "a round was never answered"
    with Supplier.open(folder, NAMES[0]) as supplier:
        cost = supplier.gate.check(study).requested.epsilon_upper
        events = supplier.gate.ledger.charges()[digest(study)]
        assert study_cost(events, study.delta).epsilon_upper == pytest.approx(cost, rel=1e-9)
        for number, key in enumerate(keys):  # the same bytes for ever
            request = (folder / "requests" / f"{number:05d}").read_bytes()
            assert supplier.handle(request) == books.left[key]
    return places


def under_fire(skyglow, set_up, aside, kills):
    """At least so many kills, and on until each kind of moment was hit: ten times as many at the most."""
    seed = random.randrange(2**32)  # noqa: S311 - any moment will do
    rng, places, studies = random.Random(seed), [], 0  # noqa: S311
    try:
        while len(places) < kills or (set(places) != KINDS and len(places) < 10 * kills):
            studies += 1
            more = max(kills - len(places), 5)
            places += kill_again_and_again(skyglow, set_up, aside, f"s{studies}", more, rng)
    except AssertionError as error:
        error.add_note(f"seed {seed}, after {len(places)} kills")
        raise
    return Counter(places)


def test_a_few_dozen_random_kills(skyglow, set_up, tmp_path):
    found = under_fire(skyglow, set_up, tmp_path, 30)
    assert set(found) == KINDS, "not every kind of moment was hit"


@pytest.mark.slow
def test_a_thousand_random_kills(skyglow, set_up, tmp_path):
    found = under_fire(skyglow, set_up, tmp_path, 1000)
    assert set(found) == KINDS
    print(json.dumps(found))
