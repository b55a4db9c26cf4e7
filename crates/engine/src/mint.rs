//! Ids that the server mints: version-8 UUIDs that carry the cursor up to which their receiver has everything, so that
//! `last-event-id` resolves without a lookup and survives compaction.
//!
//! Of the 122 free bits, 36 are `base`, 36 `position`, 28 a keyed hash of the content and its cause, and 22 a keyed tag
//! over all of it. Content can only be hashed, not carried, so the tag covers the hash: an id alone can be verified. The
//! keys are derived from the database's key, the space, the epoch and the view, so an id means nothing elsewhere.

use core::hash::Hasher;

use lattice_protocol::{EntryId, RowKey, Spelling};
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24x128};

use crate::mutation::Mutation;
use crate::rows::RowRef;
use crate::types::{Cursor, MAX_SEQ, PairKey, Seq, SpaceId};

const SEQ_BITS: u32 = 36;
const CONTENT_BITS: u32 = 28;
const TAG_BITS: u32 = 22;

/// The secret of a database under which ids are minted. It moves with the data.
#[derive(Clone, Copy)]
pub struct MintKey(pub [u8; 16]);

/// The epoch of a database that was never put back to an older state.
pub const FIRST_EPOCH: u32 = 1;

/// Mints and verifies ids for one view of one space.
#[derive(Clone)]
pub struct Minter {
    origin: Origin,
    content_key: [u8; 16],
    tag_key: [u8; 16],
    pair_key: [u8; 16],
}

/// What the keys of all views of a space are derived from.
#[derive(Clone, Copy)]
struct Origin {
    key: MintKey,
    space: SpaceId,
    epoch: u32,
}

impl Origin {
    fn derive(&self, label: &[u8], epoch: u32, view: u64) -> [u8; 16] {
        let mut hasher = SipHasher24x128::new_with_key(&self.key.0);
        hasher.write(label);
        hasher.write(&self.space.0);
        hasher.write(&epoch.to_le_bytes());
        hasher.write(&view.to_le_bytes());
        hasher.finish128().as_bytes()
    }
}

impl Minter {
    /// `epoch` is [`FIRST_EPOCH`], and another one each time that an older copy of the database is restored; `view` names what a filter or permission lets
    /// through, 0 for everything.
    #[must_use]
    pub fn new(key: MintKey, space: SpaceId, epoch: u32, view: u64) -> Self {
        Self::labelled(Origin { key, space, epoch }, b"content.", b"tag.....", view)
    }

    fn labelled(origin: Origin, content: &[u8; 8], tag: &[u8; 8], view: u64) -> Self {
        Self {
            content_key: origin.derive(content, origin.epoch, view),
            tag_key: origin.derive(tag, origin.epoch, view),
            // Pairs are stored: they must outlive the epoch and be the same in every view.
            pair_key: origin.derive(b"pair....", 0, 0),
            origin,
        }
    }

    /// The minter of another view of the same space.
    #[must_use]
    pub fn of_view(&self, view: u64) -> Self {
        Self::labelled(self.origin, b"content.", b"tag.....", view)
    }

    /// The minter of ids that claim a part of the way to a view: other views at `base` and later, this one up to
    /// `position`, which may be less.
    #[must_use]
    pub fn of_transition(&self, view: u64) -> Self {
        Self::labelled(self.origin, b"moving..", b"movetag.", view)
    }

    /// The minter of ids for replicas that held nothing at `base`, and have been sent what is in the view up to `position` since.
    #[must_use]
    pub fn of_fresh(&self, view: u64) -> Self {
        Self::labelled(self.origin, b"fresh...", b"freshtag", view)
    }

