# SPDX-License-Identifier: Apache-2.0
"""An earlier release that lost lines, or its study, would hide what it let out: it is refused, never believed."""

import hashlib
import shutil

import msgspec
import pytest

from skyglow_server.publication.earlier import read_release
from skyglow_shared.errors import FormatError
from skyglow_shared.study import canonical_bytes

TABLE, SOURCES = "estimates-all-aged-66-plus.csv", "uncertainty-by-source.csv"


def lines(change):
    """A change of a table's lines, of which the first is its head."""
    return lambda content: b"".join(change(content.splitlines(keepends=True)))


def put(old, new):
    return lambda content: content.replace(old, new)


CASES = {
    "cut off within a line": (TABLE, lambda content: content[:-40]),
    "cut off after a line": (TABLE, lines(lambda all_lines: all_lines[:3])),
    "no figures": (TABLE, lines(lambda all_lines: all_lines[:1])),
    "a line twice": (TABLE, lines(lambda all_lines: [*all_lines, all_lines[1]])),
    "another level": (TABLE, put(b",LAD,", b",CITY,")),
    "other areas": (TABLE, put(b"E02", b"E03")),
    "another topic": (TABLE, put(b",all_aged_66_plus,", b",../elsewhere,")),
    "words for a number": (TABLE, put(b",0.2", b",about 0.2")),
    "no number": (TABLE, put(b"0.200", b"nan")),
    "a half-hour too few": ("estimates-occupancy.csv", lines(lambda all_lines: all_lines[:-1])),
    "a share beyond one": (SOURCES, put(b"0.250", b"9.250")),
}


@pytest.mark.parametrize("digests", [True, False], ids=["with digests", "without"])
@pytest.mark.parametrize("case", CASES)
def test_a_damaged_table_is_refused_whatever_is_left_of_it(published, case, digests):
    name, spoil = CASES[case]
    file = published / name
    content = spoil(file.read_bytes())
    assert content != file.read_bytes()
    file.write_bytes(content)
    if not digests:
        shutil.rmtree(published / "checksums")
    with pytest.raises(FormatError, match="put back") as told:
        read_release(published)
    assert "0.2" not in str(told.value)


def test_a_table_or_all_tables_that_are_gone_are_missed(published):
    (published / TABLE).unlink()
    with pytest.raises(FormatError, match=TABLE):
        read_release(published)
    shutil.rmtree(published / "checksums")
    assert {key[0] for key in read_release(published).rows} == {"occupancy"}
    (published / "estimates-occupancy.csv").unlink()
    with pytest.raises(FormatError, match="no table"):
        read_release(published)


def test_tables_of_another_study_are_refused(published, release):
    fewer = msgspec.structs.replace(release.study, areas=release.study.areas[:2])
    (published / "study.json").write_bytes(canonical_bytes(fewer))
    with pytest.raises(FormatError, match=r"study\.json"):
        read_release(published)
    shutil.rmtree(published / "checksums")
    with pytest.raises(FormatError, match="not its study"):
        read_release(published)


def test_what_was_changed_on_purpose_is_read_once_its_digest_says_so(published):
    """A checker blanks one more figure; files that are not read here may be left out of what is published."""
    (published / "checks.csv").unlink()
    head, town, *others = (published / TABLE).read_bytes().splitlines(keepends=True)
    blank = b",".join([*town.split(b",")[:5], *[b""] * 6, b"suppressed", b"[c]", b"least_homes"]) + b"\r\n"
    changed = b"".join([head, blank, *others])
    (published / TABLE).write_bytes(changed)
    (published / "checksums" / f"{TABLE}.txt").write_text(hashlib.sha256(changed).hexdigest())
    assert read_release(published).rows["all_aged_66_plus", "LAD", "E06000001", "all"]["estimate"] == ""
