# SPDX-License-Identifier: Apache-2.0
"""The tables of a ledger's file, and the queries that need an index of their own."""

APPLICATION = 0x736B7967  # "skyg", in SQLite's header: another program's database is not taken for a ledger
WITNESSED = """
CREATE TABLE witnessed (
    supplier TEXT PRIMARY KEY, entries INTEGER NOT NULL, digest TEXT NOT NULL, keys BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT"""
TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = 1;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, time TEXT NOT NULL, body BLOB NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX entries_by_kind ON entries (kind, seq);
CREATE TABLE studies (digest TEXT PRIMARY KEY, study BLOB NOT NULL, signature BLOB NOT NULL) STRICT;
CREATE TABLE charges (key TEXT PRIMARY KEY, request TEXT NOT NULL) STRICT;
CREATE TABLE pending (key TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT;
CREATE TABLE sealed (key TEXT PRIMARY KEY, reply BLOB NOT NULL) STRICT;
CREATE TABLE exchanges (place TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT;
{WITNESSED};
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_last BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)"

_A_DECISION = "kind IN ('approval', 'refusal')"
_ITS_STUDY = "json_extract(CAST(body AS TEXT), '$.study')"

#: Secrets of epochs that are under way; made whenever a ledger is opened, as older versions have no such table.
ALLOCATIONS = "CREATE TABLE IF NOT EXISTS allocations (epoch TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT"

#: Who is of the panel of studies that keep it apart, see `gate.panels`; likewise.
COHORTS = """
CREATE TABLE IF NOT EXISTS cohorts (study TEXT PRIMARY KEY, key TEXT NOT NULL, members BLOB NOT NULL) STRICT"""

#: Made whenever a ledger is opened: those of older versions have none.
DECISIONS = f"CREATE INDEX IF NOT EXISTS decisions ON entries ({_ITS_STUDY}, seq) WHERE {_A_DECISION}"
DECISION = f"SELECT kind FROM entries WHERE {_A_DECISION} AND {_ITS_STUDY} = ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 - constants only
#: How many studies nobody has decided on, and their bytes.
UNDECIDED = f"""
SELECT count(*), ifnull(sum(length(study)), 0) FROM studies
WHERE digest NOT IN (SELECT {_ITS_STUDY} FROM entries WHERE {_A_DECISION})
"""  # noqa: S608 - constants only

#: The last entry a person made, and the last one whose date somebody vouches for. Written so that each kind's own last
#: one is looked up at the end of its part of the index.
LAST_BY_A_PERSON = """
SELECT hash FROM entries WHERE seq = max(
    (SELECT max(seq) FROM entries WHERE kind = 'genesis'),
    ifnull((SELECT max(seq) FROM entries WHERE kind = 'approval'), 0),
    ifnull((SELECT max(seq) FROM entries WHERE kind = 'refusal'), 0),
    ifnull((SELECT max(seq) FROM entries WHERE kind = 'clock'), 0)
)"""
LAST_CONFIRMED = """
SELECT time FROM entries WHERE seq = ifnull((SELECT max(seq) FROM entries WHERE kind = 'clock'), 1)
"""
