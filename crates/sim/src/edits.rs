//! What people do: local edits at any moment.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{EntryId, Field, RowId, RowKey, Spelling, value};

use crate::client::Label;
use crate::config::{Edits, FIRST_LINK_TABLE, OTHER_TABLES};
use crate::history::{History, note};
use crate::wire;

fn field(name: &ByteString, value: Bytes) -> Field {
    Field { name: name.clone(), value }
}

impl History<'_> {
    pub(crate) fn label(&mut self, client: usize) -> Label {
        let id = EntryId(self.rng.uuid());
        let mask = *self.rng.pick(&[0, 1 << 16, self.rng.clone().bits() as u32]);
        let text = id.to_text(Spelling(mask));
        // Only letters have a case.
        let spelling = EntryId::parse(&text).map(|(_, spelling)| spelling).unwrap_or_default();
        let (untimed, skew_us) = (self.clients[client].untimed, self.clients[client].skew_us);
        let timestamp = if untimed {
            String::new()
        } else {
            let jitter_us =
                if self.rng.chance(10) { self.rng.below(20_000_000) as i64 - 10_000_000 } else { 0 };
            match self.rng.below(40) {
                0 => "yesterday".to_owned(),
                1 => String::new(),
                _ => wire::time_text(self.client_time_us(skew_us + jitter_us)),
            }
        };
        Label { id, spelling, timestamp }
    }

    pub(crate) fn edit(&mut self, client: usize) {
        self.edits += 1;
        if self.extra_edit(client) {
            return;
        }
        let Edits { insert, update, delete, link, unlink, bad_value, bad_column, leave_filter } =
            self.config.edits;
        let weights = [insert, update, delete, link, unlink, bad_value, bad_column, leave_filter];
        let mut dice = self.rng.below(weights.iter().sum());
        let mut chosen = 0;
        while dice >= weights[chosen] {
            dice -= weights[chosen];
            chosen += 1;
        }
        let before = self.clients[client].db.pending().len();
        match chosen {
            0 => self.insert(client, false),
            1 => self.update(client, false),
            2 => self.delete(client),
            3 => self.link(client),
            4 => self.unlink(client),
            5 if self.rng.chance(40) => self.insert(client, true),
            5 => self.update(client, true),
            6 => {
                if let Some((table, key)) = self.some_row(client, false) {
                    let label = self.label(client);
                    let name = ByteString::from_static("bad-name");
                    self.clients[client].db.update(label, table, &key, vec![field(&name, value::integer(1))]);
                }
            }
            _ => {
                if let Some((table, key)) = self.some_row(client, false) {
                    let label = self.label(client);
                    self.clients[client].db.leave_filter(label, table, &key);
                }
            }
        }
        self.twin(client, before);
    }

    /// The same changes, under the same ids, are made by a client of another space.
    fn twin(&mut self, client: usize, before: usize) {
        let space = self.clients[client].space;
        let new: Vec<_> = self.clients[client].db.pending().skip(before).cloned().collect();
        if let Some(trace) = &mut self.trace {
            for entry in &new {
                let change = wire::brief(&wire::frame([&entry.wire]));
                trace.push(format!("client {client}: edits {change}"));
            }
        }
        if self.config.spaces < 2 || !self.rng.chance(self.config.twin_percent) {
            return;
        }
        let others: Vec<usize> =
            (0..self.clients.len()).filter(|other| self.clients[*other].space != space).collect();
        let Some(other) = self.rng.pick_any(&others) else { return };
        if self.clients[other].db.takes_checkpoints_of_others() {
            return;
        }
        for entry in new {
            let taken = self.clients[other].db.take_over(Arc::clone(&entry));
            note!(self, "client {other}: makes the same change {} in its space: {taken}", entry.label.id);
        }
    }

    fn some_row(&mut self, client: usize, links: bool) -> Option<(usize, RowKey)> {
        let rows = self.clients[client].db.rows().keys();
        let keys: Vec<_> = rows
            .filter(|(table, _)| *table < OTHER_TABLES && (*table >= FIRST_LINK_TABLE) == links)
            .cloned()
            .collect();
        self.rng.pick_any(&keys)
    }

    fn value(&mut self) -> Bytes {
        match self.rng.below(20) {
            0 | 1 => Bytes::from_static(wire::NULL),
            2..5 => value::integer(self.rng.below(2) as i64),
            5 => value::text(&format!("text {}", self.edits)),
            _ => value::integer(self.edits as i64 + 1_000),
        }
    }

    fn bad_value() -> Bytes {
        Bytes::from_static(br#"{"kind":1,"value":"x"}"#)
    }

    fn columns(&self, client: usize, table: usize) -> Vec<ByteString> {
        self.clients[client].db.schema()[table].columns.clone()
    }

    fn insert(&mut self, client: usize, bad: bool) {
        let table = self.rng.below(FIRST_LINK_TABLE);
        let row = self.rng.pick(&self.config.rows[table]).clone();
        let mut columns = self.columns(client, table);
        if self.rng.chance(self.config.sparse_percent) {
            self.rng.shuffle(&mut columns);
            columns.truncate(self.rng.between(1, columns.len()));
        }
        let mut fields: Vec<Field> = columns.iter().map(|name| field(name, self.value())).collect();
        if bad {
            fields[0].value = Self::bad_value();
        }
        let label = self.label(client);
        self.clients[client].db.insert(label, table, row, fields);
    }

    fn update(&mut self, client: usize, bad: bool) {
        let Some((table, key)) = self.some_row(client, false) else { return };
        let mut columns = self.columns(client, table);
        self.rng.shuffle(&mut columns);
        columns.truncate(if self.rng.chance(70) { 1 } else { 2 });
        let mut fields: Vec<Field> = columns.iter().map(|name| field(name, self.value())).collect();
        if bad {
            fields[0].value = Self::bad_value();
        }
        let label = self.label(client);
        self.clients[client].db.update(label, table, &key, fields);
    }

    /// Deletes a row, as often as not together with the links to and from it.
    fn delete(&mut self, client: usize) {
        let Some((table, key)) = self.some_row(client, false) else { return };
        let end = self.clients[client].db.rows()[&(table, key.clone())].id.to_text();
        let end = value::text(&end);
        let label = self.label(client);
        self.clients[client].db.delete(label, table, &key);
        if self.rng.chance(60) {
            let rows =
                self.clients[client].db.rows().iter().filter(|((table, _), _)| *table >= FIRST_LINK_TABLE);
            let linked = rows.filter(|(_, row)| row.values.iter().flatten().any(|value| *value == end));
            let linked: Vec<_> = linked.map(|(key, _)| key.clone()).collect();
            for (table, key) in linked {
                let label = self.label(client);
                self.clients[client].db.delete(label, table, &key);
            }
        }
    }

    fn unlink(&mut self, client: usize) {
        if let Some((table, key)) = self.some_row(client, true) {
            let label = self.label(client);
            self.clients[client].db.delete(label, table, &key);
        }
    }

    fn link(&mut self, client: usize) {
        let table = if self.rng.chance(80) { FIRST_LINK_TABLE } else { FIRST_LINK_TABLE + 1 };
        let (mut lhs, mut rhs) = (self.rng.below(2), self.rng.below(2));
        let mut row = RowId { key: RowKey::Uuid(self.rng.uuid()), spelling: Spelling::default() };
        let mut is_new = true;
        let made: Vec<_> = self.links.iter().filter(|(of, ..)| *of == table).cloned().collect();
        if self.rng.chance(15)
            && let Some((_, id, old_lhs, old_rhs)) = self.rng.pick_any(&made)
        {
            (row, is_new) = (id, false);
            if !self.rng.chance(self.config.relink_percent) {
                (lhs, rhs) = (old_lhs, old_rhs);
            }
        }
        let end = |rows: &[RowId], at: usize| value::text(&rows[at % rows.len()].to_text());
        let columns = self.columns(client, table);
        let values = [end(&self.config.rows[0], lhs), end(&self.config.rows[1], rhs), value::text("Note")];
        let mut fields: Vec<Field> =
            columns.iter().zip(values).map(|(name, value)| field(name, value)).collect();
        if is_new && self.config.edits.bad_value > 0 && self.rng.chance(3) {
            // A link without its other end is refused. Known limit: under the id of a link row that was there with other
            // ends, which no client does, the sender would hold a pair of both that the server cannot know of.
            fields.truncate(1);
        }
        let label = self.label(client);
        if self.clients[client].db.insert(label, table, row.clone(), fields) {
            self.links.push((table, row, lhs, rhs));
        }
    }
}
