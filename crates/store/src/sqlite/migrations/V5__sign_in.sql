-- Accounts without an e-mail address, addresses that were verified, how a session began, and tokens that are good once.

-- Both tables are made anew, since a column cannot lose its NOT NULL. Dropped in this order nothing refers to what is dropped.
CREATE TABLE users_now (
    id                BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    -- Normalised before it comes here, so that plain uniqueness is enough; NULL for accounts without one.
    email             TEXT UNIQUE,
    -- When its owner showed that it is theirs; NULL while they have not.
    email_verified_us INTEGER CHECK (email_verified_us IS NULL OR email IS NOT NULL),
    full_name         TEXT,
    -- A PHC string; NULL for accounts without a password.
    password_hash     TEXT,
    created_us        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO users_now (id, email, full_name, password_hash, created_us)
SELECT id, email, full_name, password_hash, created_us FROM users;

CREATE TABLE sessions_now (
    id                    BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id               BLOB NOT NULL REFERENCES users_now (id) ON DELETE CASCADE,
    kind                  INTEGER NOT NULL CHECK (kind IN (1, 2)), -- 1 access, 2 device
    -- How its owner showed who they are: `password`, or the name of what did instead.
    method                TEXT NOT NULL,
    token_hash            BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    refresh_hash          BLOB CHECK (length(refresh_hash) = 32),
    previous_refresh_hash BLOB CHECK (length(previous_refresh_hash) = 32),
    rotated_us            INTEGER,
    expires_us            INTEGER NOT NULL,
    created_us            INTEGER NOT NULL,
    last_used_us          INTEGER NOT NULL,
    revoked_us            INTEGER,
    device_name           TEXT,
    user_agent            TEXT,
    address               TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO sessions_now (id, user_id, kind, method, token_hash, refresh_hash, previous_refresh_hash, rotated_us, expires_us,
    created_us, last_used_us, revoked_us, user_agent, address)
SELECT id, user_id, kind, 'password', token_hash, refresh_hash, previous_refresh_hash, rotated_us, expires_us,
    created_us, last_used_us, revoked_us, user_agent, address FROM sessions;

DROP TABLE sessions;
DROP TABLE users;
ALTER TABLE users_now RENAME TO users;
ALTER TABLE sessions_now RENAME TO sessions;

CREATE INDEX sessions_of_user ON sessions (user_id, created_us);
-- What the sweeper looks for: the moment from which on a session is worth nothing.
CREATE INDEX sessions_by_end ON sessions (min(expires_us, ifnull(revoked_us, expires_us)));

-- Tokens that are good once: links in e-mails, steps of a sign-in. Only the SHA-256 of a token is kept.
CREATE TABLE one_time_token (
    hash       BLOB PRIMARY KEY NOT NULL CHECK (length(hash) = 32),
    purpose    TEXT NOT NULL,
    -- Whose it is; NULL while that is not known.
    user_id    BLOB CHECK (length(user_id) = 16),
    -- What whoever takes it needs to know, JSON.
    payload    TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX one_time_token_of_user ON one_time_token (user_id, purpose) WHERE user_id IS NOT NULL;
CREATE INDEX one_time_token_by_end ON one_time_token (expires_us);
