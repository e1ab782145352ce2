# SPDX-License-Identifier: Apache-2.0
"""Books as files: read back as they were written, and noticed when they were changed."""

import pytest

from skyglow_shared import audit
from skyglow_shared.errors import FormatError, LedgerError


@pytest.fixture
def book(tmp_path):
    entries = []
    for seq, body in enumerate(({"a": 1.5}, {"b": "ü\n"}, {"c": [1, None]}), start=1):
        entries.append(audit.link(audit.OFFICE, seq, "reply", body, entries[-1].hash if entries else ""))
    path = tmp_path / "book.jsonl"
    audit.write(path, entries)
    return path, entries


def test_what_was_written_is_read(book):
    path, entries = book
    assert audit.read(path, audit.OFFICE) == entries


def test_one_sides_book_is_not_the_others(book):
    with pytest.raises(LedgerError, match="entry 1"):
        audit.read(book[0], audit.LEDGER)


@pytest.mark.parametrize(
    ("spoil", "at"),
    [
        (lambda lines: [lines[0], lines[1].replace(b'"b"', b'"d"'), lines[2]], 2),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1]], 2),
        (lambda lines: [*lines, lines[2]], 4),
        (lambda lines: [lines[0], lines[1], lines[2].replace(b'"reply"', b'"study"')], 3),
        (lambda lines: [lines[0], lines[1], lines[2].replace(b'"time":"2', b'"time":"3')], 3),
        (lambda lines: [lines[0].replace(b'{"a":1.5}', b'{"a": 1.5}'), *lines[1:]], 1),
    ],
)
def test_any_change_is_noticed(book, spoil, at):
    path, _ = book
    path.write_bytes(b"".join(spoil(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LedgerError, match=f"entry {at}"):
        audit.read(path, audit.OFFICE)


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"\xff\xfe", b"[1]", b'{"seq": 1}', b"[" * 100_000, None])
def test_a_file_that_is_no_book_is_refused(tmp_path, content):
    path = tmp_path / "book.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match="export"):
        audit.read(path, audit.OFFICE)
