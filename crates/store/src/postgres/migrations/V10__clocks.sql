-- The clock of a change is (time, seq): of equal times the later arrival wins. Rows held (time, entry id) before.
--
-- `row_state.state` gets a new form (3 or 4, see `engine/src/codec.rs`) when a row is stored the next time. Until then it stands as
-- it is, and is read: the times in it count, the ids do not. The seq of a field's last change stands beside its time already.
-- Whatever arrives from now on has a greater seq than everything that is stored, so it wins a tie against an old row as it does
-- against a new one, and nothing has to be rewritten here.
--
-- Older versions cannot read the new form: they refuse the database from now on, and those that run are to be stopped before.
COMMENT ON COLUMN row_state.state IS 'A row in form 1 to 4; ids break no ties any more';
