# SPDX-License-Identifier: Apache-2.0
"""The tables of a ledger's file."""

APPLICATION = 0x736B7967  # "skyg", in SQLite's header: another program's database is not taken for a ledger
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
CREATE TABLE witnessed (
    supplier TEXT PRIMARY KEY, entries INTEGER NOT NULL, digest TEXT NOT NULL, keys BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_last BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
