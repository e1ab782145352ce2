# SPDX-License-Identifier: Apache-2.0
"""Logs of services: for people, or one JSON object a line. What is logged are names, states and reasons, never data."""

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from skyglow_shared.screen import plain

_BYTES, _OLDER = 10_000_000, 5


class Line(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger and message; of an exception its type alone, for its text may hold data."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            said["exception"] = record.exc_info[0].__name__
        return json.dumps(said)


class Text(logging.Formatter):
    """A record as a line for people, in which nobody else's words begin another."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (of this machine), level, logger and message; of an exception its type alone, likewise."""
        said = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            said += f" ({record.exc_info[0].__name__})"
        return plain(said)


def begin(*, lines: bool, file: Path | None = None) -> None:
    """Log to standard error, plainly or as lines of JSON, and as such lines to a file of bounded size if given one."""
    console = logging.StreamHandler()
    console.setFormatter(Line() if lines else Text())
    handlers: list[logging.Handler] = [console]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = RotatingFileHandler(file, maxBytes=_BYTES, backupCount=_OLDER, encoding="utf-8")
        kept.setFormatter(Line())
        handlers.append(kept)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def last(file: Path, count: int) -> list[str]:
    """The last lines of such a file, plainly."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]:
        try:
            said = json.loads(line)
            found.append(f"{said['time']} {said['level']} {said['logger']}: {said['message']}")
        except (ValueError, KeyError, TypeError):
            continue  # half a line, of a disk that was full
    return found
