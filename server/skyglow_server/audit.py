# SPDX-License-Identifier: Apache-2.0
"""The office's book: every signed reply it has received, by study, supplier and round, as a chain to be handed out.

It is made from the checkpoints, which are the replies themselves; each is read, and its signature checked, on the way.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import APPROVALS
from skyglow_shared import audit
from skyglow_shared.audit import APPROVAL, Asked, Entry, Received, reply_digest
from skyglow_shared.errors import FormatError
from skyglow_shared.messages import Approval, Share, StepReply, open_reply
from skyglow_shared.secagg.messages import decode_reply
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study, canonical_bytes, digest


def export(folder: Path, path: Path) -> int:
    """Write the book of an office's folder to `path`; return how many replies it holds.

    Raises
    ------
    FormatError
        The folder holds no studies, or its checkpoints cannot be read.
    ProtocolError, SignatureError
        A stored reply is not what a supplier signed.
    """
    files = sorted((folder / "studies").glob("*/study.json"))
    if not files:
        raise FormatError(f"{folder.name} holds no studies; give the office's folder")
    store = folder / "checkpoints.sqlite"
    checkpoints = Checkpoints(store) if store.exists() else None
    entries = book([decode_study(file.read_bytes()) for file in files], checkpoints)
    audit.write(path, entries)
    return sum(entry.kind == "reply" for entry in entries)


def book(studies: Iterable[Study], checkpoints: Checkpoints | None) -> list[Entry]:
    """The chain of what was received for some studies: ``study`` entries, each with its ``reply`` entries after it."""
    entries: list[Entry] = []
    for study in studies:
        _follow(entries, "study", Asked(study=digest(study), canonical=canonical_bytes(study).decode()))
        for reply in _received(study, checkpoints) if checkpoints else ():
            _follow(entries, "reply", reply)
    return entries


def _received(study: Study, checkpoints: Checkpoints) -> Iterator[Received]:
    rounds = [(APPROVALS, 0), *((phase.name, round_) for phase in study.phases for round_ in range(phase.rounds))]
    keys = {supplier.name: supplier.public_key for supplier in study.suppliers}
    for phase, round_ in rounds:
        for name, message in sorted((checkpoints.load(digest(study), phase, round_) or {}).items()):
            if name not in keys:
                raise FormatError("a stored reply is of nobody on the study's roster; restore the checkpoints")
            yield _entry(study, name, message, keys[name])


def _entry(study: Study, name: str, message: bytes, key: str) -> Received:
    reply = open_reply(message, name, key)
    shared = {"study": digest(study), "supplier": name, "reply": reply_digest(message), "size": len(message)}
    if isinstance(reply, Share):
        place = {"phase": reply.phase, "round": reply.round, "attempt": reply.attempt, "step": reply.step}
    elif isinstance(reply, StepReply):
        step = type(decode_reply(reply.content)).__name__
        place = {"phase": reply.phase, "round": reply.round, "attempt": reply.attempt, "step": step}
    elif isinstance(reply, Approval):
        place = {"phase": "", "round": 0, "attempt": 0, "step": APPROVAL}
    else:
        raise FormatError("a stored reply is neither an approval nor of a round; restore the checkpoints")
    if reply.study != digest(study):
        raise FormatError("a stored reply is of another study than it is stored for; restore the checkpoints")
    return msgspec.convert(shared | place, type=Received)


def _follow(entries: list[Entry], kind: str, body: object) -> None:
    previous = entries[-1].hash if entries else ""
    entries.append(audit.link(audit.OFFICE, len(entries) + 1, kind, body, previous))
