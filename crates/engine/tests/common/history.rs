//! Histories of random memberships, policies, filters and operations: every delivery was permitted when it was made, every permitted one
//! arrived, and every replica equals what its user may see and asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Memory;
use super::draw::{Rng, filter, policy, role};
use bytes::Bytes;
use bytestring::ByteString;

use lattice_engine::{
    Access, Checkpoint, Policy, Resume, Role, Row, RowRef, Rule, Seq, Shown, Stream, Unlisted, View, WriterId,
};
use lattice_protocol::native::AckId;
use lattice_protocol::plain::Filter;
use lattice_protocol::value::{integer, null, text};
use lattice_protocol::{Change, EntryId, Field, Operation, Outgoing, RowId, RowKey, Spelling};

pub(crate) const TABLES: [&str; 4] = ["Doc", "Note", "Box", "_Doc_Note_links"];
const LINKS: usize = 3;

/// What the server puts on the wire.
#[derive(Clone)]
struct Frame {
    entries: Vec<Outgoing>,
    acks: Vec<AckId>,
}

/// The head before and after, who wrote it, and what others are sent.
type Commit = (Seq, Seq, WriterId, Vec<(Seq, Outgoing)>);
/// A view that was shown, and where it ended.
type Remembered = (Arc<View>, Option<Seq>);
type Values = BTreeMap<ByteString, Bytes>;

/// A client that compares nothing: whatever arrives later wins, and known ids are skipped.
struct Client {
    user: [u8; 16],
    role: Option<Role>,
    filter: Option<Arc<Filter>>,
    rows: BTreeMap<RowRef, Values>,
    known: BTreeSet<EntryId>,
    pending: Vec<Change>,
    sent: usize,
    checkpoint: Option<EntryId>,
    stream: Option<Stream>,
    down: VecDeque<Frame>,
    /// What it was sent and applied lately.
    handed: Vec<Outgoing>,
    /// The version of its app, 1 or 2, and whether it says so.
    app: u64,
    declares: bool,
}

/// Whether an app of this version has the column.
fn app_has(app: u64, table: &str, column: &str) -> bool {
    app > 1 || (table != "Box" && column != "b")
}

/// Entries that a device could still hand on.
const MAX_HANDED: usize = 8;

/// A history.
pub(crate) struct History {
    rng: Rng,
    store: Memory,
    ring: VecDeque<Commit>,
    policy: Policy,
    clients: Vec<Client>,
    /// By user, the views that they were shown.
    remembered: BTreeMap<[u8; 16], Vec<Remembered>>,
    /// By user, rows that they might read at some time, or wrote: their ids are no secret to them.
    met: BTreeSet<([u8; 16], RowRef)>,
    /// What happened, if anybody wants to read it.
    pub(crate) trace: Vec<String>,
    traced: bool,
    /// What went wrong while something was stored.
    violation: Option<String>,
    /// Devices hand on what they are sent. What anybody may see does not move meanwhile: a device that is handed a row too late
    /// would keep it.
    relays: bool,
    /// Apps are replaced by later and earlier versions.
    versions: bool,
}

macro_rules! note {
    ($history:expr, $($text:tt)*) => {
        if $history.traced { $history.trace.push(format!($($text)*)); }
    };
}

/// Whether policy lets this user be sent a row of a table, said once more in other words than the engine's: `own` says whether the
/// user created it.
fn may_read_of(policy: &Policy, role: Role, table: &str, own: bool) -> bool {
    let table = match policy.tables.get(table) {
        Some(table) => table,
        None if policy.unlisted_tables == Unlisted::Deny => return false,
        None => &policy.default,
    };
    table.read.any.is_some_and(|least| role >= least)
        || (table.read.own.is_some_and(|least| role >= least) && own)
}

/// The same for a row: a link goes with the document and the note that it names. Of one that nobody has created yet it counts
/// whether it might be the user's own.
fn may_read(policy: &Policy, role: Role, user: [u8; 16], row: &Row, rows: &BTreeMap<RowRef, Row>) -> bool {
    let ends = [("lhs", "Doc"), ("rhs", "Note")].into_iter().all(|(column, table)| {
        let Some(key) = row.field(column).and_then(|field| (0..20).find(|key| field.value == end(*key)))
        else {
            return true;
        };
        let named = RowRef { table: ByteString::from_static(table), key: RowKey::Uuid([key; 16]) };
        let creator = rows.get(&named).and_then(|row| row.creator);
        may_read_of(policy, role, table, creator.is_none_or(|creator| creator == user))
    });
    ends && may_read_of(policy, role, &row.table, row.creator == Some(user))
}

