//! A device: the model of the deployed client, at the end of a real socket.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{EntryId, Field, RowId, RowKey, Spelling, value};
use lattice_sim::client::{Label, LocalRow, NativeClient, Schema, Table};
use lattice_sim::rng::Rng;

use super::http::Account;
use super::replica::{Rows, plain_rows};
use super::server::TestServer;
use super::socket::{Got, Socket, handshake_of, target};

/// Tables of the schema.
pub const ITEM: usize = 0;
pub const PARENT: usize = 1;
pub const CHILD: usize = 2;
pub const LINK: usize = 3;
const MARKER: usize = 4;

/// The schema of the captured clients, and a table that only this harness writes.
pub fn schema() -> Arc<Schema> {
    Arc::new(vec![
        Table::new("Item", &["name", "count", "score", "note", "data"]),
        Table::new("Parent", &["name"]),
        Table::new("Child", &["name", "age"]),
        Table::new("_Parent_Child_children", &["lhs", "rhs"]),
        Table::new("Marker", &["name"]),
    ])
}

/// A row id that is the same for the same number.
pub fn row_id(number: u64) -> RowId {
    RowId { key: RowKey::Uuid(Rng::new(number).uuid()), spelling: Spelling::default() }
}

pub fn field(name: &'static str, value: Bytes) -> Field {
    Field { name: ByteString::from_static(name), value }
}

/// A client and its connection.
pub struct Device {
    pub name: String,
    pub db: NativeClient,
    pub token: String,
    /// The address of its space; `None`: the private one.
    pub space: Option<String>,
    pub socket: Option<Socket>,
    pub rng: Rng,
    /// Own changes that were acknowledged.
    pub acked: Vec<EntryId>,
    /// What passed: connections, frames sent and received.
    trace: Vec<(&'static str, Bytes)>,
}

/// The connection has ended.
#[derive(Debug)]
pub struct Lost;

impl Device {
    /// A device with an empty database. Its seed names all of its ids.
    pub fn new(name: &str, account: &Account, seed: u64) -> Self {
        let db = NativeClient::new(schema(), 1_000);
        let (name, token) = (name.to_owned(), account.token.clone());
        let (space, rng) = (None, Rng::new(seed));
        Self { name, db, token, space, socket: None, rng, acked: Vec::new(), trace: Vec::new() }
    }

    /// The same for a shared space.
    pub fn in_space(name: &str, account: &Account, seed: u64, space: &str) -> Self {
        Self { space: Some(space.to_owned()), ..Self::new(name, account, seed) }
    }

    /// A label without a time, as released clients write it: an upper-case variant digit.
    pub fn label(&mut self) -> Label {
        self.label_at("")
    }

    /// A label with a time.
    pub fn label_at(&mut self, timestamp: &str) -> Label {
        let id = EntryId(self.rng.uuid());
        let mut text = id.to_text(Spelling::default());
        let variant = text[19..20].to_ascii_uppercase();
        text.replace_range(19..20, &variant);
        let (id, spelling) = EntryId::parse(&text).expect("an id");
        Label { id, spelling, timestamp: timestamp.to_owned() }
    }

    /// Connects and uploads at once.
    #[track_caller]
    pub fn connect(&mut self, server: &TestServer) {
        self.try_connect(server).unwrap_or_else(|lost| panic!("{} cannot connect: {lost:?}", self.name));
    }

    /// The same against a server that may be dying.
    pub fn try_connect(&mut self, server: &TestServer) -> Result<(), Lost> {
        let checkpoint = self.db.connect();
        self.trace.push(("connects with", checkpoint.clone().unwrap_or_default().into()));
        let mut target = target(checkpoint.as_deref());
        if let Some(space) = &self.space {
            target.insert_str("/sync".len(), &format!("/{space}"));
        }
        let answer = handshake_of(server, &target, Some(&self.token), b"");
        let answer = answer.map_err(|_| Lost)?;
        if answer.status == 503 {
            // The server cannot, for now.
            return Err(Lost);
        }
        self.socket = Some(answer.socket());
        self.upload()
    }

    pub fn disconnect(&mut self) {
        self.socket = None;
    }

    /// Sends what may be sent.
    pub fn upload(&mut self) -> Result<(), Lost> {
        let Some(socket) = &mut self.socket else { return Err(Lost) };
        while let Some(frame) = self.db.next_upload() {
            self.trace.push(("sends", frame.clone()));
            socket.try_send(frame).map_err(|_| Lost)?;
        }
        Ok(())
    }

    /// Takes one frame of the server, answers it, and sends on.
    #[track_caller]
    pub fn step(&mut self) -> Result<(), Lost> {
        let waits_for = self.db.pending().len();
        self.try_step()
            .unwrap_or_else(|| panic!("{}: nothing came, and {waits_for} changes wait for an ack", self.name))
    }

    /// The same, where it may be that nothing comes.
    #[track_caller]
    fn try_step(&mut self) -> Option<Result<(), Lost>> {
        let Some(socket) = &mut self.socket else { return Some(Err(Lost)) };
        let got = socket.next_within(super::PATIENCE)?;
        Some(match got {
            Got::Frame(frame) => {
                self.trace.push(("receives", frame.clone()));
                let received = self.db.receive(&frame).unwrap_or_else(|error| {
                    panic!(
                        "{}: no client could read {}: {error:?}",
                        self.name,
                        String::from_utf8_lossy(&frame)
                    )
                });
                self.acked.extend(received.acked);
                for reply in received.replies {
                    if socket.try_send(reply).is_err() {
                        return Some(Err(Lost));
                    }
                }
                self.upload()
            }
            Got::Ping | Got::Pong => Ok(()),
            Got::Closed(..) | Got::Gone => {
                self.socket = None;
                Err(Lost)
            }
        })
    }

