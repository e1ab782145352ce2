# SPDX-License-Identifier: Apache-2.0
"""``skyglow office serve|queue|pause|status|logs|stop``: the office as a service."""

import argparse
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skyglow_server import keys, standing
from skyglow_shared import certificates, journal, locks, signals
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.screen import show

if TYPE_CHECKING:
    from skyglow_server.checkpoints import Checkpoints

_STOP_SECONDS = 90.0
Verb = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def register(verb: Verb) -> None:
    """Add the verbs; `verb` makes a parser that takes the office's folder."""
    serve = verb("serve", _serve, "listen, and run queued studies one after another until stopped")
    serve.add_argument("--listen", default="", metavar="HOST:PORT", help="default: the address's port, everywhere")
    serve.add_argument("--patience", type=float, default=120.0, help="seconds that a step waits for suppliers")
    serve.add_argument(
        "--absence", type=float, default=30.0, help="seconds that anybody waits for a supplier that has left"
    )
    database_option(serve)
    serve.add_argument("--json-logs", action="store_true", help="log to standard error as lines of JSON")
    serve.add_argument("--metrics", type=Path, metavar="FILE.prom", help="write metrics for node_exporter to read")
    verb("queue", _queue, "have a drafted study run when its turn comes; also one that was paused or has failed"
         ).add_argument("study")  # fmt: skip
    verb("pause", _pause, "have a study wait until it is queued again").add_argument("study")
    status = verb("status", _status, "who is connected, and where every queued study stands")
    status.add_argument("--ready", action="store_true", help="say nothing; exit with 60 unless somebody serves")
    logs = verb("logs", _logs, "the last lines that the service has logged")
    logs.add_argument("-n", type=int, default=50, metavar="LINES")
    verb("stop", _stop, "stop the service; studies go on where they stood when it is started again")


def database_option(parser: argparse.ArgumentParser) -> None:
    """Let a verb say where replies are kept."""
    parser.add_argument(
        "--database", default="", metavar="URL", help="postgresql://user@host/name; default: as office.toml says"
    )


def checkpoints_of(options: argparse.Namespace) -> "Checkpoints":
    """The checkpoints that a command line means; see `skyglow_server.checkpoints.of_office`."""
    from skyglow_server import checkpoints  # noqa: PLC0415 - with the driver of a database

    if options.database:
        from skyglow_server.links.postgres import check_words  # noqa: PLC0415

        check_words(options.database)
    return checkpoints.of_office(options.folder, options.database)


def _serve(options: argparse.Namespace) -> int:
    from skyglow_server import serve, service  # noqa: PLC0415 - loading them takes seconds

    if not (options.patience > 0 and options.absence > 0):
        raise FormatError("--patience and --absence must be above 0 seconds; 120 and 30 are a good start")
    journal.begin(lines=options.json_logs, file=options.folder / standing.LOG)
    link = serve.federation(options.folder, listen=options.listen, patience=options.patience)
    link.absence = options.absence
    checkpoints = checkpoints_of(options)
    checkpoints.check()
    stop = signals.stop_at_signals(link.halt)
    service.Service(options.folder, link, stop, checkpoints, metrics=options.metrics).run()
    return 0


def _queue(options: argparse.Namespace) -> int:
    standing.queue(options.folder, options.study)
    show(f"{options.study} is queued")
    return 0


def _pause(options: argparse.Namespace) -> int:
    standing.pause(options.folder, options.study)
    show(f"{options.study} is paused; `skyglow office queue` has it go on")
    return 0


def _status(options: argparse.Namespace) -> int:
    beat = standing.beat(options.folder)
    if options.ready:
        if beat is None:
            raise RunError("nobody serves this office; `skyglow office serve` does")
        return 0
    if beat is None:
        show("nobody serves this office")
    else:
        show(f"serving since {beat.since[:19]}Z; connected: {', '.join(beat.connected) or 'nobody'}")
    for line in certificates.ending(keys.watched(options.folder)):
        show(f"soon: {line}")
    for name, one in standing.standings(options.folder).items():
        place = f"{one.phase} {one.done} of {one.total}" if one.total else ""
        show("  ".join(part for part in (name, one.state, f"since {one.since[:19]}Z", place, one.note) if part))
    return 0


def _logs(options: argparse.Namespace) -> int:
    for line in journal.last(options.folder / standing.LOG, max(options.n, 0)):
        show(line)
    return 0


def _stop(options: argparse.Namespace) -> int:
    lock, beat = options.folder / standing.LOCK, standing.beat(options.folder)
    if beat is None:
        raise RunError("nobody serves this office, or not on this machine; stop the process by its supervisor")
    os.kill(beat.process, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while locks.taken(lock):
        if time.monotonic() > deadline:
            raise RunError(f"the service has not stopped in {_STOP_SECONDS:.0f} s; killing it loses nothing")
        time.sleep(0.1)
    show("stopped")
    return 0
