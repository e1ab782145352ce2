# SPDX-License-Identifier: Apache-2.0
"""Five suppliers with real folders that add their shares together; tests play the office, or one supplier that lies."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skyglow_client.supplier import Supplier
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_server.federation import InProcess
from skyglow_shared import messages
from skyglow_shared.aggregation import joined, session_of
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.messages import RoundRequest, StepReply, StepRequest, seal_reply
from skyglow_shared.privacy.release import step_size
from skyglow_shared.privacy.spare import spare_noise
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg import office
from skyglow_shared.secagg.recovering import Sum
from skyglow_shared.signing import Identity
from skyglow_shared.study import Study, digest

NAMES = ("east", "north", "south", "up", "west")
STEPS = ("advertise", "share_keys", "mask", "confirm", "unmask")
TAKE = ("advertised", "shared", "masked", "confirmed", "unmasked")
OF_STEP = dict(
    zip(("Advertisement", "EncryptedShares", "MaskedInput", "Confirmation", "Unmasking"), STEPS, strict=True)
)


@dataclass
class League:
    """The five, their study, and what the office would do next in the attempt that was begun last."""

    towns: dict[str, object]
    study: Study
    path: Path
    suppliers: dict[str, Supplier] = field(default_factory=dict)
    state: object = None
    asked: tuple[str, int, int] = ("training", 0, 0)

    def handle(self, name: str, request: messages.Request) -> messages.Reply:
        """What one supplier answers to a request that the office signed, from bytes to bytes."""
        town = self.towns[name]
        return town.read(self.suppliers[name].handle(town.sealed(request)))

    def begin(self, name: str, phase: str, round_: int, attempt: int, study: Study | None = None) -> messages.Reply:
        """Ask one supplier for its keys."""
        study = study or self.study
        weights = {model.name: messages.encode_weights(np.zeros(23)) for model in study.models}
        place = {"study": digest(study), "phase": phase, "round": round_, "attempt": attempt}
        return self.handle(name, RoundRequest(**place, step="advertise", weights=weights))

    def say(self, name: str, message: secagg.FromOffice, **place: object) -> messages.Reply:
        """Send one supplier a message of the attempt that was begun last, or of the `place` that is given."""
        phase, round_, attempt = self.asked
        plain = {"study": digest(self.study), "phase": phase, "round": round_, "attempt": attempt} | place
        return self.handle(name, StepRequest(**plain, content=secagg.encode(message)))

    def advertised(self, round_: int = 0, attempt: int = 0, *, names=NAMES, phase: str = "training"):
        """Begin an attempt with some; gives the office's next message to each."""
        self.asked = phase, round_, attempt
        wanted = next(each for each in self.study.phases if each.name == phase)
        self.state = office.begin(session_of(self.study, wanted, round_, attempt))
        return self.take({name: self.begin(name, phase, round_, attempt) for name in names})

    def take(self, replies):
        """The honest office's step: its next message to each, or the sum."""
        read = {name: content(reply) for name, reply in replies.items()}
        names = {type(each).__name__: name for name, each in read.items()}
        (kind,) = names
        result = getattr(self.state, TAKE[STEPS.index(OF_STEP[kind])])(read)
        if isinstance(result, Sum):
            return result
        self.state, message = result
        return message if isinstance(message, dict) else dict.fromkeys(read, message)

    def everybody(self, messages_, *, lost=()):
        """Each supplier's answer to its message, but of the lost ones."""
        return {name: self.say(name, message) for name, message in messages_.items() if name not in lost}

    def until(self, step: str, round_: int = 0, attempt: int = 0, *, names=NAMES, lost=()):
        """Honestly up to where the office has its messages for a step; who is lost sends no vector."""
        messages_ = self.advertised(round_, attempt, names=names)
        for each in STEPS[1 : STEPS.index(step)]:
            messages_ = self.take(self.everybody(messages_, lost=lost if STEPS.index(each) > 1 else ()))
        return messages_

    def run(self, lies=None, lost=lambda step, name: False):
        """The real office's whole study; `lies[name]` changes what that supplier says, `lost` is not heard."""
        handlers = {name: self.suppliers[name].handle for name in NAMES}
        for name, lie in (lies or {}).items():
            handlers[name] = Liar(self.suppliers[name].handle, self.towns[name], lie).handle
        federation = InProcess(handlers)
        store = Checkpoints.in_file(self.path / "checkpoints.sqlite")
        return Coordinator(self.study, self.towns["north"].office, federation, store, lambda *_: None).run()

    def shares(self, phase: str, round_: int = 0, *, spare: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Every supplier's sealed share of a round, which never left; of some with the spare noise it leaves with."""
        wanted = next(each for each in self.study.phases if each.name == phase)
        found = {}
        for name, supplier in self.suppliers.items():
            sealed = supplier.gate.ledger.sealed(f"{digest(self.study)}/{phase}/{round_}/0/share")
            if sealed:
                share = self.towns[name].read(sealed)
                found[name] = joined(self.study, wanted, share.blocks)
                if name in spare:
                    found[name] += spare_noise(self.study, share.spare, found[name].size)
        return found

    def numbers(self, outcome) -> np.ndarray:
        """The last phase's sums as the integers that shares added up to."""
        parts = []
        for block in self.study.phases[-1].blocks:
            scale = column_weights(self.study, block) / step_size(share_block(self.study, block))
            parts.append((outcome.sums[block.name].values * scale).ravel())
        return np.rint(np.concatenate(parts)).astype(np.int64)

    def entries(self, name: str) -> int:
        """How many entries a supplier's ledger has."""
        return len(self.suppliers[name].gate.ledger.entries())


@dataclass
class Liar:
    """A supplier whose messages go through `lie` and are signed again: it has its own key, so it can."""

    honest: object
    town: object
    lie: object

    def handle(self, request: bytes) -> bytes:
        reply = self.town.read(self.honest(request))
        if not isinstance(reply, StepReply):
            return seal_reply(reply, self.town.name, self.town.identity)
        said = secagg.decode_reply(reply.content)
        lied = self.lie(OF_STEP[type(said).__name__], said)
        if isinstance(lied, bytes):  # the whole message, as it goes on the wire
            return lied
        changed = msgspec.structs.replace(reply, content=secagg.encode(lied))
        return seal_reply(changed, self.town.name, self.town.identity)


def content(reply: messages.Reply) -> object:
    assert isinstance(reply, StepReply), reply
    return secagg.decode_reply(reply.content)


def make_league(path: Path, one) -> League:
    identities = {name: Identity.generate() for name in NAMES}
    keys = [identity.public_key for identity in identities.values()]
    towns = {}
    for name, identity in identities.items():
        towns[name] = replace(one.copy(path / name), name=name, identity=identity)
        identity.save(towns[name].folder / "identity.key")
        rivals = [key for key in keys if key != identity.public_key]
        towns[name].write_policy(trust_modes=["aggregate"], rivals=rivals, epsilon=20.0)
    return League(towns, league_study(towns), path)


def league_study(towns, **changes) -> Study:
    roster = [{"name": name, "public_key": town.identity.public_key} for name, town in towns.items()]
    plain = {"trust_mode": "aggregate", "aggregation": {"dropouts": 1, "colluders": 1}, "suppliers": roster}
    base = towns["north"].study()
    short = [msgspec.structs.replace(base.phases[0], rounds=2), base.phases[1]]
    return towns["north"].study(**(plain | {"phases": short} | changes))


@pytest.fixture(scope="session")
def _league(tmp_path_factory, _town) -> League:
    league = make_league(tmp_path_factory.mktemp("league"), _town)
    for town in league.towns.values():
        with town.open() as supplier:
            town.approve(supplier, league.study)
    return league


@contextmanager
def opened(league: League, path: Path) -> Iterator[League]:
    """A copy of a league at `path`, its suppliers open."""
    shutil.copytree(league.path, path)
    towns = {name: replace(town, folder=path / name) for name, town in league.towns.items()}
    with ExitStack() as held:
        yield League(towns, league.study, path, {name: held.enter_context(town.open()) for name, town in towns.items()})


@pytest.fixture
def league(tmp_path, _league):
    """Five suppliers that have approved a study and answered nothing of it, open; one may drop out and one collude."""
    with opened(_league, tmp_path / "league") as found:
        yield found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _league):
    """The same after an honest study; look, and change nothing."""
    with opened(_league, tmp_path_factory.mktemp("finished") / "league") as found:
        found.run()
        yield found


@pytest.fixture
def neighbours(league, neighbour_town):
    """The same suppliers, of which one has one home less than it had; not for use beside `league` as it was."""
    folder = league.towns["north"].folder
    shutil.rmtree(folder / "store")
    shutil.rmtree(folder / "raw")
    shutil.copytree(neighbour_town.folder / "store", folder / "store")
    shutil.copytree(neighbour_town.folder / "raw", folder / "raw")
    return league


@pytest.fixture(scope="session")
def another_study(_league):
    """A study of the same suppliers that differs by what is given."""
    return lambda **changes: league_study(_league.towns, **changes)
