-- Second factors, and passkeys, which are a way to sign in and may be a second factor as well.

CREATE TABLE totp (
    user_id      uuid   PRIMARY KEY,
    secret       bytea  NOT NULL,
    created_us   bigint NOT NULL,
    -- When its owner showed that they have it; NULL while it is only offered.
    confirmed_us bigint,
    -- The time step of the last code that was taken: none is taken twice.
    last_step    bigint NOT NULL
);

CREATE TABLE recovery_code (
    user_id uuid  NOT NULL,
    hash    bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
);

CREATE TABLE passkey (
    id            uuid    PRIMARY KEY,
    user_id       uuid    NOT NULL,
    -- How the authenticator calls it.
    credential_id bytea   NOT NULL UNIQUE,
    name          text    NOT NULL,
    -- Its public key and counter: JSON.
    credential    text    NOT NULL,
    second_factor boolean NOT NULL,
    created_us    bigint  NOT NULL,
    last_used_us  bigint
);

CREATE INDEX passkey_by_user ON passkey (user_id, created_us, id);
