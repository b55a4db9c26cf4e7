//! How far a client has come with what it was sent: the `last-event-id` of its next connection.

use lattice_protocol::{EntryId, Outgoing, Spelling};

use super::generation::Advance;

/// The last entry up to which a client counts everything as received.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoint {
    saved: Option<(EntryId, Spelling)>,
    /// The one before the last delivery.
    previous: Option<(EntryId, Spelling)>,
    /// An entry of the delivery that is being taken has failed.
    has_failed: bool,
    /// It does not move any more.
    is_frozen: bool,
}

impl Checkpoint {
    pub(super) fn text(&self) -> Option<String> {
        self.saved.map(|(id, spelling)| id.to_text(spelling))
    }

    /// A delivery begins.
    pub(super) fn begin(&mut self) {
        self.previous = self.saved;
        self.has_failed = false;
    }

    /// An entry was acknowledged. `is_recorded`: it is in the log since now.
    pub(super) fn passed(&mut self, rule: Advance, entry: &Outgoing, is_recorded: bool) {
        let moves = match rule {
            Advance::Recorded => is_recorded,
            Advance::UpToFailure | Advance::UntilFailure => !self.has_failed && !self.is_frozen,
        };
        if moves {
            self.saved = Some((entry.id, entry.id_spelling));
        }
    }

    pub(super) fn failed(&mut self) {
        self.has_failed = true;
    }

    /// The delivery is over.
    pub(super) fn end(&mut self, rule: Advance) {
        self.is_frozen |= self.has_failed && rule == Advance::UntilFailure;
    }

    /// The delivery was not taken to its end.
    pub(super) fn interrupted(&mut self, rule: Advance) {
        self.is_frozen |= rule == Advance::UntilFailure;
    }

    /// An entry came from another process of the device, or another server. The older generations look at all of their log.
    pub(super) fn relayed(&mut self, rule: Advance, id: (EntryId, Spelling)) {
        if rule == Advance::Recorded {
            self.saved = Some(id);
        }
    }

    /// The log is compacted, and what it said of deliveries is gone.
    pub(super) fn forget(&mut self) {
        *self = Self { is_frozen: self.is_frozen, ..Self::default() };
    }

    /// A crash came between applying the last delivery and saving where it ended.
    pub(super) fn lose(&mut self) {
        self.saved = self.previous;
    }

    /// The database was made by an older version of the library.
    pub(super) fn upgraded(&mut self, rule: Advance) {
        if rule == Advance::UntilFailure {
            *self = Self { is_frozen: true, ..Self::default() };
        }
    }
}
