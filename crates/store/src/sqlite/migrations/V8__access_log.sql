-- The access log: who signed in and failed to, whose rights were changed by whom, what was refused. Appended to, and forgotten
-- from its old end.

CREATE TABLE access_log (
    at_us      INTEGER NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    kind       TEXT    NOT NULL,
    -- Why it was refused or came to an end; NULL when it was done as asked.
    code       TEXT,
    -- Who did it; NULL while that is not known.
    actor      BLOB    CHECK (length(actor) = 16),
    -- Whose account or membership it is about, where that is not the actor's.
    subject    BLOB    CHECK (length(subject) = 16),
    space_id   BLOB    CHECK (length(space_id) = 16),
    session_id BLOB    CHECK (length(session_id) = 16),
    address    TEXT,
    user_agent TEXT,
    -- JSON.
    detail     TEXT,
    PRIMARY KEY (at_us, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX access_log_of_actor ON access_log (actor, at_us, id) WHERE actor IS NOT NULL;
CREATE INDEX access_log_of_subject ON access_log (subject, at_us, id) WHERE subject IS NOT NULL;
CREATE INDEX access_log_of_space ON access_log (space_id, at_us, id) WHERE space_id IS NOT NULL;

-- Users who are gone and whose addresses may still stand somewhere: they are taken out a little at a time.
CREATE TABLE trace_to_erase (
    user_id    BLOB    PRIMARY KEY NOT NULL CHECK (length(user_id) = 16),
    deleted_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX writer_with_address ON writer (user) WHERE address <> '' OR user_agent <> '';
