# SPDX-License-Identifier: Apache-2.0
"""The `skyglow` command: whatever the installed distributions bring, under one name.

A distribution adds a sub-command by an entry point of the command's name in group ``skyglow.commands``: a function
``register(subparsers)`` that adds its parser and sets on it ``func(args) -> int``, which returns the exit code. A
distribution that is not installed is simply absent: a supplier's `skyglow` has no word about the office.
"""

import argparse
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points, version

from skyglow_shared.errors import InternalError, RunError, SkyglowError
from skyglow_shared.screen import plain

GROUP = "skyglow.commands"

#: Exit code of a command that was interrupted from the keyboard: 128 + SIGINT, as shells have it.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after `skyglow`; by default this process's own arguments.

    Returns
    -------
    int
        0 when it is done, 2 for a command line that cannot be understood, 130 when interrupted, otherwise the
        `exit_code` of the error; see docs/reference/errors.md. What is no error of skyglow's tree is a fault of
        skyglow: 70, and of it are told its type and place alone, for its text may hold data. So it is in threads,
        whose end ends nothing else.
    """
    if arguments is None:  # the process is ours
        threading.excepthook = sys.unraisablehook = _tell
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        parser = build_parser(_needed(entry_points(group=GROUP), words))
        parsed = parser.parse_args(words)
        run: Callable[[argparse.Namespace], int] | None = getattr(parsed, "func", None)
        if run is None:
            parser.print_help(sys.stderr)
            return 2
        return run(parsed)
    except SkyglowError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return _fail(f"cannot read or write{place}: {error.strerror or type(error).__name__}", RunError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        return _fail(_fault(error), InternalError.exit_code)


def build_parser(found: Iterable[EntryPoint]) -> argparse.ArgumentParser:
    """Build the parser of `skyglow` from the entry points found; those that cannot be loaded are named on stderr."""
    parser = argparse.ArgumentParser(
        prog="skyglow",
        description="Learn about homes without anyone seeing one.",
        epilog="A command exits with 0, or with the code of its error: see docs/reference/errors.md.",
    )
    parser.add_argument("--version", action="version", version=f"skyglow {version('skyglow-shared')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for entry in sorted(found, key=lambda entry: entry.name):
        try:
            register = entry.load()
        except ImportError as error:  # one broken distribution must not take the others' commands away
            print(f"skyglow: no `{entry.name}` command ({error}); reinstall what brings it", file=sys.stderr)
            continue
        register(subparsers)
    return parser


def _needed(found: Iterable[EntryPoint], words: Sequence[str]) -> list[EntryPoint]:
    """The entry point that the first word names, or all of them to choose from: loading one takes seconds."""
    if words and words[0] == "--version":
        return []
    everything = list(found)
    return [entry for entry in everything if entry.name in words[:1]] or everything


def _fault(error: Exception) -> str:
    """What may be told of an error that nobody foresaw: its type, and where it happened by module and line."""
    found = [(str(frame.f_globals.get("__name__")), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    found = found or [("no place", 0)]  # of what C raised
    own = [place for place in found if place[0].startswith("skyglow_")] or found
    places = dict.fromkeys([own[-1], found[-1]])  # a library's line says little without ours that led to it
    where = ", then ".join(f"{module}, line {line}" for module, line in places)
    return f"{type(error).__name__} in {where}: this is a fault of skyglow; please report this line, it holds no data"


def _tell(left: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    """Say of an error that nobody can catch what may be told of it."""
    if isinstance(left.exc_value, Exception):
        _fail(_fault(left.exc_value), InternalError.exit_code)


def _fail(message: str, code: int) -> int:
    print(f"skyglow: {plain(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
