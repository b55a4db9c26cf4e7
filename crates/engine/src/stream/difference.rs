//! Pages: each row as the difference to what the replica has, and to what it may see.

use alloc::vec::Vec;
use lattice_protocol::{Field, Outgoing};

use super::ids::{Act, Claim, Minters};
use super::{PullData, Stream};
use crate::mutation::Mutation;
use crate::rows::{FieldState, Row};
use crate::types::{Cursor, Seq};

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

/// Where in its frame a row goes. Clients read a row that a link names without a look whether it is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    /// Links that go: before their ends do.
    First,
    /// Rows, in the order of the page.
    Between,
    /// Links that come: after their ends.
    Last,
}

impl Stream {
    /// Sends the rows of a page.
    pub(super) fn page(&mut self, data: &PullData, minters: &Minters, out: &mut Vec<Outgoing>) {
        let mut rows: Vec<&Row> = data.rows.iter().collect();
        if !rows.is_sorted_by_key(|row| self.place(row)) {
            rows.sort_by_key(|row| self.place(row));
            return self.reordered(&rows, data, minters, out);
        }
        let last = rows.len().checked_sub(1);
        for (at, row) in rows.into_iter().enumerate() {
            let mut claim = self.claim(minters, Cursor { position: row.last_seq, ..self.cursor });
            if (!data.more && Some(at) == last) || Mutation::ClaimsMore.is_active() {
                claim = minters.complete(data.head);
            }
            self.difference(row, claim, out);
        }
    }

    /// Sends the rows of a page in another order than theirs: only the last entry claims anything of it.
    fn reordered(&mut self, rows: &[&Row], data: &PullData, minters: &Minters, out: &mut Vec<Outgoing>) {
        let mut last = None;
        for row in rows {
            let sent = out.len();
            self.difference(row, self.claim(minters, self.cursor), out);
            last = (out.len() > sent).then_some(*row).or(last);
        }
        let (Some(last), Some(end)) = (last, data.rows.last()) else { return };
        out.pop();
        let claim = match data.more {
            true => self.claim(minters, Cursor { position: end.last_seq, ..self.cursor }),
            false => minters.complete(data.head),
        };
        self.difference(last, claim, out);
    }

    /// Where the row goes in its frame.
    fn place(&self, row: &Row) -> Place {
        if row.pair.is_none() || !(self.view.is_restricted() || self.prior.is_some()) {
            return Place::Between;
        }
        match self.decide(row) {
            Sent::TakenBack => Place::First,
            Sent::Difference if row.deleted => Place::First,
            Sent::Whole => Place::Last,
            Sent::Difference if row.created_seq > self.cursor.base => Place::Last,
            Sent::Nothing | Sent::Difference => Place::Between,
        }
    }

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
                let mut fields: Vec<Field> =
                    row.fields.iter().filter(sent).map(FieldState::to_field).collect();
                if !fields.is_empty() {
                    if row.whole && !Mutation::PartialRows.is_active() {
                        fields = row.values();
                    }
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
        if !view.lists(row) {
            return Sent::Nothing;
        }
        if !view.may_read(row) {
            // A link that was shown before its end was created.
            return match view.might_read(row, base, |since| self.reached(since)) {
                true if row.deleted => Sent::Difference,
                true => Sent::TakenBack,
                false => Sent::Nothing,
            };
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

    /// Up to where the replica may have been sent rows in this view as they were before `since`. Corrections are ahead of the position.
    fn reached(&self, since: Seq) -> Seq {
        let ahead = self.opened.is_some_and(|opened| since > opened);
        if ahead { self.newest } else { self.began_at }
    }

    /// The replica has parts of other views, at `base` or later, and of this one up to the position.
    fn decide_in_transition(&self, row: &Row) -> Sent {
        let Some(prior) = &self.prior else { return Sent::Difference };
        let (view, base) = (&self.view, self.cursor.base);
        if row.deleted {
            let shown = self.decide_in_view(row) != Sent::Nothing;
            let concerned = shown || prior.may_hold(row);
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
