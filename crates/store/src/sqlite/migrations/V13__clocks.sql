-- The clock of a change is (time, seq): of equal times the later arrival wins. Rows held (time, entry id) before.
--
-- `row.state` and the rows in blocks get a new form (3 or 4, see `engine/src/codec.rs`) when they are stored the next time. Until
-- then they stand as they are, and are read: the times in them count, the ids do not. The seq of a field's last change stands
-- beside its time already. Whatever arrives from now on has a greater seq than everything that is stored, so it wins a tie
-- against an old row as it does against a new one, and nothing has to be rewritten here.
--
-- This migration changes no table. It makes older versions, which cannot read the new form, refuse the database.
SELECT 1;
