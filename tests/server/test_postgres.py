# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in a real PostgreSQL: who is let in, what happens when it goes away, and what is never said."""

import logging
import signal

import pytest

from skyglow_server import keys, settings
from skyglow_server.checkpoints import Checkpoints, Place, of_office
from skyglow_server.coordinator import Coordinator
from skyglow_shared.command import main
from skyglow_shared.errors import DatabaseError, FormatError, RunError
from skyglow_simulations import own_postgres

postgres = pytest.importorskip("skyglow_server.links.postgres", reason="needs the extra postgres", exc_type=RunError)
PLACE = Place("study", "training", 0)
WRONG = "wrong"


def at(url):
    return Checkpoints(postgres.Postgres(url))


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (lambda server: server.url(password=WRONG), "does not let this office in"),
        (lambda server: server.url("absent"), "does not let this office in"),
        (lambda server: server.url(user="stranger", password=WRONG), "does not let this office in"),
        (lambda server: "postgresql://skyglow:wrong@127.0.0.1:1/office", "does not answer"),
    ],
    ids=["password", "database", "user", "address"],
)
def test_who_is_not_let_in_is_told_so_before_anything_listens(database_server, way, words, tmp_path, capfd):
    """The command itself: exit code 62, no traceback, no password."""
    keys.init(tmp_path, "127.0.0.1:1")  # a port that it could not have: it is not even tried
    settings.save(tmp_path, settings.Settings(address="127.0.0.1:1", database=way(database_server)))
    assert main(["office", "serve", str(tmp_path)]) == DatabaseError.exit_code == 62
    said = "".join(capfd.readouterr())
    assert words in said
    assert "wrong" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("url", ["http://x/y", "postgresql", "postgresql://u:secret@[h/d", "postgresql://%zz@h/d"])
def test_what_is_no_url_is_refused_without_being_repeated(url):
    with pytest.raises(FormatError) as caught:
        at(url)
    assert "secret" not in str(caught.value)


def test_a_password_on_a_command_line_is_refused(tmp_path, capsys):
    keys.init(tmp_path, "127.0.0.1:1")
    line = ["office", "serve", str(tmp_path), "--database", "postgresql://u:hush@127.0.0.1:1/d"]
    assert main(line) == FormatError.exit_code
    said = capsys.readouterr().err
    assert "PGPASSFILE" in said
    assert "hush" not in said


def test_settings_that_name_a_database_are_for_their_owner_alone(tmp_path):
    keys.init(tmp_path, "127.0.0.1:1")
    path = tmp_path / settings.FILE
    assert of_office(tmp_path) == Checkpoints.in_file(tmp_path / "checkpoints.sqlite")
    with path.open("a") as file:
        file.write('database = "postgresql://u:hush@127.0.0.1:1/d"\n')
    assert "hush" not in repr(settings.load(tmp_path)) + repr(of_office(tmp_path))
    path.chmod(0o640)
    with pytest.raises(FormatError, match="chmod 600"):
        of_office(tmp_path)
    path.chmod(0o600)
    path.write_text('address = "127.0.0.1:1"\ndatabase = "postgresql://u:hush@\n')
    with pytest.raises(FormatError) as caught:
        of_office(tmp_path)
    assert "hush" not in str(caught.value)


def test_every_write_is_durable_whatever_the_database_was_set_to(database):
    checkpoints = at(database + "%20-csynchronous_commit%3Doff")
    with checkpoints.database.opened() as execute:
        assert execute("SELECT current_setting('synchronous_commit')", ()).fetchone() == ("on",)


def test_another_table_of_that_name_is_not_used(database_server, database, schema):
    database_server.run(f"CREATE TABLE {schema}.replies (something TEXT)")
    with pytest.raises(FormatError, match="no table of checkpoints"):
        at(database).load(PLACE)
    with pytest.raises(FormatError, match="no table of checkpoints"):
        at(database).save(PLACE, {})


def test_a_user_that_may_not_write_is_told_so(database_server, database, schema):
    at(database).save(PLACE, {"north": b"1"})
    database_server.run(
        f"CREATE ROLE reader LOGIN PASSWORD '{WRONG}'; GRANT USAGE ON SCHEMA {schema} TO reader;"
        f"GRANT SELECT ON {schema}.replies TO reader"
    )
    reader = at(database_server.url(schema=schema, user="reader", password=WRONG))
    assert reader.load(PLACE) == {"north": b"1"}
    with pytest.raises(DatabaseError, match="let its user write"):
        reader.save(Place("study", "training", 1), {})


def test_content_that_was_changed_is_said_to_be_damaged(database_server, database, schema):
    at(database).save(PLACE, {"north": b"1"})
    database_server.run(f"UPDATE {schema}.replies SET replies = '\\xc1c1'")  # noqa: S608 - the test's own name
    with pytest.raises(FormatError, match="cannot be used"):
        at(database).load(PLACE)


def test_two_offices_run_one_study_once_and_the_second_goes_on_when_the_first_is_killed(database, monkeypatch):
    monkeypatch.setattr(postgres, "_TAKE_SECONDS", 0.3)
    first, second = at(database), at(database)
    with first.alone("study"), second.alone("another"), pytest.raises(RunError, match="another office runs this study"):
        second.alone("study").__enter__()
    with second.alone("study"):
        pass


@pytest.mark.parametrize(("how", "rounds"), [(signal.SIGINT, 0), (signal.SIGQUIT, 2)], ids=["stopped", "crashed"])
def test_a_database_that_goes_away_in_the_middle_of_a_study(how, rounds, puppets, tmp_path, caplog):
    """The study ends with an error that says so, and goes on where it stood once the database is back."""
    caplog.set_level(logging.DEBUG)
    whole = Coordinator(
        puppets().study, puppets().office, puppets(), Checkpoints.in_file(tmp_path / "whole.sqlite"), lambda *_: None
    ).run()
    if own_postgres.programs() is None:
        pytest.skip("PostgreSQL's server is not installed here")
    with own_postgres.serving() as server:
        checkpoints, federation = at(server.url()), puppets()

        def progress(phase, done, total):
            if (phase, done) == ("training", rounds):
                server.stop(how)

        with pytest.raises(DatabaseError, match="goes on where it stood"), checkpoints.alone("study"):
            Coordinator(federation.study, federation.office, federation, checkpoints, progress).run()
        with pytest.raises(DatabaseError), checkpoints.alone("study"):
            pass
        server.start()
        later = puppets()
        with checkpoints.alone("study"):
            found = Coordinator(later.study, later.office, later, checkpoints, lambda *_: None).run()
        assert [kind for kind, _ in later.asked] == [*(("training", n) for n in range(rounds, 4)), ("release", 0)]
    for name, one in whole.sums.items():
        assert (found.sums[name].values == one.values).all()
    assert own_postgres.PASSWORD not in caplog.text
