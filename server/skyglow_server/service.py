# SPDX-License-Identifier: Apache-2.0
"""The office as a service: queued studies run one after another, each from wherever it stands, until told to stop.

A study that cannot go on now (not approved yet, too few suppliers, a database that is away) waits and is tried again,
the others go on. Whatever kills the service, the checkpoints say where each study stands.
"""

import logging
import os
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skyglow_server import keys, serve
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.links.grpc import GrpcFederation
from skyglow_server.measures import measured
from skyglow_server.standing import BEAT, LOCK, Beat, Standing, now, put, standing, standings
from skyglow_shared import certificates, locks, metrics
from skyglow_shared.errors import (
    ApprovalError,
    ClockError,
    DataError,
    LedgerError,
    LimitError,
    RunError,
    SkyglowError,
)
from skyglow_shared.files import write_atomically
from skyglow_shared.repeating import every

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 30.0
_BEAT_SECONDS = 2.0
#: What may pass without the study being changed: somebody decides, makes room, comes back, or puts a clock right.
_PASSING = (ApprovalError, ClockError, DataError, LedgerError, LimitError, RunError, OSError)


@dataclass(slots=True)
class Service:
    """Runs queued studies of an office's folder over a link until `stop` is set."""

    folder: Path
    link: GrpcFederation
    stop: threading.Event
    checkpoints: Checkpoints
    retry_seconds: float = _RETRY_SECONDS
    metrics: Path | None = None
    _tried: dict[str, float] = field(default_factory=dict)
    _told: float = 0.0

    def run(self) -> None:
        """Serve; RunError if another process does."""
        message = "another process serves this office's folder; `skyglow office stop` stops it"
        with locks.alone(self.folder / LOCK, message), self.link, self._beating(), self._watching():
            _log.info("the office serves")
            while not self.stop.is_set():
                name = self._next()
                if name is None:
                    self.stop.wait(0.5)
                else:
                    self._conduct(name)
        _log.info("stopped")

    def _next(self) -> str | None:
        """The study whose turn it is: one that a crash left running, or the first in the queue that may be tried."""
        found = standings(self.folder)
        running = [name for name, one in found.items() if one.state == "running"]
        queued = [name for name, one in found.items() if one.state in ("queued", "waiting") and self._due(name, one)]
        return next(iter(running + queued), None)

    def _due(self, name: str, one: Standing) -> bool:
        return one.state == "queued" or time.monotonic() >= self._tried.get(name, 0.0)

    def _conduct(self, name: str) -> None:
        found = standing(self.folder, name)
        if found is None:
            return
        _log.info("study %s begins, or goes on", name)
        self._set(name, state="running")

        def progress(phase: str, done: int, total: int) -> None:
            self._progress(name, phase, done, total)

        try:
            serve.conduct(self.folder, name, self.link, self.checkpoints, progress)
            self._set(name, state="complete", note="")
            _log.info("study %s is complete", name)
        except _PASSING as error:
            if self._is_put_aside(name):
                _log.info("study %s is put aside", name)
            else:
                self._tried[name] = time.monotonic() + self.retry_seconds
                why = str(error) if isinstance(error, SkyglowError) else f"the system says {type(error).__name__}"
                self._wait(name, why)
        except SkyglowError as error:
            _log.error("study %s has failed: %s", name, error)
            self._set(name, state="failed", note=str(error))

    def _wait(self, name: str, why: str) -> None:
        _log.warning("study %s waits: %s", name, why)
        if not self._set(name, state="waiting", note=why):
            self.stop.wait(self.retry_seconds)  # nor is it tried sooner if that cannot be written down

    def _is_put_aside(self, name: str) -> bool:
        """Whether the study in hand was paused or taken away, or the service is to stop."""
        found = standing(self.folder, name)
        return self.stop.is_set() or found is None or found.state == "paused"

    def _progress(self, name: str, phase: str, done: int, total: int) -> None:
        """Note how far a study is, once a second at most; leave it if it was paused or all is to stop."""
        if self._is_put_aside(name):
            raise RunError("the study was put aside; `skyglow office pause` and `stop` do that")
        if done == total or time.monotonic() - self._told > 1.0:
            self._told = time.monotonic()
            self._set(name, state="running", phase=phase, done=done, total=total, note="")
            _log.info("study %s, %s: %d of %d", name, phase, done, total)

    def _set(self, name: str, **changes: str | int) -> bool:
        """Note where a study stands; False if that cannot be written."""
        before = standing(self.folder, name)
        if before is None or (before.state, changes["state"]) == ("paused", "running"):
            return True
        since = before.since if before.state == changes["state"] else now()
        changed = msgspec.structs.asdict(before) | changes | {"since": since}
        try:
            put(self.folder, name, msgspec.convert(changed, type=Standing))
        except OSError as error:
            kind = type(error).__name__
            _log.error("where study %s stands cannot be written (%s); is the disk full?", name, kind)
            return False
        return True

    def _watching(self) -> AbstractContextManager[None]:
        return certificates.watching(lambda: keys.watched(self.folder))

    def _beating(self) -> AbstractContextManager[None]:
        """Say now and then that somebody serves."""
        since = now()
        return every(_BEAT_SECONDS, lambda: self._beat(since), at_once=True)

    def _beat(self, since: str) -> None:
        connected = self.link.connected()
        said = Beat(process=os.getpid(), since=since, at=time.time(), connected=connected)
        try:
            write_atomically(self.folder / BEAT, msgspec.json.encode(said))
            if self.metrics is not None:
                metrics.write(self.metrics, measured(self.folder, connected))
        except (OSError, SkyglowError) as error:
            _log.error("%s or the metrics cannot be written (%s); is the disk full?", BEAT, type(error).__name__)
