-- `place` is space << 36 | seq: rows of one space stand together, in the order of their seqs, behind one small integer key.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE space (
    no         INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL CHECK (kind IN ('private', 'shared', 'public')),
    owner      BLOB    NOT NULL,
    rules      TEXT    NOT NULL,
    head       INTEGER NOT NULL DEFAULT 0,
    arrival_us INTEGER NOT NULL DEFAULT 0,
    created_us INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX space_of_owner ON space (owner) WHERE kind = 'private';

-- Who stands behind a writer id: one record per connection that uploaded.
CREATE TABLE writer (
    id         BLOB    PRIMARY KEY,
    user       BLOB    NOT NULL,
    session    BLOB    NOT NULL,
    address    TEXT    NOT NULL,
    user_agent TEXT    NOT NULL,
    opened_us  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit log: every change with its verdict, as it was received. Never updated, never deleted by the sync path.
CREATE TABLE entry (
    place      INTEGER PRIMARY KEY,
    space      INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    spelling   INTEGER NOT NULL,
    writer     BLOB    NOT NULL,
    verdict    TEXT    NOT NULL,
    clamped    INTEGER NOT NULL,
    time_us    INTEGER NOT NULL,
    arrived_us INTEGER NOT NULL,
    content    BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX entry_of_id ON entry (space, id);

-- Merged rows, at the place of their last visible change.
CREATE TABLE row (
    place INTEGER PRIMARY KEY,
    state BLOB NOT NULL
) STRICT;

CREATE TABLE row_key (
    space INTEGER NOT NULL,
    key   BLOB    NOT NULL,
    name  TEXT    NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (space, key, name)
) STRICT, WITHOUT ROWID;

-- Pairs of link rows and the one live row of each.
CREATE TABLE pair (
    space INTEGER NOT NULL,
    pair  BLOB    NOT NULL,
    key   BLOB,
    name  TEXT,
    PRIMARY KEY (space, pair)
) STRICT, WITHOUT ROWID;
