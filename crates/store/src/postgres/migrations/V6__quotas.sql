-- What spaces hold, counted, and how much some of them, or of their owners, may hold.

-- Bytes of all changes in the audit log of a space, as they came.
ALTER TABLE space_head ADD COLUMN bytes bigint NOT NULL DEFAULT 0;

UPDATE space_head h SET bytes = e.bytes
FROM (SELECT space_id, sum(octet_length(content)) AS bytes FROM entry GROUP BY space_id) e WHERE e.space_id = h.space_id;

CREATE INDEX space_by_owner ON space (owner) WHERE deleted_us IS NULL;

-- Quotas other than those of the settings. NULL is that of the settings, -1 is none.
CREATE TABLE quota (
    id      uuid   NOT NULL,
    subject text   NOT NULL CHECK (subject IN ('user', 'space')),
    bytes   bigint CHECK (bytes >= -1),
    changes bigint CHECK (changes >= -1),
    -- Spaces that a user may own.
    spaces  bigint CHECK (spaces >= -1 AND (subject = 'user' OR spaces IS NULL)),
    PRIMARY KEY (id, subject)
);