/// A link names a row by this.
fn end(key: u8) -> Bytes {
    text(&RowId { key: RowKey::Uuid([key; 16]), spelling: Spelling::default() }.to_text())
}

impl History {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng(seed);
        let count = 2 + rng.below(4);
        let filters = rng.chance(60);
        let versions = rng.chance(40);
        let policy = policy(&mut rng);
        let clients = (0..count).map(|at| {
            // Some people have two devices.
            let user = if at > 0 && rng.chance(25) { [1; 16] } else { [at as u8 + 1; 16] };
            let role = if at == 0 { Some(Role::Owner) } else { role(&mut rng) };
            let filter = if filters { filter(&mut rng) } else { None };
            Client {
                user,
                role: if user == [1; 16] { Some(Role::Owner) } else { role },
                filter,
                rows: BTreeMap::new(),
                known: BTreeSet::new(),
                pending: Vec::new(),
                sent: 0,
                checkpoint: None,
                stream: None,
                down: VecDeque::new(),
                handed: Vec::new(),
                app: if versions { 1 + rng.below(2) as u64 } else { 2 },
                declares: versions && rng.chance(50),
            }
        });
        let clients = clients.collect();
        let relays = rng.chance(30);
        let rule = if rng.chance(30) { Rule::Row } else { Rule::Field };
        Self {
            rng,
            store: Memory::new(rule),
            ring: VecDeque::new(),
            policy,
            clients,
            remembered: BTreeMap::new(),
            met: BTreeSet::new(),
            trace: Vec::new(),
            traced,
            violation: None,
            relays,
            versions,
        }
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..60 + self.rng.below(160) {
            self.step()?;
        }
        self.settle()
    }

    fn step(&mut self) -> Result<(), String> {
        let at = self.rng.below(self.clients.len());
        match self.rng.below(40) {
            35..=37 if self.relays => self.relay(at),
            0..=12 => self.edit(at),
            13..=17 => self.upload(at),
            18..=24 => self.pull(at)?,
            25..=32 => self.receive(at),
            33 if self.versions && self.clients[at].stream.is_none() && self.rng.chance(50) => {
                // Whoever has dropped something must say that it does no more.
                let client = &mut self.clients[at];
                // Apps go back to an earlier version only where that knows all tables they hold rows of: nobody could take these from
                // it.
                if client.app == 2 && !client.rows.keys().all(|held| app_has(1, &held.table, "a")) {
                    return Ok(());
                }
                client.app = 3 - client.app;
                client.declares = client.app == 2 || self.rng.chance(50);
                note!(self, "client {at} has version {}", self.clients[at].app);
            }
            33 | 34 if self.clients[at].stream.is_none() => self.connect(at),
            33 => self.disconnect(at),
            34 => {
                let garbage = EntryId(self.rng.uuid());
                let client = &mut self.clients[at];
                if client.stream.is_none() {
                    client.checkpoint = Some(garbage);
                }
            }
            35 | 36 if at > 0 => {
                let role = role(&mut self.rng);
                let user = self.clients[at].user;
                if user != [1; 16] {
                    note!(self, "client {at} becomes {role:?}");
                    self.close_views(|client| client.user == user);
                    self.clients[at].role = role;
                    self.moved(at);
                }
            }
            37 => {
                self.close_views(|_| true);
                self.policy = policy(&mut self.rng);
                note!(self, "policy {:?}", self.policy);
                (0..self.clients.len()).for_each(|at| self.moved(at));
            }
            38 => {
                // Another subscription: the client says so on its connection.
                if self.clients[at].filter.is_some() && self.clients[at].stream.is_some() {
                    let filter = filter(&mut self.rng);
                    note!(self, "client {at} asks for {:?}", filter.as_ref().map(|f| f.canonical()));
                    self.clients[at].filter = filter;
                    self.moved(at);
                }
            }
            _ => self.resend(at),
        }
        Ok(())
    }

    /// Another device of the same person is handed an entry that this one was sent, and uploads it.
    fn relay(&mut self, from: usize) {
        if self.clients[from].handed.is_empty() {
            return;
        }
        let entry = self.rng.pick(&self.clients[from].handed).clone();
        let to = self.rng.below(self.clients.len());
        let client = &self.clients[to];
        let same = client.user == self.clients[from].user && client.filter.is_none();
        if to == from || !same || client.known.contains(&entry.id) {
            return;
        }
        note!(self, "client {from} hands {:?} to {to}", brief(std::slice::from_ref(&entry)));
        let frame = Frame { entries: vec![entry.clone()], acks: Vec::new() };
        let checkpoint = client.checkpoint;
        self.clients[to].down.push_front(frame);
        self.receive(to);
        let client = &mut self.clients[to];
        // What comes by another channel moves the checkpoint of this one no further.
        client.checkpoint = checkpoint;
        if client.known.contains(&entry.id) {
            client.pending.push(Change {
                id: entry.id,
                id_spelling: entry.id_spelling,
                table: entry.table,
                operation: entry.operation,
                row: entry.row,
                fields: entry.fields,
                timestamp_us: Some(entry.time_us),
                synthesized: false,
                filter_removal: false,
                by_filter: false,
                raw: Bytes::new(),
            });
        }
    }

    fn resend(&mut self, at: usize) {
        self.clients[at].sent = 0;
    }

    fn view(&self, at: usize) -> Option<Arc<View>> {
        let client = &self.clients[at];
        let view = View::new(&self.policy, client.role?, client.user, false, client.filter.clone());
        Some(Arc::new(view.with_schema(client.declares.then_some(client.app))))
    }

    fn remember(&mut self, at: usize, view: &Arc<View>) {
        let again = View::parse(&view.definition()).expect("a view from its definition");
        assert_eq!((again.id(), &again), (view.id(), &**view));
        let views = self.remembered.entry(self.clients[at].user).or_default();
        views.retain(|(held, _)| held.id() != view.id());
        views.insert(0, (Arc::new(again), None));
    }

    /// What people could read so far is no secret to them.
    fn meet(&mut self, who: impl Fn(&Client) -> bool) {
        let rows = self.store.by_reference();
        for client in self.clients.iter().filter(|client| who(client)) {
            let Some(role) = client.role else { continue };
            let readable = rows.values().filter(|row| may_read(&self.policy, role, client.user, row, &rows));
            self.met.extend(readable.map(|row| (client.user, row.reference())));
        }
    }

    /// What people may read is about to change: what they could read so far is no secret to them, and the views that they
    /// were shown end here.
    fn close_views(&mut self, who: impl Fn(&Client) -> bool) {
        let head = self.store.head.seq;
        self.meet(&who);
        for client in self.clients.iter().filter(|client| who(client)) {
            for (_, until) in self.remembered.get_mut(&client.user).into_iter().flatten() {
                *until = until.or(Some(head));
            }
        }
    }

    /// What a client may see has moved.
    fn moved(&mut self, at: usize) {
        if self.clients[at].stream.is_none() {
            return;
        }
        let Some(view) = self.view(at) else { return self.disconnect(at) };
        self.remember(at, &view);
        let nonce = self.rng.next();
        let Client { user, stream, .. } = &mut self.clients[at];
        if let Some(stream) = stream {
            assert!(stream.change_view(*user, view, nonce));
        }
    }

    fn connect(&mut self, at: usize) {
        let Some(view) = self.view(at) else { return };
        let head = self.store.head.seq;
        let shown = |(view, until): &Remembered| Shown {
            view: Arc::clone(view),
            from: 0,
            until: until.unwrap_or(head),
        };
        let remembered = self.remembered.get(&self.clients[at].user).into_iter().flatten();
        let remembered: Vec<Shown> = remembered.map(shown).collect();
        self.remember(at, &view);
        let writer = WriterId(self.rng.uuid());
        let resume = Resume {
            minter: &self.store.minter,
            head,
            view,
            user: self.clients[at].user,
            remembered: &remembered,
            nonce: self.rng.next(),
        };
        let client = &mut self.clients[at];
        let checkpoint = match client.checkpoint {
            Some(id) => {
                let seq = self.store.entries.get(&id).map(|receipt| receipt.seq);
                Checkpoint::Id { id, seq }
            }
            None if client.rows.is_empty() => Checkpoint::New,
            None => Checkpoint::Lost,
        };
        let (start, lost) = resume.start(checkpoint);
        if self.traced {
            let views = start
                .prior
                .as_ref()
                .map(|prior| prior.views.iter().map(|v| (v.view.definition(), v.until)).collect::<Vec<_>>());
            self.trace.push(format!(
                "client {at} connects as {writer:?} with {checkpoint:?}, lost {lost}: {:?} at {:?}, prior {views:?}",
                start.view.definition(), start.cursor
            ));
        }
        client.stream = Some(Stream::start(writer, start));
        client.sent = 0;
    }

    fn disconnect(&mut self, at: usize) {
        note!(self, "client {at} leaves");
        self.clients[at].stream = None;
        self.clients[at].down.clear();
    }

    fn edit(&mut self, at: usize) {
        let table = self.rng.below(TABLES.len());
        let number = self.rng.below(3) as u8;
        let row = RowId { key: RowKey::Uuid([number + 10 * table as u8; 16]), spelling: Spelling::default() };
        let reference = RowRef { table: ByteString::from_static(TABLES[table]), key: row.key.clone() };
        let value = self.rng.below(3) as i64;
        let column = *self.rng.pick(&["a", "b"]);
        let held = self.clients[at].rows.contains_key(&reference);
        let app = self.clients[at].app;
        if !app_has(app, TABLES[table], "a") || (held && !app_has(app, TABLES[table], column)) {
            return;
        }
        let fields: Vec<(&'static str, Bytes)> = match (held, self.rng.below(10)) {
            (true, 0..=2) => Vec::new(),
            (true, _) if table == LINKS => return,
            (true, _) => vec![(column, integer(value))],
            // Few pairs, so that rows compete for them.
            (false, _) if table == LINKS => {
                let taken = |rows: &BTreeMap<RowRef, Values>, rhs: &Bytes| {
                    rows.iter()
                        .any(|(held, values)| *held.table == *TABLES[LINKS] && values.get("rhs") == Some(rhs))
                };
                let rhs = end(10 + value as u8 % 2);
                if taken(&self.clients[at].rows, &rhs) {
                    return;
                }
                vec![("lhs", end(0)), ("rhs", rhs)]
            }
            (false, 0..=6) => vec![("a", integer(value)), ("b", integer(value))],
            (false, _) => vec![(column, integer(value))],
        };
        let operation = match (held, fields.is_empty()) {
            (true, true) => Operation::Delete,
            (true, false) => Operation::Update,
            (false, _) => Operation::Insert,
        };
        let fields: Vec<Field> = fields
            .into_iter()
            .filter(|(name, _)| app_has(app, TABLES[table], name))
            .map(|(name, value)| Field { name: ByteString::from_static(name), value })
            .collect();
        let change = Change {
            id: EntryId(self.rng.uuid()),
            id_spelling: Spelling::default(),
            table: reference.table.clone(),
            operation,
            row,
            fields,
            timestamp_us: self.rng.chance(30).then(|| 900_000 + self.rng.below(200_000) as i64),
            synthesized: false,
            filter_removal: false,
            by_filter: false,
            raw: Bytes::new(),
        };
        note!(
            self,
            "client {at} {:?} {} {number} {:?} ({:?})",
            operation,
            TABLES[table],
            change.fields,
            change.id
        );
        let client = &mut self.clients[at];
        match operation {
            Operation::Delete => {
                client.rows.remove(&reference);
            }
            _ => {
                let values = client.rows.entry(reference.clone()).or_default();
                values.extend(change.fields.iter().map(|field| (field.name.clone(), field.value.clone())));
            }
        }
        self.met.insert((client.user, reference));
        client.known.insert(change.id);
        client.pending.push(change);
    }

    fn upload(&mut self, at: usize) {
        let count = 1 + self.rng.below(3);
        // A link may be closed to those who could read it until its end came.
        if self.store.rows().iter().any(|row| row.pair.is_some() && row.ends().rows.contains(&None)) {
            self.meet(|_| true);
        }
        let client = &mut self.clients[at];
        let (Some(stream), Some(role)) = (&mut client.stream, client.role) else { return };
        let changes: Vec<Change> = client.pending.iter().skip(client.sent).take(count).cloned().collect();
        if changes.is_empty() {
            return;
        }
        client.sent += changes.len();
        let access =
            Access { user: client.user, role, policy: &self.policy, archived: false, private: false };
        let shown: Vec<EntryId> = changes.iter().map(|change| change.id).collect();
        let effects = self.store.upload_as(stream.writer(), access, stream.echoes(), changes);
        if let Some(record) = effects.log.iter().find(|record| record.id.is_minted()) {
            self.violation = Some(format!("{:?} is the server's own word, and was logged", record.id));
        }
        if self.traced {
            let verdicts: Vec<_> = effects.outcomes.iter().map(|o| (o.verdict, &o.correction)).collect();
            self.trace
                .push(format!("client {at} uploads {shown:?}: {verdicts:?}, head {}", effects.head.seq));
        }
        self.ring.push_back((effects.before, effects.head.seq, stream.writer(), effects.visible));
        let acks = stream.outcomes(effects.outcomes);
        if !acks.is_empty() {
            client.down.push_back(Frame { entries: Vec::new(), acks });
        }
    }

    fn pull(&mut self, at: usize) -> Result<(), String> {
        let max_rows = *self.rng.pick(&[1, 2, 100]);
        let Some(stream) = &mut self.clients[at].stream else { return Ok(()) };
        if !stream.wants_pull(self.store.head.seq) {
            return Ok(());
        }
        if stream.takes_live() && self.rng.chance(70) {
            let position = stream.cursor().position;
            if let Some((_, head, writer, visible)) =
                self.ring.iter().find(|(before, ..)| *before == position).cloned()
            {
                let entries: Vec<Outgoing> = match writer == stream.writer() {
                    true => Vec::new(),
                    false => visible.into_iter().map(|(_, entry)| entry).collect(),
                };
                stream.sent_live(head);
                note!(self, "client {at} is sent live {:?}", brief(&entries));
                self.permitted(at, &entries)?;
                if !entries.is_empty() {
                    self.clients[at].down.push_back(Frame { entries, acks: Vec::new() });
                }
                return Ok(());
            }
        }
        let request = stream.pull_request(max_rows, usize::MAX);
        let data = self.store.pull(&request);
        let delivery = stream.pulled(&request, data, &self.store.minter);
        let entries: Vec<Outgoing> = delivery.entries.into_iter().chain(delivery.corrections).collect();
        note!(self, "client {at} is sent {:?} acks {:?}", brief(&entries), delivery.acks);
        self.permitted(at, &entries)?;
        if !entries.is_empty() || !delivery.acks.is_empty() {
            self.clients[at].down.push_back(Frame { entries, acks: delivery.acks });
        }
        Ok(())
    }

    /// Whether everything that is sent may be seen at this moment, and nothing else becomes known.
    fn permitted(&mut self, at: usize, entries: &[Outgoing]) -> Result<(), String> {
        let Client { user, role, .. } = self.clients[at];
        let Some(role) = role else { return Err(format!("client {at} may not be sent anything")) };
        let rows = self.store.by_reference();
        for entry in entries {
            let reference = RowRef { table: entry.table.clone(), key: entry.row.key.clone() };
            let met = self.met.contains(&(user, reference.clone()));
            let row = rows.get(&reference);
            let may_read = row.is_some_and(|row| may_read(&self.policy, role, user, row, &rows));
            let permitted = match entry.operation {
                Operation::Delete => may_read || met,
                _ => may_read,
            };
            if !permitted {
                return Err(format!(
                    "client {at} was sent {:?}, which it may not see",
                    brief(std::slice::from_ref(entry))
                ));
            }
        }
        Ok(())
    }

    fn receive(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(frame) = client.down.pop_front() else { return };
        for entry in &frame.entries {
            let app = client.app;
            if !app_has(app, &entry.table, "a") {
                // A table that it does not have: acknowledged, and not remembered.
                client.checkpoint = Some(entry.id);
                continue;
            }
            if client.known.insert(entry.id) {
                let reference = RowRef { table: entry.table.clone(), key: entry.row.key.clone() };
                let set = |values: &mut Values| {
                    let has = |field: &&Field| app_has(app, &entry.table, &field.name);
                    let kept = entry.fields.iter().filter(has);
                    values.extend(kept.map(|field| (field.name.clone(), field.value.clone())));
                };
                match entry.operation {
                    Operation::Insert => {
                        let mut values = client.rows.get(&reference).cloned().unwrap_or_default();
                        set(&mut values);
                        let ends = |values: &Values| (values.get("lhs").cloned(), values.get("rhs").cloned());
                        let second = *reference.table == *TABLES[LINKS]
                            && client.rows.iter().any(|(other, held)| {
                                *other != reference
                                    && other.table == reference.table
                                    && ends(held) == ends(&values)
                            });
                        if second {
                            // It cannot be stored: it stays unknown, and is not acknowledged.
                            client.known.remove(&entry.id);
                            continue;
                        }
                        client.rows.insert(reference, values);
                    }
                    Operation::Update => {
                        if let Some(values) = client.rows.get_mut(&reference) {
                            set(values);
                        }
                    }
                    Operation::Delete => {
                        client.rows.remove(&reference);
                    }
                }
            }
            client.checkpoint = Some(entry.id);
            if client.handed.len() >= MAX_HANDED {
                client.handed.remove(0);
            }
            client.handed.push(entry.clone());
        }
        let before = client.pending.len();
        let acked = |change: &Change| frame.acks.contains(&AckId::Uuid(change.id, change.id_spelling));
        client.pending.retain(|change| !acked(change));
        client.sent = client.sent.saturating_sub(before - client.pending.len());
    }

    fn settle(&mut self) -> Result<(), String> {
        note!(self, "-- settle");
        for at in 0..self.clients.len() {
            // A fresh replica of everybody.
            let Client { user, role, filter, app, declares, .. } = &self.clients[at];
            let (user, role, filter, app, declares) = (*user, *role, filter.clone(), *app, *declares);
            self.clients.push(Client {
                user,
                role,
                filter,
                rows: BTreeMap::new(),
                known: BTreeSet::new(),
                pending: Vec::new(),
                sent: 0,
                checkpoint: None,
                stream: None,
                down: VecDeque::new(),
                handed: Vec::new(),
                app,
                declares,
            });
        }
        for _ in 0..500 {
            for at in 0..self.clients.len() {
                if self.clients[at].stream.is_none() {
                    self.connect(at);
                }
                self.upload(at);
                self.pull(at)?;
                self.receive(at);
            }
            let head = self.store.head.seq;
            let busy = self.clients.iter().any(|client| {
                client.stream.as_ref().is_some_and(|stream| {
                    stream.wants_pull(head) || !client.down.is_empty() || client.sent < client.pending.len()
                })
            });
            if !busy {
                return self.violation.take().map_or_else(|| self.compare(), Err);
            }
        }
        Err("nothing settled".into())
    }

    fn compare(&self) -> Result<(), String> {
        for (at, client) in self.clients.iter().enumerate() {
            let Some(role) = client.role else { continue };
            if let Some(change) = client.pending.first() {
                return Err(format!("client {at}: {:?} was never acknowledged", change.id));
            }
            let solid = |table: &str, values: &Values| -> Values {
                let known = values.iter().filter(|(name, _)| app_has(client.app, table, name));
                known.filter(|(_, value)| **value != null()).map(|(n, v)| (n.clone(), v.clone())).collect()
            };
            let mut expected: BTreeMap<RowRef, Values> = BTreeMap::new();
            let rows = self.store.by_reference();
            for row in rows.values() {
                let values: Values = row.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
                let asked = client.filter.as_ref().is_none_or(|filter| {
                    filter.names_table(&row.table)
                        && filter.matches(&row.table, |name| values.get(name).map(|value| &value[..]))
                });
                let shown = row.is_live() && !row.hidden && asked;
                let has = app_has(client.app, &row.table, "a");
                if shown && has && may_read(&self.policy, role, client.user, row, &rows) {
                    expected.insert(row.reference(), solid(&row.table, &values));
                }
            }
            let held = client.rows.iter().filter(|(row, _)| app_has(client.app, &row.table, "a"));
            let held: BTreeMap<RowRef, Values> =
                held.map(|(row, values)| (row.clone(), solid(&row.table, values))).collect();
            if held != expected {
                return Err(format!("client {at} has\n  {held:?}\nand should have\n  {expected:?}"));
            }
        }
        Ok(())
    }
}

fn brief(entries: &[Outgoing]) -> Vec<String> {
    let brief = |entry: &Outgoing| {
        let back = if entry.taken_back { " taken back" } else { "" };
        format!(
            "{:?}{back} {} {:?} {:?} {:?}",
            entry.operation, entry.table, entry.row.key, entry.fields, entry.id
        )
    };
    entries.iter().map(brief).collect()
}

fn play(seed: u64) -> Result<(), String> {
    History::new(seed, false).run()
}

/// Plays histories on as many threads as there are cores; answers the first that is wrong.
pub(crate) fn first_wrong(seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        let work = |job| {
            let seeds = seeds.clone();
            move || {
                let mut mine = seeds.skip(job as usize).step_by(jobs as usize);
                mine.find_map(|seed| play(seed).err().map(|problem| (seed, problem)))
            }
        };
        let workers: Vec<_> = (0..jobs).map(|job| scope.spawn(work(job))).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("no history panics")).min()
    })
}
