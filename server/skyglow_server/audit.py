# SPDX-License-Identifier: Apache-2.0
"""The office's book: every signed reply it has received, by study, supplier and round, as a chain to be handed out.

It is made from the checkpoints, which are the replies themselves; each is read, and its signature checked, on the way.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from skyglow_server.checkpoints import FILE, Checkpoints, Place
from skyglow_shared import audit
from skyglow_shared.audit import APPROVAL, Asked, Entry, Received, reply_digest
from skyglow_shared.errors import FormatError
from skyglow_shared.messages import Approval, Refusal, Share, StepReply, open_reply
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study, canonical_bytes, digest


def export(folder: Path, path: Path, checkpoints: Checkpoints | None = None) -> int:
    """Write the book of an office's folder to `path`; return how many replies it holds.

    Parameters
    ----------
    folder, path : Path
    checkpoints : Checkpoints, optional
        By default those in the folder.

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
    kept = checkpoints or Checkpoints.in_file(folder / FILE)
    entries = book([decode_study(file.read_bytes()) for file in files], kept if kept.database.made() else None)
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
    keys = {supplier.name: supplier.public_key for supplier in study.suppliers}
    for place in checkpoints.places(digest(study)):
        for name, message in sorted((checkpoints.load(place) or {}).items()):
            if name not in keys:
                raise FormatError("a stored reply is of nobody on the study's roster; restore the checkpoints")
            reply = open_reply(message, name, keys[name])
            if not isinstance(reply, Refusal):  # which says nothing of homes, and no ledger records
                yield _entry(place, reply, name, message)


def _entry(place: Place, reply: Approval | Share | StepReply, name: str, message: bytes) -> Received:
    if isinstance(reply, Approval):
        place = place._replace(phase="", step=APPROVAL)
    elif (reply.phase, reply.round, reply.attempt) != (place.phase, place.round, place.attempt):
        raise FormatError("a stored reply is of another round than it is stored for; restore the checkpoints")
    if reply.study != place.study:
        raise FormatError("a stored reply is of another study than it is stored for; restore the checkpoints")
    return Received(**place._asdict(), supplier=name, reply=reply_digest(message), size=len(message))


def _follow(entries: list[Entry], kind: str, body: object) -> None:
    previous = entries[-1].hash if entries else ""
    entries.append(audit.link(audit.OFFICE, len(entries) + 1, kind, body, previous))
