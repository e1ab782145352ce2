# SPDX-License-Identifier: Apache-2.0
"""Where queued studies stand, and whether somebody serves: files of the office's folder that anybody there may read.

::

    studies/NAME/state.json    where a study stands, for people and for the service that is started again
    serve.lock  serve.json     somebody serves here: since when, with which suppliers connected
    logs/office.jsonl          what was logged, as lines of JSON
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from skyglow_shared import locks
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.files import write_atomically

LOCK, BEAT, LOG = "serve.lock", "serve.json", "logs/office.jsonl"
_STALE_SECONDS = 20.0

State = Literal["queued", "running", "waiting", "paused", "complete", "failed"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a study stands: its state, since when (UTC), its place in the queue, how far it is, and why it waits."""

    state: State
    since: str
    queued: str
    phase: str = ""
    done: int = 0
    total: int = 0
    note: str = ""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a service that runs says of itself now and then."""

    process: int
    since: str
    at: float
    connected: tuple[str, ...]


def standing(folder: Path, name: str) -> Standing | None:
    """Where a study stands, or None if it was never queued; FormatError if its file cannot be read."""
    path = folder / "studies" / name / "state.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Standing) if path.exists() else None
    except msgspec.MsgspecError:
        raise FormatError(f"studies/{name}/state.json cannot be read; delete it and queue the study again") from None


def standings(folder: Path) -> dict[str, Standing]:
    """Where all queued studies stand, in the order in which they were queued."""
    names = sorted(path.parent.name for path in (folder / "studies").glob("*/state.json"))
    found = {name: one for name in names if (one := standing(folder, name)) is not None}
    return dict(sorted(found.items(), key=lambda item: (item[1].queued, item[0])))


def queue(folder: Path, name: str) -> None:
    """Queue a drafted study, or one that was paused or has failed; RunError if there is none, or it is complete."""
    if not (folder / "studies" / name / "study.json").exists():
        raise RunError("no study of that name was drafted here; `skyglow office draft` makes one")
    before = standing(folder, name)
    if before is not None and before.state == "complete":
        raise RunError("the study is complete; its estimates lie in its folder")
    put(folder, name, Standing(state="queued", since=now(), queued=before.queued if before else now()))


def pause(folder: Path, name: str) -> None:
    """Have a queued study wait until it is queued again; RunError if it is not queued."""
    before = standing(folder, name)
    if before is None or before.state in ("complete", "failed"):
        raise RunError("the study is not queued; see `skyglow office status`")
    put(folder, name, msgspec.structs.replace(before, state="paused", since=now(), note="paused by a person"))


def beat(folder: Path) -> Beat | None:
    """What the service that runs on a folder said last, or None if none runs, or it has not said anything for long."""
    if not locks.taken(folder / LOCK):
        return None
    try:
        found = msgspec.json.decode((folder / BEAT).read_bytes(), type=Beat)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if time.time() - found.at < _STALE_SECONDS else None


def put(folder: Path, name: str, found: Standing) -> None:
    """Note where a study stands."""
    write_atomically(folder / "studies" / name / "state.json", msgspec.json.encode(found) + b"\n")


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
