# SPDX-License-Identifier: Apache-2.0
"""What is shown on a screen or written to a log: nobody else's words move the cursor or begin lines of their own."""

import os
import sys
import textwrap

_USUAL_COLUMNS = 80
_LEAST_ROOM = 20


def plain(text: str) -> str:
    """A text on one line, in which whatever is no visible sign is replaced: ends of lines, escapes, signs that turn."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def show(*lines: str) -> None:
    """Print lines, each as `plain` has it; a sign that the terminal's encoding lacks is a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(plain(line).encode(encoding, "replace").decode(encoding) + "\n")


def folded(label: str, words: str) -> tuple[str, ...]:
    """Somebody else's words behind a label, folded so that no line of the terminal begins with them.

    Parameters
    ----------
    label : str
        With the blanks that follow it; the other lines begin with as many.
    words : str
        Whatever their blanks are, a single one stands between words. Signs beyond ASCII may be two columns wide, so
        with one of them lines are half as long.

    Returns
    -------
    tuple of str
    """
    room = max(_columns() - len(label), _LEAST_ROOM)
    text = plain(" ".join(words.split()))
    lines = textwrap.wrap(text, room if text.isascii() else room // 2) or [""]
    return tuple((" " * len(label) if place else label) + line for place, line in enumerate(lines))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return _USUAL_COLUMNS