    /// Whether the database was put back to an older state.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.origin.epoch != FIRST_EPOCH
    }

    /// The id under which others are sent a change that was accepted as `seq`: its own. Once the database has been restored,
    /// one that is minted for it: a client that was sent the change in the lost time would skip it under its own id.
    #[must_use]
    pub fn delivered(&self, id: EntryId, spelling: Spelling, seq: Seq) -> (EntryId, Spelling) {
        if self.is_restored() && !Mutation::LostIds.is_active() {
            (self.mint(Cursor::complete(seq), [id.0.as_slice()], 0), Spelling::default())
        } else {
            (id, spelling)
        }
    }

    /// An id that claims `cursor`. `content` names the state that is sent, `nonce` makes repeated repairs distinct.
    #[must_use]
    pub fn mint<'a>(
        &self,
        cursor: Cursor,
        content: impl IntoIterator<Item = &'a [u8]>,
        nonce: u64,
    ) -> EntryId {
        debug_assert!(cursor.base <= MAX_SEQ && cursor.position <= MAX_SEQ);
        let mut hasher = SipHasher24::new_with_key(&self.content_key);
        hasher.write_u64(cursor.base);
        hasher.write_u64(cursor.position);
        hasher.write_u64(nonce);
        for part in content {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        let content = hasher.finish() & ((1 << CONTENT_BITS) - 1);
        let tag = self.tag(cursor, content);
        pack(
            u128::from(cursor.base) << (SEQ_BITS + CONTENT_BITS + TAG_BITS)
                | u128::from(cursor.position) << (CONTENT_BITS + TAG_BITS)
                | u128::from(content) << TAG_BITS
                | u128::from(tag),
        )
    }

    /// The cursor that an id claims, if it was minted for this view of this space in this epoch.
    #[must_use]
    pub fn verify(&self, id: EntryId) -> Option<Cursor> {
        let bits = unpack(id)?;
        let seq = |shift: u32| (bits >> shift) as u64 & MAX_SEQ;
        let cursor =
            Cursor { base: seq(SEQ_BITS + CONTENT_BITS + TAG_BITS), position: seq(CONTENT_BITS + TAG_BITS) };
        let content = (bits >> TAG_BITS) as u64 & ((1 << CONTENT_BITS) - 1);
        let tag = bits as u64 & ((1 << TAG_BITS) - 1);
        (tag == self.tag(cursor, content)).then_some(cursor)
    }

    /// The key of a link row's pair.
    #[must_use]
    pub fn pair<'a>(&self, table: &'a str, ends: impl IntoIterator<Item = &'a str>) -> PairKey {
        let mut hasher = SipHasher24x128::new_with_key(&self.pair_key);
        for part in core::iter::once(table).chain(ends) {
            hasher.write_u64(part.len() as u64);
            hasher.write(part.as_bytes());
        }
        PairKey(hasher.finish128().as_bytes())
    }

    /// The key under which a link is found that waits for its end to be created: `place` numbers those that wait for the same row.
    #[must_use]
    pub fn waiting(&self, end: &RowRef, place: usize) -> PairKey {
        let mut hasher = SipHasher24x128::new_with_key(&self.pair_key);
        hasher.write(b"waiting.");
        hasher.write_u64(place as u64);
        hasher.write_u64(end.table.len() as u64);
        hasher.write(end.table.as_bytes());
        match &end.key {
            RowKey::Uuid(bytes) => hasher.write(bytes),
            RowKey::Text(text) => {
                hasher.write_u8(1);
                hasher.write(text.as_bytes());
            }
        }
        PairKey(hasher.finish128().as_bytes())
    }

    /// An id for an entry that came with none that could be kept, so that its re-send is found again.
    #[must_use]
    pub fn stand_in(&self, raw: &[u8]) -> EntryId {
        let mut hasher = SipHasher24x128::new_with_key(&self.pair_key);
        hasher.write(b"stand-in");
        hasher.write(raw);
        let mut bytes = hasher.finish128().as_bytes();
        bytes[6] &= 0x0f; // version 0: never a client's and never a minted id
        EntryId(bytes)
    }

    fn tag(&self, cursor: Cursor, content: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.tag_key);
        hasher.write_u64(cursor.base);
        hasher.write_u64(cursor.position);
        hasher.write_u64(content);
        hasher.finish() & ((1 << TAG_BITS) - 1)
    }
}

/// Spreads 122 bits around the version and variant bits of a UUID.
fn pack(bits: u128) -> EntryId {
    let high = (bits >> 74) & ((1 << 48) - 1);
    let middle = (bits >> 62) & ((1 << 12) - 1);
    let low = bits & ((1 << 62) - 1);
    EntryId((high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low).to_be_bytes())
}

fn unpack(id: EntryId) -> Option<u128> {
    let uuid = u128::from_be_bytes(id.0);
    if (uuid >> 76) & 15 != 8 || (uuid >> 62) & 3 != 2 {
        return None;
    }
    let (high, middle) = (uuid >> 80, (uuid >> 64) & ((1 << 12) - 1));
    Some(high << 74 | middle << 62 | uuid & ((1 << 62) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_carries_its_cursor_and_means_nothing_elsewhere(base in 0..MAX_SEQ, ahead in 0..MAX_SEQ, nonce: u64, key: [u8; 16]) {
            let cursor = Cursor { base, position: base.saturating_add(ahead).min(MAX_SEQ) };
            let here = Minter::new(MintKey(key), SpaceId([1; 16]), 1, 0);
            let id = here.mint(cursor, [b"row".as_slice()], nonce);
            prop_assert_eq!(here.verify(id), Some(cursor));
            prop_assert_eq!(id.0[6] >> 4, 8);
            let elsewhere = [(2_u8, 1, 0), (1, 2, 0), (1, 1, 1)];
            let accepted = elsewhere.iter().filter(|(space, epoch, view)|
                Minter::new(MintKey(key), SpaceId([*space; 16]), *epoch, *view).verify(id).is_some()).count();
            prop_assert!(accepted < 2, "a 22-bit tag may be met by chance, not twice");
        }

        #[test]
        fn packing_is_lossless(bits in 0_u128..(1 << 122)) {
            prop_assert_eq!(unpack(pack(bits)), Some(bits));
        }
    }
}
