-- `space_id` leads every key of what a space holds, so that these tables can be distributed by it. Times are microseconds
-- since 1970, hashes are SHA-256 (32 bytes).

CREATE TABLE meta (
    key   text  PRIMARY KEY,
    value bytea NOT NULL
);

-- One record. Every transaction that may change what anybody may do raises it, as its last statement.
CREATE TABLE access_version (
    one bool   PRIMARY KEY DEFAULT true CHECK (one),
    n   bigint NOT NULL
);

INSERT INTO access_version (n) VALUES (1);

CREATE TABLE users (
    id            uuid   PRIMARY KEY,
    -- Normalised before it comes here, so that plain uniqueness is enough.
    email         text   NOT NULL UNIQUE,
    full_name     text,
    -- A PHC string; NULL for accounts without a password.
    password_hash text,
    created_us    bigint NOT NULL
);

CREATE TABLE sessions (
    id                    uuid     PRIMARY KEY,
    user_id               uuid     NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind                  smallint NOT NULL CHECK (kind IN (1, 2)), -- 1 access, 2 device
    token_hash            bytea    NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    refresh_hash          bytea    CHECK (octet_length(refresh_hash) = 32),
    previous_refresh_hash bytea    CHECK (octet_length(previous_refresh_hash) = 32),
    rotated_us            bigint,
    expires_us            bigint   NOT NULL,
    created_us            bigint   NOT NULL,
    last_used_us          bigint   NOT NULL,
    revoked_us            bigint,
    user_agent            text,
    address               text
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_us);
-- What the sweeper looks for: the moment from which on a session is worth nothing.
CREATE INDEX sessions_by_end ON sessions (least(expires_us, coalesce(revoked_us, expires_us)));

-- The directory of spaces. The row stays when a space is deleted, so that its id is never given out again.
CREATE TABLE space (
    space_id    uuid   PRIMARY KEY,
    kind        text   NOT NULL CHECK (kind IN ('private', 'shared', 'public')),
    owner       uuid   NOT NULL,
    name        text   NOT NULL DEFAULT '',
    rules       text   NOT NULL,
    policy      text,  -- JSON; NULL is the default policy
    schema_rule text,  -- JSON, {"exact":N} or {"minimum":N}; NULL admits every version
    created_us  bigint NOT NULL,
    archived_us bigint, -- from then on it takes no changes
    deleted_us  bigint, -- from then on nobody sees it
    purged      bool   NOT NULL DEFAULT false, -- whether the content of a deleted space is erased
    -- The id where everybody may know it. A look-up by this column finds nothing of other spaces, whichever plan is made.
    public_id   uuid   GENERATED ALWAYS AS (CASE WHEN kind = 'public' AND deleted_us IS NULL THEN space_id END) STORED
);

-- Deleted ones as well: whoever is gone gets no other one.
CREATE UNIQUE INDEX space_of_owner ON space (owner) WHERE kind = 'private';
CREATE UNIQUE INDEX public_space ON space (public_id) WHERE public_id IS NOT NULL;
CREATE INDEX space_to_purge ON space (deleted_us) WHERE deleted_us IS NOT NULL AND NOT purged;

-- Members of shared and public spaces. A private space has none but its owner, who stands in `space`.
CREATE TABLE member (
    space_id uuid   NOT NULL,
    user_id  uuid   NOT NULL,
    role     text   NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    since_us bigint NOT NULL,
    PRIMARY KEY (space_id, user_id)
);

CREATE INDEX member_of_user ON member (user_id, space_id);
CREATE UNIQUE INDEX owner_of_space ON member (space_id) WHERE role = 'owner';
CREATE INDEX space_owned_by ON member (user_id) WHERE role = 'owner';

