-- The access log: who signed in and failed to, whose rights were changed by whom, what was refused. Appended to, and forgotten
-- from its old end.

CREATE TABLE access_log (
    at_us      bigint NOT NULL,
    id         uuid   NOT NULL,
    kind       text   NOT NULL,
    -- Why it was refused or came to an end; NULL when it was done as asked.
    code       text,
    -- Who did it; NULL while that is not known.
    actor      uuid,
    -- Whose account or membership it is about, where that is not the actor's.
    subject    uuid,
    space_id   uuid,
    session_id uuid,
    address    text,
    user_agent text,
    -- JSON.
    detail     text,
    PRIMARY KEY (at_us, id)
);

CREATE INDEX access_log_of_actor ON access_log (actor, at_us, id) WHERE actor IS NOT NULL;
CREATE INDEX access_log_of_subject ON access_log (subject, at_us, id) WHERE subject IS NOT NULL;
CREATE INDEX access_log_of_space ON access_log (space_id, at_us, id) WHERE space_id IS NOT NULL;

-- Users who are gone and whose addresses may still stand somewhere: they are taken out a little at a time.
CREATE TABLE trace_to_erase (
    user_id    uuid   PRIMARY KEY,
    deleted_us bigint NOT NULL
);

CREATE INDEX writer_with_address ON writer (user_id) WHERE address <> '' OR user_agent <> '';
