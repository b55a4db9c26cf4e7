//! Pages: each row as the difference to what the replica has, and to what it may see.

use alloc::vec::Vec;
use lattice_protocol::{Field, Outgoing};

use super::Stream;
use super::ids::{Act, Claim};
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row};

/// How a row of a page is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    /// Not at all.
    Nothing,
    /// As a row that is not shown any more.
    TakenBack,
    /// All of it, also what the connection wrote itself: the replica may not hold it.
    Whole,
    /// As the difference to `base`, without what the connection wrote itself.
    Difference,
}

impl Stream {
    /// Sends one row of a page. `claim` is what the replica has once it has applied that.
    pub(super) fn difference(&mut self, row: &Row, claim: Claim<'_>, out: &mut Vec<Outgoing>) {
        if row.hidden || !row.exists {
            return;
        }
        let base = self.cursor.base;
        // A row of its own may have been taken back from a client with a restricted view, and be shown again since. Whatever
        // such a client uploads is answered with current values, so what it wrote itself may come back to it.
        let writer = if self.echoes || Mutation::OwnFields.is_active() { None } else { Some(self.writer) };
        match self.decide(row) {
            Sent::Nothing => {}
            Sent::TakenBack => out.push(self.mint(claim, row, Act::TakeBack, Vec::new(), 0)),
            Sent::Whole => out.push(self.mint(claim, row, Act::Insert, row.values(), 0)),
            Sent::Difference if row.deleted => {
                if writer.is_none() || row.writer != writer {
                    out.push(self.mint(claim, row, Act::Delete, Vec::new(), 0));
                }
            }
            Sent::Difference
                if row.created_seq > base
                    && (writer.is_none() || row.inserter != writer || may_have_failed(row)) =>
            {
                // A whole row is needed, even where some or all of it is the connection's own. Its own fields are shared
                // already: it wrote them on a row that another one created.
                let vanishes = row.fields.iter().all(|field| Some(field.stamp.writer) == writer);
                if !(vanishes && Mutation::VanishingRows.is_active()) {
                    out.push(self.mint(claim, row, Act::Insert, row.values(), 0));
                }
            }
            Sent::Difference => {
                let new = row.created_seq > base;
                let sent = |field: &&FieldState| {
                    (new || field.stamp.seq > base) && Some(field.stamp.writer) != writer
                };
                let fields: Vec<Field> = row.fields.iter().filter(sent).map(FieldState::to_field).collect();
                if !fields.is_empty() {
                    out.push(self.mint(claim, row, Act::Update, fields, 0));
                }
            }
        }
    }

    fn decide(&self, row: &Row) -> Sent {
        let sent =
            if self.prior.is_some() { self.decide_in_transition(row) } else { self.decide_in_view(row) };
        match sent {
            Sent::TakenBack if Mutation::KeptRows.is_active() => Sent::Nothing,
            sent => sent,
        }
    }

    /// The replica has the rows of this view as they were at `base`.
    fn decide_in_view(&self, row: &Row) -> Sent {
        let (view, base) = (&self.view, self.cursor.base);
        if !view.is_restricted() {
            return Sent::Difference;
        }
        if !view.may_read(row) || !view.lists(row) {
            return Sent::Nothing;
        }
        if row.deleted {
            return Sent::Difference;
        }
        let since = view.matches_since(row);
        // Whether the values that the filter reads are those with which the row was made.
        let always = since <= row.created_seq;
        match view.matches(row) {
            true if since > base && !(row.created_seq > base && always) => Sent::Whole,
            true => Sent::Difference,
            // Before it was revived it may have been visible.
            false if row.revived && row.created_seq > base => Sent::TakenBack,
            // It has not been visible since `base`, or since it was made.
            false if since <= base || always => Sent::Nothing,
            false => Sent::TakenBack,
        }
    }

    /// The replica has parts of other views, at `base` or later, and of this one up to the position.
    fn decide_in_transition(&self, row: &Row) -> Sent {
        let Some(prior) = &self.prior else { return Sent::Difference };
        let (view, base) = (&self.view, self.cursor.base);
        if row.deleted {
            let concerned = view.shows(row) || prior.may_hold(row);
            return if row.last_seq > base && concerned { Sent::Difference } else { Sent::Nothing };
        }
        if view.shows(row) {
            // On the way here it may have been taken back already, and have come back since.
            let knows = prior.knew(row) && view.matches_since(row) <= base;
            return if knows { Sent::Difference } else { Sent::Whole };
        }
        // On the way here it may have been shown in this view already, and have left it since.
        let left = self.decide_in_view(row) == Sent::TakenBack;
        if left || prior.may_hold(row) { Sent::TakenBack } else { Sent::Nothing }
    }
}

/// Whether the connection may not hold a link row that it inserted itself. Its row was taken away by a correction, and what
/// gave it back could not be applied: the pair was still taken, by a row whose DELETE comes later in the order.
pub(super) fn may_have_failed(row: &Row) -> bool {
    row.pair.is_some() && row.shared && !Mutation::FailedLinks.is_active()
}
