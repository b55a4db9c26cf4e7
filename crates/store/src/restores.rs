//! Databases that are put back to an older state: what both backends keep of it in `meta`.
//!
//! Seqs of the time that is lost are given out again, for other changes. So every cursor that clients hold must mean nothing any
//! more: the database gets another *epoch*, which every minted id is derived from.

use lattice_engine::FIRST_EPOCH;

use crate::time::Random;

/// Under which name the epoch is kept.
pub(crate) const EPOCH: &str = "epoch";
/// Under which name it is kept since when acknowledged changes may be lost, in microseconds since 1970: the earliest such moment of all
/// restores.
pub(crate) const RESTORED_SINCE: &str = "restored_since_us";
/// Under which name a backup keeps the moment at which it was begun, in microseconds since 1970.
pub(crate) const BACKUP: &str = "backup_us";
/// Under which name it is kept where the database lives, by which a copy is told from it. It does not move with a copy.
pub(crate) const PLACE: &str = "place";

/// Whether a value belongs to the data, and moves with it to another database.
pub(crate) fn moves(name: &str) -> bool {
    name != PLACE
}

/// Another epoch. It is drawn, not counted: of two restores from one backup the second would get the epoch of the first.
pub(crate) fn next_epoch(current: u32, random: &dyn Random) -> u32 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    let drawn = u32::from_le_bytes(bytes);
    let taken = [0, FIRST_EPOCH, current];
    (drawn..=u32::MAX).chain(2..).find(|epoch| !taken.contains(epoch)).unwrap_or(u32::MAX)
}

/// Since when changes may be lost, by all restores up to this one: `known_us` is the last moment that the database knows of, and all
/// that was acknowledged until then is in it.
pub(crate) fn since(before_us: Option<i64>, known_us: i64) -> i64 {
    before_us.map_or(known_us, |before_us| before_us.min(known_us))
}

/// Reads a moment as `meta` keeps it.
pub(crate) fn moment(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn the_next_epoch_is_never_one_that_was_in_use() {
        for (drawn, current) in [(0, 1), (0, 2), (0xff, 1), (0xff, u32::MAX), (7, 0x0707_0707)] {
            let next = next_epoch(current, &Fixed(drawn));
            assert!(![0, FIRST_EPOCH, current].contains(&next), "{next}");
        }
    }

    #[test]
    fn changes_are_lost_since_the_earliest_restore() {
        assert_eq!((since(None, 5), since(Some(3), 5), since(Some(9), 5)), (5, 3, 5));
    }
}
