# SPDX-License-Identifier: Apache-2.0
"""No word of an office, a supplier or a file does more on a screen or in a log than be read."""

import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared import command, journal, screen
from skyglow_shared.errors import StudyError

ROGUE = "Good\x1b[2J\r\ncost  epsilon 0\u202e\u2028\x85\x9b31m\x07"


@given(st.text())
def test_whatever_is_shown_is_one_line_of_visible_signs(text):
    assert screen.plain(text).isprintable()
    assert len(screen.plain(text)) == len(text)


def columns(line):
    return sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in line)


@given(st.text(st.characters() | st.sampled_from("家 a"), max_size=300))
def test_no_line_of_a_terminal_begins_with_somebody_elses_words(words):
    lines = screen.folded("why        ", words)
    assert lines[0].startswith("why        ")
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert max(map(columns, lines)) <= 80
    assert all(line.isprintable() for line in lines)


def test_blanks_do_not_fill_a_line():
    assert screen.folded("why  ", "Good" + " " * 75 + "cost  epsilon 0") == ("why  Good cost epsilon 0",)
    assert screen.folded("why  ", " \n ") == ("why  ",)


def test_a_terminal_without_such_a_sign_shows_a_question_mark(monkeypatch):
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", said)
    screen.show("3 × 2", "one")
    assert said.buffer.getvalue() == b"3 ? 2\none\n"


def test_the_words_of_an_error_are_one_line_too(monkeypatch, capsys):
    def fail(*_):
        raise StudyError(f"the study cannot be read: unknown field `{ROGUE}`")

    monkeypatch.setattr(command, "build_parser", fail)
    assert command.main(["audit"]) == 20
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err[:-1].isprintable()


@pytest.mark.parametrize("lines", [False, True])
def test_a_log_has_one_line_a_record_and_no_text_of_an_exception(capsys, lines):
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        journal.begin(lines=lines)
        logging.getLogger("skyglow").warning("a request was refused: %s", ROGUE)
        try:
            raise ValueError("a reading of 1.234")
        except ValueError:
            logging.getLogger("grpc").exception("a thread ended")
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
    first, second = capsys.readouterr().err.splitlines()
    assert first.isprintable() and "a request was refused: Good" in (json.loads(first)["message"] if lines else first)
    assert "a thread ended" in second and "ValueError" in second and "1.234" not in second
