-- Uploads are appended to one log, in blocks. What has to be found by key is settled from there into sorted tables, a
-- generation of blocks at a time; what is not settled yet is kept in memory.

CREATE TABLE block (
    no      INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

-- One record: everything up to this block is settled.
CREATE TABLE settled (
    upto INTEGER NOT NULL
) STRICT;

INSERT INTO settled (upto) VALUES (0);

-- Which block has the audit lines of a space up to a place, and after the place before it.
CREATE TABLE block_place (
    place INTEGER PRIMARY KEY,
    block INTEGER NOT NULL
) STRICT;

-- Which changes a space has received. `mark` is seq << 1 | refused.
CREATE TABLE receipt (
    space INTEGER NOT NULL,
    id    BLOB    NOT NULL,
    mark  INTEGER NOT NULL,
    PRIMARY KEY (space, id)
) STRICT, WITHOUT ROWID;

-- Blocks without audit lines: what a repeated upload, or the end of a large one, left.
CREATE TABLE lineless_block (
    space INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (space, block)
) STRICT, WITHOUT ROWID;

-- Lines that were stored one by one stay where they are: `entry` is only read from now on.
INSERT INTO receipt (space, id, mark)
SELECT space, id, (place & 68719476735) << 1 | (verdict >= 'rejected:' AND verdict < 'rejected;')
FROM entry ORDER BY space, id;

DROP INDEX entry_of_id;
