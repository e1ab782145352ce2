# SPDX-License-Identifier: Apache-2.0
"""A whole attempt at a round in one process: honest suppliers, an honest office, and a wire between them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.secagg import messages, office
from skyglow_shared.secagg.channels import open_channel
from skyglow_shared.secagg.ledger_heads import Head, Witness
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.secagg.session import Parameters, Session
from skyglow_shared.signing import Identity
from skyglow_shared.study import Supplier

STEPS = ("advertised", "shared", "masked", "confirmed", "unmasked")
NEVER = len(STEPS)


def sent(message):
    """A supplier's message as it comes out of the wire."""
    return messages.decode_reply(messages.encode(message))


def asked(message):
    """The office's message as it comes out of the wire."""
    return messages.decode_request(messages.encode(message))


@dataclass
class Attempt:
    """`rounds` are the suppliers, `requests` what the office would say next, `replies` what it heard last.

    `channels` are theirs, drawn when a study's first attempt asks for them; `seen` is what each supplier
    remembers of the others' ledgers, `chains` are their own as digests by length.
    """

    session: Session
    identities: dict
    vectors: dict
    heads: dict
    randomness: object
    channels: dict
    rounds: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)
    chains: dict = field(default_factory=dict)
    requests: dict = field(default_factory=dict)
    replies: dict = field(default_factory=dict)
    office: object = None
    step: int = 0

    def advertise(self, present=None):
        """Each of `present` advertises: for the first time, or giving up the attempt before."""
        self.office = office.begin(self.session)
        for name in self.names if present is None else present:
            given = self.identities[name], self.heads[name], self.randomness
            known = {"channel": self.channel(name), "seen": self.seen.get(name, {})}
            if name in self.rounds:
                begun = self.rounds[name].again(self.session, *given, **known)
            else:
                begun = Round.begin(self.session, name, *given, **known)
            self.rounds[name], self.replies[name] = Round.decode(begun[0].encode()), sent(begun[1])

    def channel(self, name):
        """A supplier's own end for this study."""
        key = self.session.study, name
        if key not in self.channels:
            self.channels[key] = open_channel(*key, self.identities[name], self.randomness)
        return self.channels[key]

    def collect(self):
        """The office takes the replies; gives the sum at the last step."""
        result = getattr(self.office, STEPS[self.step])(self.replies)
        if self.step == NEVER - 1:
            return result
        self.office, requests = result
        heard = self.office.survivors if self.step > 1 else self.office.heard
        each = dict.fromkeys((name for name in self.replies if name in heard), requests)
        self.requests = requests if isinstance(requests, dict) else each
        self.step += 1
        return None

    def answer(self, name, request=None):
        """One supplier answers, and remembers that it did."""
        request = self.requests[name] if request is None else request
        self.rounds[name], reply = self.ask(name, request)
        return reply

    def ask(self, name, request):
        """What one supplier would answer, and where it would stand then."""
        known = self.rounds[name].encode()
        try:
            stands, reply = self.rounds[name].answer(asked(request), lambda: self.vectors[name], self.witness(name))
        finally:
            assert self.rounds[name].encode() == known
        return Round.decode(stands.encode()), sent(reply)

    def witness(self, name):
        """What a supplier's own ledger says of ledgers: its chain, and what it has seen of the others' chains."""
        own = self.chains.get(name, {}) | {self.heads[name].entries: self.heads[name].digest}
        return Witness(self.seen.get(name, {}), lambda entries: own.get(entries, ""))

    def until(self, step):
        """Everybody there, up to where the office has requests for the step of this name."""
        self.advertise()
        while STEPS[self.step] != step:
            self.collect()
            if STEPS[self.step] != step:
                self.replies = {name: self.answer(name) for name in self.requests}
        return self

    def run(self, fails_at=None):
        """The sum, where supplier `name` is gone from step `fails_at[name]` on."""
        fails_at = fails_at or {}
        self.advertise([name for name in self.names if fails_at.get(name, NEVER) > 0])
        while (result := self.collect()) is None:
            there = [name for name in self.requests if fails_at.get(name, NEVER) > self.step]
            self.replies = {name: self.answer(name) for name in there}
        return result

    @property
    def names(self):
        return [supplier.name for supplier in self.session.roster]


@pytest.fixture(scope="session")
def identities():
    return {f"s{place:02}": Identity.generate() for place in range(12)}


@pytest.fixture(scope="session")
def make_session(identities):
    def make(suppliers=4, dropouts=1, colluders=0, *, words=3, word_bits=16, round_=0, attempt=0, study="ab" * 32):
        roster = tuple(Supplier(name=n, public_key=i.public_key) for n, i in list(identities.items())[:suppliers])
        return Session(
            study=study,
            phase="training",
            round=round_,
            attempt=attempt,
            roster=roster,
            parameters=Parameters(suppliers, dropouts, colluders),
            words=words,
            word_bits=word_bits,
        )

    return make


@pytest.fixture(scope="session")
def make_attempt(identities, make_session):
    shown = {}

    def make(session=None, vectors=None, rounds=None, randomness=None, channels=None):
        session = session or make_session()
        names = [supplier.name for supplier in session.roster]
        given = vectors or {name: np.arange(session.words, dtype=np.int64) + i for i, name in enumerate(names)}
        heads = {name: Head(7 + i, f"{i:02x}" * 32) for i, name in enumerate(names)}
        known = shown if channels is None else channels
        return Attempt(session, identities, given, heads, randomness or SystemRandomness(), known, dict(rounds or {}))

    return make
