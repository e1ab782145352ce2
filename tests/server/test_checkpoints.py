# SPDX-License-Identifier: Apache-2.0
"""The office's memory, in a file or in a database: durable, complete rounds only, and honest about damage."""

import sqlite3
from contextlib import closing

import pytest

from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_shared.errors import FormatError, RunError

REPLIES = {"north": b"\x00\xff" * 1000, "south": b""}


@pytest.fixture
def file(tmp_path):
    return Checkpoints.in_file(tmp_path / "office" / "checkpoints.sqlite")


def test_what_was_saved_is_there_for_whoever_opens_it_next(checkpoints):
    checkpoints.save(Place("study", "training", 3), REPLIES)
    assert Checkpoints(checkpoints.database).load(Place("study", "training", 3)) == REPLIES


def test_a_round_that_was_not_saved_is_not_there(checkpoints):
    assert checkpoints.load(Place("study", "training", 3)) is None
    checkpoints.save(Place("study", "training", 3), REPLIES)
    for key in (("study", "training", 2), ("study", "release", 3), ("another", "training", 3)):
        assert checkpoints.load(Place(*key)) is None


def test_a_stored_round_is_never_replaced(checkpoints):
    checkpoints.save(Place("study", "training", 3), REPLIES)
    with pytest.raises(RunError, match="already stored"):
        checkpoints.save(Place("study", "training", 3), {"north": b"other"})
    assert checkpoints.load(Place("study", "training", 3)) == REPLIES


def test_no_half_of_a_round_is_left_by_a_write_that_fails(checkpoints):
    with pytest.raises(TypeError):
        checkpoints.save(Place("study", "training", 0), {"north": b"1", "south": object()})
    assert checkpoints.load(Place("study", "training", 0)) is None
    checkpoints.save(Place("study", "training", 0), REPLIES)


def test_steps_are_listed_in_the_order_in_which_they_were_stored(checkpoints):
    order = [Place("study", "z", 1), Place("study", "a", 7, 2, "mask"), Place("study", "a", 0)]
    for place in order:
        checkpoints.save(place, REPLIES)
    checkpoints.save(Place("another", "a", 0), REPLIES)
    assert checkpoints.places("study") == order


def test_one_process_at_a_time_runs_a_study_on_a_file(file):
    with file.alone("study"):
        file.save(Place("study", "training", 0), REPLIES)
        with pytest.raises(RunError, match="another process runs"), file.alone("study"):
            pass
    with file.alone("study"):
        assert file.load(Place("study", "training", 0)) == REPLIES


def test_every_write_to_a_file_is_durable(file):
    file.save(Place("study", "training", 3), REPLIES)
    with file.database.opened() as execute:
        assert execute("PRAGMA journal_mode", ()).fetchone() == ("wal",)
        assert execute("PRAGMA synchronous", ()).fetchone() == (2,)


def garbage(path):
    path.write_bytes(b"not a database at all " * 500)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_inside(path):
    content = bytearray(path.read_bytes())
    content[200:] = b"\xa5" * (len(content) - 200)
    path.write_bytes(content)


def of_another_shape(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE replies (something TEXT)")
        connection.commit()


def other_content(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE replies SET replies = x'c1c1'")
        connection.commit()


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        truncated,
        damaged_inside,
        of_another_shape,
        other_content,
    ],
)
def test_a_damaged_file_is_said_to_be_damaged(spoil, file):
    for round_ in range(40):
        file.save(Place("study", "training", round_), REPLIES)
    spoil(file.database.path)
    with pytest.raises(FormatError, match="checkpoint"):
        for round_ in range(40):
            file.load(Place("study", "training", round_))
            file.save(Place("study", "release", round_), REPLIES)
