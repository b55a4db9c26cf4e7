-- Accounts elsewhere by which people sign in here.

CREATE TABLE identity (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id    BLOB NOT NULL CHECK (length(user_id) = 16),
    -- Who vouches for it, and how the issuer calls the account.
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    -- The verified address that the issuer told when it was linked.
    email      TEXT,
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX identity_by_subject ON identity (issuer, subject);
CREATE INDEX identity_by_user ON identity (user_id, created_us, id);