    /// Listens until its rows, as the JSON dialect writes them, are these.
    #[track_caller]
    pub fn until_rows(&mut self, wanted: &Rows, when: &str) {
        loop {
            let held = plain_rows(self);
            if held == *wanted {
                return;
            }
            let Some(step) = self.try_step() else {
                let keys = held.keys().chain(wanted.keys()).filter(|key| held.get(*key) != wanted.get(*key));
                let differs: Vec<_> = keys.map(|key| (key, held.get(key), wanted.get(key))).collect();
                panic!("{} differs {when}: row, held, wanted: {differs:#?}", self.name)
            };
            step.unwrap_or_else(|_| panic!("{} lost its connection {when}", self.name));
        }
    }

    /// What passed about one row, and when it connected.
    fn story(&self, row: &RowKey) -> String {
        let id = RowId { key: row.clone(), spelling: Spelling::default() }.to_text();
        let mut story = format!("-- {}\n", self.name);
        for (what, frame) in &self.trace {
            let text = String::from_utf8_lossy(frame);
            let entries = text
                .split("{\"changedFields\"")
                .filter(|part| what.starts_with("conn") || part.contains(&id));
            entries.for_each(|entry| story += &format!("{what} {entry}\n"));
        }
        story
    }

    /// Uploads, and listens until everything is acknowledged.
    #[track_caller]
    pub fn settle(&mut self) {
        let alive = |result: Result<(), Lost>, name: &str| {
            result.unwrap_or_else(|_| panic!("{name} lost its connection"))
        };
        alive(self.upload(), &self.name);
        while self.db.pending().len() > 0 {
            alive(self.step(), &self.name);
        }
    }

    /// Listens until a row is there.
    #[track_caller]
    pub fn until_row(&mut self, table: usize, row: &RowId) {
        while !self.db.rows().contains_key(&(table, row.key.clone())) {
            let step = self.step();
            step.unwrap_or_else(|_| panic!("{} lost its connection", self.name));
        }
    }

    /// Listens until a row is gone.
    #[track_caller]
    pub fn until_gone(&mut self, table: usize, row: &RowId) {
        while self.db.rows().contains_key(&(table, row.key.clone())) {
            let step = self.step();
            step.unwrap_or_else(|_| panic!("{} lost its connection", self.name));
        }
    }

    /// Code and reason of the close frame that ends the connection; what comes before it is taken.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let mut socket = self.socket.take().expect("a connection");
        loop {
            match socket.next() {
                Got::Frame(frame) => {
                    self.db.receive(&frame).expect("a frame that clients can read");
                }
                Got::Closed(code, reason) => return (code, reason),
                Got::Gone => panic!("the connection ended without a close frame"),
                Got::Ping | Got::Pong => {}
            }
        }
    }

    pub fn insert(&mut self, table: usize, row: &RowId, fields: Vec<Field>) {
        let label = self.label();
        assert!(self.db.insert(label, table, row.clone(), fields), "{} has this row", self.name);
    }

    pub fn update(&mut self, table: usize, row: &RowId, fields: Vec<Field>) {
        let label = self.label();
        assert!(self.db.update(label, table, &row.key, fields), "{} does not have this row", self.name);
    }

    pub fn delete(&mut self, table: usize, row: &RowId) {
        let label = self.label();
        assert!(self.db.delete(label, table, &row.key), "{} does not have this row", self.name);
    }

    /// A link row with an id of its own.
    pub fn link(&mut self, row: &RowId, parent: &RowId, child: &RowId) {
        let (lhs, rhs) = (value::text(&parent.to_text()), value::text(&child.to_text()));
        self.insert(LINK, row, vec![field("lhs", lhs), field("rhs", rhs)]);
    }

    pub fn row(&self, table: usize, row: &RowId) -> Option<&LocalRow> {
        self.db.rows().get(&(table, row.key.clone()))
    }

    /// A value of a row that is there.
    #[track_caller]
    pub fn value(&self, table: usize, row: &RowId, column: &str) -> Option<Bytes> {
        let at = schema()[table].columns.iter().position(|name| name == column).expect("a column");
        self.row(table, row).unwrap_or_else(|| panic!("{} does not have this row", self.name)).values[at]
            .clone()
    }
}

/// Everything that was uploaded has arrived everywhere: each device settles, then waits for a row that each of the
/// others writes, which can only come after everything before it.
#[track_caller]
pub fn settle(devices: &mut [&mut Device]) {
    for device in devices.iter_mut() {
        device.settle();
    }
    for writer in 0..devices.len() {
        let row = RowId { key: RowKey::Uuid(devices[writer].rng.uuid()), spelling: Spelling::default() };
        devices[writer].insert(MARKER, &row, vec![field("name", value::text("settled"))]);
        devices[writer].settle();
        for device in devices.iter_mut() {
            device.until_row(MARKER, &row);
        }
    }
}

/// Settles, and compares all rows of all devices.
#[track_caller]
pub fn converge(devices: &mut [&mut Device]) {
    settle(devices);
    let rows = |device: &Device| {
        let values = device.db.rows().iter().map(|(key, row)| (key.clone(), row.values.clone()));
        values.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (first, others) = devices.split_first().expect("a device");
    for other in others {
        let (ours, theirs) = (rows(first), rows(other));
        for key in ours.keys().chain(theirs.keys()) {
            let (held, other_held) = (ours.get(key), theirs.get(key));
            let stories = || [&**first, &**other].map(|device| device.story(&key.1)).concat();
            let table = &schema()[key.0].name;
            assert!(
                held == other_held,
                "{} holds {held:?}, {} holds {other_held:?} in {table}:\n{}",
                first.name,
                other.name,
                stories()
            );
        }
    }
}
