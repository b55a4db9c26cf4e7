-- Accounts that were made without showing who one is, and which passwords were imported.

CREATE TABLE anonymous_account (
    user_id  uuid   PRIMARY KEY,
    -- When its session may have ended: then it is looked at.
    look_us  bigint NOT NULL,
    -- When the last session ended; NULL while there may be one.
    ended_us bigint
);

CREATE INDEX anonymous_account_to_look_at ON anonymous_account (look_us) WHERE ended_us IS NULL;
CREATE INDEX anonymous_account_by_end ON anonymous_account (ended_us, user_id) WHERE ended_us IS NOT NULL;

-- The costs of bcrypt hashes, of which imported accounts have some.
CREATE INDEX user_by_bcrypt_cost ON users (substr(password_hash, 5, 2)) WHERE substr(password_hash, 1, 2) = '$2';
