# SPDX-License-Identifier: Apache-2.0
"""What tests of several rooms need: a PostgreSQL server, where one can be started."""

import itertools

import pytest

from skyglow_simulations import own_postgres

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def database_server():
    """A server of this test run's own."""
    pytest.importorskip("psycopg", reason="needs the extra postgres: pip install 'skyglow-server[postgres]'")
    if own_postgres.programs() is None:
        pytest.skip("PostgreSQL's server is not installed here; SQLite alone is tried")
    with own_postgres.serving() as server:
        yield server


@pytest.fixture
def schema(database_server):
    """The name of an empty schema."""
    name = f"test_{next(_NUMBERS)}"
    with pytest.importorskip("psycopg").connect(database_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return name


@pytest.fixture
def database(database_server, schema):
    """The URL of an empty database, as far as an office can tell."""
    return database_server.url(schema=schema)
