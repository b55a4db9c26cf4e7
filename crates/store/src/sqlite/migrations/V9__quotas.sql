-- What spaces hold, counted, and how much some of them, or of their owners, may hold.

-- Bytes of all changes in the audit log of a space, as they came; as of `head`.
ALTER TABLE space ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

UPDATE space SET bytes = entry.bytes FROM (SELECT space, sum(length(content)) AS bytes FROM entry GROUP BY space) AS entry
WHERE space.no = entry.space;

-- Whether `space.bytes` counts what is in blocks that were written before it was there: blocks are read by the program.
ALTER TABLE settled ADD COLUMN bytes_counted INTEGER NOT NULL DEFAULT 0 CHECK (bytes_counted IN (0, 1));

CREATE INDEX space_by_owner ON space (owner) WHERE deleted_us IS NULL;

-- Quotas other than those of the settings. NULL is that of the settings, -1 is none.
CREATE TABLE quota (
    subject TEXT    NOT NULL CHECK (subject IN ('user', 'space')),
    id      BLOB    NOT NULL CHECK (length(id) = 16),
    bytes   INTEGER CHECK (bytes >= -1),
    changes INTEGER CHECK (changes >= -1),
    -- Spaces that a user may own.
    spaces  INTEGER CHECK (spaces >= -1 AND (subject = 'user' OR spaces IS NULL)),
    PRIMARY KEY (id, subject)
) STRICT, WITHOUT ROWID;
