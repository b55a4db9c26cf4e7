//! The server's own words that come back: one channel of a device uploads what another one was sent, under the id that the
//! server gave it. Nothing of it is applied, logged or kept, whatever space, view or epoch the id is of.
//!
//! It may have reached the sender late, over something newer. So a word that is not what stands here is answered with what
//! does; one that is, is not: the device would relay the answer as well, and so on for ever.

use lattice_protocol::native::AckId;
use lattice_protocol::plain::same_value;
use lattice_protocol::{Change, Operation};

use super::{Batch, Outcome};
use crate::access::Access;
use crate::merge::{self, Relayed, Verdict};
use crate::mutation::Mutation;
use crate::rows::RowRef;
use crate::view::View;

impl Batch<'_> {
    /// Answers the server's own word.
    pub(super) fn relayed(&mut self, change: Change, access: &Access<'_>) {
        let ack = Some(AckId::Uuid(change.id, change.id_spelling));
        let reference = RowRef { table: change.table.clone(), key: change.row.key.clone() };
        let Some(relayed) = self.left_by(&reference, &change, access) else {
            self.effects.outcomes.push(Outcome { ack, verdict: Verdict::Duplicate, correction: None });
            return;
        };
        let (pair, wanted) = (self.pair_of(&change), merge::wanted_of(&change));
        self.answer(ack, Verdict::Duplicate, change.table, change.row, Some(wanted), pair);
        if let Some(correction) = self.effects.outcomes.last_mut().and_then(|last| last.correction.as_mut()) {
            correction.relayed = Some(relayed);
        }
    }

    /// What the word left on the device, as far as that may have to be corrected. A row of which the sender may know
    /// nothing is like one that does not exist: the word may be of another space.
    fn left_by(&self, reference: &RowRef, change: &Change, access: &Access<'_>) -> Option<Relayed> {
        let row = self.row(reference).filter(|row| row.exists)?;
        let view = View::new(access.policy, access.role, access.user, access.private, None);
        if !view.may_read(row) || Mutation::LateWords.is_active() {
            return None;
        }
        let stands = |field: &lattice_protocol::Field| {
            row.field(&field.name).is_some_and(|held| same_value(&held.value, &field.value))
        };
        match change.operation {
            Operation::Delete => row.is_live().then_some(Relayed::Gone),
            // A filter may not show it.
            _ if row.is_live() && change.fields.iter().all(stands) => {
                self.context.echoes.then_some(Relayed::Current)
            }
            _ => Some(Relayed::Stale),
        }
    }
}
