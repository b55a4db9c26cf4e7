-- Users and their sessions. Times are microseconds since 1970, ids are 16 bytes, hashes are SHA-256 (32 bytes).

CREATE TABLE users (
    id            BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    -- Normalised before it comes here, so that plain uniqueness is enough.
    email         TEXT NOT NULL UNIQUE,
    full_name     TEXT,
    -- A PHC string; NULL for accounts without a password.
    password_hash TEXT,
    created_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id                    BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id               BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind                  INTEGER NOT NULL CHECK (kind IN (1, 2)), -- 1 access, 2 device
    token_hash            BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    refresh_hash          BLOB CHECK (length(refresh_hash) = 32),
    previous_refresh_hash BLOB CHECK (length(previous_refresh_hash) = 32),
    rotated_us            INTEGER,
    expires_us            INTEGER NOT NULL,
    created_us            INTEGER NOT NULL,
    last_used_us          INTEGER NOT NULL,
    revoked_us            INTEGER,
    user_agent            TEXT,
    address               TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_of_user ON sessions (user_id, created_us);
-- What the sweeper looks for: the moment from which on a session is worth nothing.
CREATE INDEX sessions_by_end ON sessions (min(expires_us, ifnull(revoked_us, expires_us)));
