//! Histories with the clients that exist: generations of the library, versions and constraints of the app, browsers, and devices
//! that hand on what they receive.

use std::sync::Arc;

use bytestring::ByteString;
use lattice_protocol::{Field, RowId, RowKey, Spelling, value};

use crate::client::{Generation, NativeClient, Schema, Table};
use crate::history::{History, Problem, note};
use crate::rng::Rng;

/// Rows of a table that only these histories have: few, so that clients meet.
const EXTRA_ROWS: usize = 3;

/// A list of bounds that belongs to a model.
const LIST: &str = "_Item_bounds";
/// A table of a later version of the app.
const LATER: &str = "Later";

/// What sets the clients of a history apart.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    generations: Vec<Generation>,
    /// How many of 100 clients have constraints of their app.
    strict_percent: usize,
    /// How many of 100 clients are browsers.
    browser_percent: usize,
    /// How many of 100 clients have the app before, and after, the usual one.
    older_percent: usize,
    newer_percent: usize,
    /// How many of 100 edits are of tables that only these histories have.
    extra_percent: usize,
    /// How many of 100 steps are of the kinds below.
    percent: usize,
    /// Apps tell the server the version of their schema. Where they do not, none is updated: nothing that an update would need is
    /// ever sent again.
    pub(crate) declares: bool,
    /// How often each of these steps is taken, relative to the others: a device hands on what it received, to another space too; an
    /// app is updated.
    weights: [usize; 2],
    rows: Vec<RowId>,
}

/// What a client's app is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App {
    /// 1 to 3.
    pub(crate) version: u64,
    strict: bool,
    /// It begins with an empty database each time that it connects.
    pub(crate) is_browser: bool,
}

impl Mix {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut generations = Generation::ALL.to_vec();
        rng.shuffle(&mut generations);
        generations.truncate(rng.between(1, generations.len()));
        Self {
            generations,
            strict_percent: *rng.pick(&[0, 30, 60]),
            browser_percent: *rng.pick(&[0, 0, 30]),
            older_percent: *rng.pick(&[0, 0, 25]),
            newer_percent: *rng.pick(&[0, 0, 40]),
            extra_percent: *rng.pick(&[0, 10, 30]),
            percent: *rng.pick(&[0, 5, 10]),
            declares: rng.chance(60),
            weights: [10, *rng.pick(&[0, 5, 20])],
            rows: (0..EXTRA_ROWS)
                .map(|_| RowId { key: RowKey::Uuid(rng.uuid()), spelling: Spelling::default() })
                .collect(),
        }
    }
}

impl App {
    /// The tables of this app, those of models that every version has first.
    fn schema(self) -> Schema {
        let item: &[&'static str] = match self.version {
            1 => &["a", "c"],
            2 => &["a", "b", "c"],
            _ => &["a", "b", "c", "d"],
        };
        let (mut item, mut note) = (Table::new("Item", item), Table::new("Note", &["a", "b"]));
        if self.strict {
            item = item.not_null(&["a"]).unique(&["c"]);
            note = note.not_null(&["a", "b"]);
        }
        let mut schema = vec![
            item,
            note,
            Table::new("_Item_Note_notes", &["lhs", "rhs"]),
            Table::new("_Item_Note_any", &["lhs", "rhs", "rhs_type"]),
        ];
        if self.version > 1 {
            schema.push(Table::new(LIST, &["parent_id", "minLat"]).not_null(&["parent_id", "minLat"]));
        }
        if self.version > 2 {
            schema.push(Table::new(LATER, &["a"]));
        }
        schema
    }
}

