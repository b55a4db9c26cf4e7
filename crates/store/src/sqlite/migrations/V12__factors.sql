-- Second factors, and passkeys, which are a way to sign in and may be a second factor as well.

CREATE TABLE totp (
    user_id      BLOB PRIMARY KEY NOT NULL CHECK (length(user_id) = 16),
    secret       BLOB NOT NULL,
    created_us   INTEGER NOT NULL,
    -- When its owner showed that they have it; NULL while it is only offered.
    confirmed_us INTEGER,
    -- The time step of the last code that was taken: none is taken twice.
    last_step    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_code (
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE passkey (
    id            BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id       BLOB NOT NULL CHECK (length(user_id) = 16),
    -- How the authenticator calls it.
    credential_id BLOB NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    -- Its public key and counter: JSON.
    credential    TEXT NOT NULL,
    second_factor INTEGER NOT NULL CHECK (second_factor IN (0, 1)),
    created_us    INTEGER NOT NULL,
    last_used_us  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX passkey_by_user ON passkey (user_id, created_us, id);
