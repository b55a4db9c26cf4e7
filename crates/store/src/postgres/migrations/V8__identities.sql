-- Accounts elsewhere by which people sign in here.

CREATE TABLE identity (
    id         uuid   PRIMARY KEY,
    user_id    uuid   NOT NULL,
    -- Who vouches for it, and how the issuer calls the account.
    issuer     text   NOT NULL,
    subject    text   NOT NULL,
    -- The verified address that the issuer told when it was linked.
    email      text,
    created_us bigint NOT NULL
);

CREATE UNIQUE INDEX identity_by_subject ON identity (issuer, subject);
CREATE INDEX identity_by_user ON identity (user_id, created_us, id);
