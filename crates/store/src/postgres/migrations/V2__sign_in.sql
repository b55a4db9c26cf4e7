-- Accounts without an e-mail address, addresses that were verified, how a session began, and tokens that are good once.

ALTER TABLE users ALTER COLUMN email DROP NOT NULL;
-- When its owner showed that the e-mail address is theirs; NULL while they have not.
ALTER TABLE users ADD COLUMN email_verified_us bigint CHECK (email_verified_us IS NULL OR email IS NOT NULL);

-- How its owner showed who they are: `password`, or the name of what did instead.
ALTER TABLE sessions ADD COLUMN method text NOT NULL DEFAULT 'password';
ALTER TABLE sessions ALTER COLUMN method DROP DEFAULT;
ALTER TABLE sessions ADD COLUMN device_name text;

-- Tokens that are good once: links in e-mails, steps of a sign-in. Only the SHA-256 of a token is kept.
CREATE TABLE one_time_token (
    hash       bytea  PRIMARY KEY CHECK (octet_length(hash) = 32),
    purpose    text   NOT NULL,
    -- Whose it is; NULL while that is not known.
    user_id    uuid,
    -- What whoever takes it needs to know, JSON.
    payload    text   NOT NULL,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL
);

CREATE INDEX one_time_token_of_user ON one_time_token (user_id, purpose) WHERE user_id IS NOT NULL;
CREATE INDEX one_time_token_by_end ON one_time_token (expires_us);
