# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in PostgreSQL: one table, and a lock that ends with the session that holds it.

The session that holds a study's lock is the one that writes: a session that breaks takes both with it. No error's text
of the driver is passed on, for it may hold the URL and so a password.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from skyglow_server.checkpoints import Execute
from skyglow_shared.errors import DatabaseError, FormatError, RunError

try:
    import psycopg
    from psycopg import conninfo, errors
    from psycopg.pq import PGconn, Ping
except ImportError as error:
    message = "PostgreSQL's driver is not installed here; install it with: pip install 'skyglow-server[postgres]'"
    raise RunError(message) from error

_TAKE_SECONDS = 10.0  # after a kill the server needs a moment to notice that the former session is gone
_CONNECT_SECONDS = 10
#: A server or a network that went away is noticed within half a minute, here and there; what is stored, is stored.
_WAITS: dict[str, str | int | None] = {
    "application_name": "skyglow office",
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_SESSION = b"""
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET statement_timeout = '30s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
_SCHEMA = b"""
SELECT pg_advisory_xact_lock(7959390389040738153);
CREATE TABLE IF NOT EXISTS replies (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    study TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL, step TEXT NOT NULL,
    replies BYTEA NOT NULL, PRIMARY KEY (study, phase, round, attempt, step)
)
"""

Connection = psycopg.Connection[tuple[object, ...]]


def check_words(url: str) -> None:
    """FormatError if a URL that was typed on a command line holds a password: others on the machine could read it."""
    if _parsed(url).get("password"):
        raise FormatError(
            "a password on a command line can be read by others; put the URL into office.toml, or the password into a "
            "file that PGPASSFILE names"
        )


@dataclass(slots=True, repr=False, eq=False)
class Postgres:
    """Replies in a PostgreSQL database.

    Parameters
    ----------
    url : str
        ``postgresql://user@host:port/database``; what it leaves out libpq finds as always (``PGPASSFILE``,
        ``PGSERVICEFILE``, a socket).

    Raises
    ------
    FormatError
        That is no such URL.
    """

    url: str
    _mine: Connection | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        _parsed(self.url)

    def made(self) -> bool:
        """Whether there is anything to look into: a database that can be reached is."""
        return True

    @contextmanager
    def opened(self) -> Iterator[Execute]:
        """Give what runs statements: the session that holds the study, or one for now."""
        if self._mine is not None:
            with _heard():
                yield _statements(self._mine)
            return
        with self._session() as connection, _heard():
            yield _statements(connection)

    @contextmanager
    def alone(self, study: str) -> Iterator[None]:
        """Hold a study for as long as one session lives."""
        key = int.from_bytes(hashlib.sha256(f"skyglow {study}".encode()).digest()[:8], "big", signed=True)
        deadline = time.monotonic() + _TAKE_SECONDS
        with self._session() as connection:
            while not self._taken(connection, key):
                if time.monotonic() > deadline:
                    raise RunError("another office runs this study on the same database; stop one of them")
                time.sleep(0.2)
            self._mine = connection
            try:
                yield
            finally:
                self._mine = None

    def _taken(self, connection: Connection, key: int) -> bool:
        with _heard():
            row = connection.execute(b"SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
            return bool(row and row[0])

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        made = conninfo.make_conninfo("", **{**_WAITS, **_parsed(self.url)})
        try:
            connection = psycopg.connect(made, autocommit=True)
        except psycopg.Error:
            raise DatabaseError(_WORDS[Ping(PGconn.ping(made.encode()))]) from None
        try:
            with _heard():
                connection.execute(_SESSION)
                row = connection.execute(b"SELECT to_regclass('replies')").fetchone()
                if row is None or row[0] is None:
                    connection.execute(_SCHEMA)
            yield connection
        finally:
            connection.close()


_AWAY = "the database does not answer; the study goes on where it stood once it is back"
_WORDS = {
    Ping.OK: "the database's server answers, but does not let this office in; correct user, password or database name",
    Ping.REJECT: "the database's server is starting or stopping, or has no room for another session; try again",
    Ping.NO_RESPONSE: _AWAY,
    Ping.NO_ATTEMPT: "the database's URL cannot be used; see docs/how-to/deploy.md",
}


@contextmanager
def _heard() -> Iterator[None]:
    """Turn what PostgreSQL has to complain of into skyglow's errors."""
    try:
        yield
    except errors.DiskFull:
        raise DatabaseError("the database's disk is full; make room, and the study goes on where it stood") from None
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as found:
        kind = type(found).__name__
        raise DatabaseError(f"the database does not let this office write ({kind}); let its user write there") from None
    except (psycopg.ProgrammingError, psycopg.DataError) as found:
        kind = type(found).__name__
        raise FormatError(f"the database has no table of checkpoints, but another ({kind}); give an own one") from None
    except psycopg.Error:
        raise DatabaseError(_AWAY) from None


def _statements(connection: Connection) -> Execute:
    return lambda query, values: connection.execute(query.replace("?", "%s").encode(), values)


def _parsed(url: str) -> dict[str, str | int | None]:
    """The parts of a URL, by libpq's names."""
    try:
        if url.partition("://")[0] in {"postgresql", "postgres"}:
            return dict(conninfo.conninfo_to_dict(url))
    except (psycopg.Error, ValueError):
        pass
    raise FormatError("a database is given as postgresql://user@host/name; see docs/how-to/deploy.md") from None