impl History<'_> {
    /// An app, where the history has more than one.
    pub(crate) fn draw_app(&mut self) -> Option<App> {
        let mix = self.config.mix.clone()?;
        let version = match self.rng.below(100) {
            dice if dice < mix.older_percent => 1,
            dice if dice < mix.older_percent + mix.newer_percent => 3,
            _ => 2,
        };
        let strict = self.rng.chance(mix.strict_percent);
        Some(App { version, strict, is_browser: self.rng.chance(mix.browser_percent) })
    }

    /// An empty database of an app, in one of the generations of the history.
    pub(crate) fn draw_database(&mut self, app: App, window: usize) -> NativeClient {
        let generations = self.config.mix.as_ref().map(|mix| mix.generations.clone()).unwrap_or_default();
        let generation = *self.rng.pick(&generations);
        NativeClient::of(generation, Arc::new(app.schema()), window)
    }

    /// The tab of a browser was closed, or its connection broke: nothing is left of its database.
    pub(crate) fn forget_browser(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let Some(app) = it.app.filter(|app| app.is_browser && it.has_connected) else { return };
        it.db = NativeClient::of(it.db.generation(), Arc::new(app.schema()), it.window);
        it.is_foreign = false;
        note!(self, "client {client}: is a browser, and begins with nothing");
    }

    /// A step that only these histories have, if it is its turn.
    pub(crate) fn mixed_step(&mut self) -> Result<bool, Problem> {
        let Some((percent, weights)) = self.config.mix.as_ref().map(|mix| (mix.percent, mix.weights)) else {
            return Ok(false);
        };
        if !self.rng.chance(percent) {
            return Ok(false);
        }
        let client = self.rng.below(self.clients.len());
        match self.rng.below(weights.iter().sum()) < weights[0] {
            true => self.hand_on(client),
            false => self.update_app(client),
        }
        Ok(true)
    }

    /// A device hands everything that it last received to another one, which may be of another space: under the ids that it
    /// came with, what the server minted included.
    fn hand_on(&mut self, from: usize) {
        let to = self.rng.below(self.clients.len());
        if to == from {
            return;
        }
        let received: Vec<_> = self.clients[from].db.recent().iter().cloned().collect();
        let taken = received.iter().filter(|entry| self.clients[to].db.take_delivered(entry)).count();
        note!(self, "client {from}: hands all that it received to client {to}, which takes {taken}");
        let of = (self.clients[from].space, self.clients[from].user);
        let to = &mut self.clients[to];
        // Of another space, or of what another user may see, it holds what nobody will take back. And before 1.4 what was handed
        // over became the checkpoint: no server can know what of its own such a client was not sent.
        to.is_foreign |= taken > 0 && (of != (to.space, to.user) || to.db.takes_checkpoints_of_others());
    }

    /// The app of a client is updated, and with it, as often as not, the library. It starts anew.
    fn update_app(&mut self, client: usize) {
        let declares = self.config.mix.as_ref().is_some_and(|mix| mix.declares);
        let Some(mut app) = self.clients[client].app.filter(|app| declares && app.version < 3) else {
            return;
        };
        self.disconnect(client);
        app.version += 1;
        let held = self.clients[client].db.generation();
        let later = Generation::ALL.iter().skip_while(|generation| **generation != held).copied();
        let generation = if self.rng.chance(50) { held } else { *self.rng.pick(&later.collect::<Vec<_>>()) };
        let it = &mut self.clients[client];
        it.app = Some(app);
        it.db.upgrade(generation, &app.schema());
        note!(self, "client {client}: is updated to version {} and {generation:?}", app.version);
    }

    /// An edit of a table that only these histories have, if it is its turn.
    pub(crate) fn extra_edit(&mut self, client: usize) -> bool {
        let Some((percent, rows)) = self.config.mix.as_ref().map(|mix| (mix.extra_percent, mix.rows.clone()))
        else {
            return false;
        };
        if !self.rng.chance(percent) {
            return false;
        }
        let table = *self.rng.pick(&[LIST, LATER]);
        let place = self.clients[client].db.schema().iter().position(|held| held.name == table);
        let Some(place) = place.filter(|place| !self.clients[client].db.schema()[*place].is_link()) else {
            return true;
        };
        let held: Vec<RowKey> = {
            let rows = self.clients[client].db.rows().keys();
            rows.filter(|(table, _)| *table == place).map(|(_, key)| key.clone()).collect()
        };
        let label = self.label(client);
        let field = |name: &'static str, value| Field { name: ByteString::from_static(name), value };
        let number = value::integer(self.edits as i64 + 1_000);
        let (goes, is_new) = (self.rng.chance(25), self.rng.chance(40));
        let some = self.rng.pick_any(&held).filter(|_| !is_new);
        match (table, some) {
            (_, Some(key)) if goes => {
                self.clients[client].db.delete(label, place, &key);
            }
            (LATER, Some(key)) => {
                self.clients[client].db.update(label, place, &key, vec![field("a", number)]);
            }
            (LATER, None) => {
                let row = self.rng.pick(&rows).clone();
                self.clients[client].db.insert(label, place, row, vec![field("a", number)]);
            }
            // Bounds are made and deleted, never changed; each has an id of its own.
            _ => {
                let row = RowId { key: RowKey::Uuid(self.rng.uuid()), spelling: Spelling::default() };
                let parent = value::text(&self.rng.pick(&self.config.rows[0]).to_text());
                let fields = vec![field("parent_id", parent), field("minLat", number)];
                self.clients[client].db.insert(label, place, row, fields);
            }
        }
        true
    }
}
