-- The directory of spaces: names, members, invites, policies, remembered views, and the inbox of refused changes.

ALTER TABLE space ADD COLUMN name TEXT NOT NULL DEFAULT '';
-- From then on it takes no changes.
ALTER TABLE space ADD COLUMN archived_us INTEGER;
-- From then on nobody sees it. The row stays, so that neither number nor id is given out again.
ALTER TABLE space ADD COLUMN deleted_us INTEGER;
-- Whether the content of a deleted space is erased.
ALTER TABLE space ADD COLUMN purged INTEGER NOT NULL DEFAULT 0 CHECK (purged IN (0, 1));
-- The last block of the log when it was deleted: what its last uploads left is in the tables once that is settled.
ALTER TABLE space ADD COLUMN purge_after INTEGER NOT NULL DEFAULT 0;
-- JSON; NULL is the default policy.
ALTER TABLE space ADD COLUMN policy TEXT;
-- JSON, {"exact":N} or {"minimum":N}; NULL admits every version.
ALTER TABLE space ADD COLUMN schema_rule TEXT;

CREATE INDEX public_space ON space (id) WHERE kind = 'public' AND deleted_us IS NULL;
CREATE INDEX space_to_purge ON space (deleted_us) WHERE deleted_us IS NOT NULL AND purged = 0;

-- Members of shared and public spaces. A private space has none but its owner, who stands in `space`.
CREATE TABLE member (
    space    INTEGER NOT NULL,
    user     BLOB    NOT NULL CHECK (length(user) = 16),
    -- That of `space`, so that what a user may see is found without touching what they may not.
    space_id BLOB    NOT NULL CHECK (length(space_id) = 16),
    role     TEXT    NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    since_us INTEGER NOT NULL,
    PRIMARY KEY (space, user)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX member_of_user ON member (user, space_id);
CREATE UNIQUE INDEX owner_of_space ON member (space) WHERE role = 'owner';
CREATE INDEX space_owned_by ON member (user) WHERE role = 'owner';

-- Invites: for the account with an e-mail address, or for whoever has the token, of which only the SHA-256 is kept.
CREATE TABLE invite (
    id         BLOB    PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    space      INTEGER NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('editor', 'viewer')),
    email      TEXT,
    token_hash BLOB    UNIQUE CHECK (length(token_hash) = 32),
    uses       INTEGER NOT NULL DEFAULT 0,
    max_uses   INTEGER NOT NULL CHECK (uses <= max_uses),
    created_by BLOB    NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    CHECK ((email IS NULL) <> (token_hash IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX invite_of_space ON invite (space, id);
CREATE INDEX invite_of_email ON invite (email, id) WHERE email IS NOT NULL;
CREATE INDEX invite_by_end ON invite (expires_us);

-- What the ids of views stand for, for cursors that name one.
CREATE TABLE remembered_view (
    space      INTEGER NOT NULL,
    user       BLOB    NOT NULL,
    id         INTEGER NOT NULL, -- 64 bits, as a signed number
    definition TEXT    NOT NULL,
    turn       INTEGER NOT NULL, -- greater is newer
    -- What was created after this seq was never shown in it: by then the user's rights had changed. NULL while they have not;
    -- -1 in the transaction that changes them, until its last step fills in the head.
    until_seq  INTEGER,
    PRIMARY KEY (space, user, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_view_of_user ON remembered_view (user);
CREATE INDEX remembered_view_that_ends ON remembered_view (space) WHERE until_seq < 0;

-- The inbox of refused changes: which lines of the audit log concern whom.
CREATE TABLE refusal (
    space      INTEGER NOT NULL,
    arrived_us INTEGER NOT NULL, -- in the order of `seq`: no two of one space are alike
    id         BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    user       BLOB    NOT NULL,
    PRIMARY KEY (space, arrived_us, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX refusal_of_user ON refusal (user, arrived_us, id);