-- Invites: for the account with an e-mail address, or for whoever has the token, of which only the hash is kept.
CREATE TABLE invite (
    id         uuid    PRIMARY KEY,
    space_id   uuid    NOT NULL,
    role       text    NOT NULL CHECK (role IN ('editor', 'viewer')),
    email      text,
    token_hash bytea   UNIQUE CHECK (octet_length(token_hash) = 32),
    uses       integer NOT NULL DEFAULT 0,
    max_uses   integer NOT NULL CHECK (uses <= max_uses),
    created_by uuid    NOT NULL,
    created_us bigint  NOT NULL,
    expires_us bigint  NOT NULL,
    CHECK ((email IS NULL) <> (token_hash IS NULL))
);

CREATE INDEX invite_of_space ON invite (space_id, id);
CREATE INDEX invite_of_email ON invite (email, id) WHERE email IS NOT NULL;
CREATE INDEX invite_by_end ON invite (expires_us);

-- What the ids of views stand for, for cursors that name one.
CREATE TABLE remembered_view (
    space_id   uuid   NOT NULL,
    user_id    uuid   NOT NULL,
    id         bigint NOT NULL, -- 64 bits, as a signed number
    definition text   NOT NULL,
    turn       bigint NOT NULL, -- greater is newer
    -- What was created after this seq was never shown in it: by then the user's rights had changed. NULL while they have not.
    until_seq  bigint,
    PRIMARY KEY (space_id, user_id, id)
);

CREATE INDEX remembered_view_of_user ON remembered_view (user_id, space_id);

-- The counters of a space, apart from what changes rarely. Whoever writes to a space, or changes what anybody may do in it,
-- locks its record first.
CREATE TABLE space_head (
    space_id   uuid   PRIMARY KEY,
    head       bigint NOT NULL DEFAULT 0,
    arrival_us bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Who stands behind a writer id: one record per connection that uploaded to a space.
CREATE TABLE writer (
    space_id   uuid   NOT NULL,
    id         uuid   NOT NULL,
    user_id    uuid   NOT NULL,
    session_id uuid   NOT NULL,
    address    text   NOT NULL,
    user_agent text   NOT NULL,
    opened_us  bigint NOT NULL,
    PRIMARY KEY (space_id, id)
);

-- The audit log: every change with its verdict, as it was received. Never updated, never deleted by the sync path.
CREATE TABLE entry (
    space_id   uuid    NOT NULL,
    seq        bigint  NOT NULL,
    id         uuid    NOT NULL,
    spelling   integer NOT NULL, -- 32 bits, as a signed number
    writer     uuid    NOT NULL,
    user_id    uuid    NOT NULL,
    verdict    text    NOT NULL, -- a word, or `rejected:` and the code
    clamped    bool    NOT NULL,
    time_us    bigint  NOT NULL,
    arrived_us bigint  NOT NULL,
    content    bytea   NOT NULL,
    PRIMARY KEY (space_id, seq)
);

CREATE UNIQUE INDEX entry_of_id ON entry (space_id, id);

-- The inbox of refused changes: which lines of the audit log concern whom.
CREATE TABLE refusal (
    space_id   uuid   NOT NULL,
    arrived_us bigint NOT NULL, -- in the order of `seq`: no two of one space are alike
    id         uuid   NOT NULL,
    seq        bigint NOT NULL,
    user_id    uuid   NOT NULL,
    PRIMARY KEY (space_id, arrived_us, id)
);

CREATE INDEX refusal_of_user ON refusal (user_id, arrived_us, id);

-- Merged rows, found by key and read in the order of their last visible change.
CREATE TABLE row_state (
    space_id uuid   NOT NULL,
    key      bytea  NOT NULL,
    name     text   NOT NULL, -- of the table
    last_seq bigint NOT NULL,
    state    bytea  NOT NULL,
    PRIMARY KEY (space_id, key, name)
);

CREATE INDEX row_in_order ON row_state (space_id, last_seq);

-- Pairs of link rows and the one live row of each.
CREATE TABLE pair (
    space_id uuid  NOT NULL,
    pair     uuid  NOT NULL,
    key      bytea,
    name     text,
    PRIMARY KEY (space_id, pair)
);
