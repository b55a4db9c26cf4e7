//! A model of a client of the JSON dialect: text frames in, text frames out, on a socket or over HTTP.
//!
//! It compares nothing and remembers no ids: whatever arrives later wins. It stores a cursor together with the changes that
//! came with it. It draws no random numbers and knows no time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use lattice_protocol::EntryId;
use serde_json::{Map, Value, json};

/// Most uploads that are not answered.
const MAX_IN_FLIGHT: usize = 2;

/// Table name and row id.
pub type RowName = (String, String);

/// A change as the client writes it.
#[derive(Clone, Debug)]
pub struct Change {
    /// An id of its own, if it gives one.
    pub id: Option<EntryId>,
    /// Table name.
    pub table: String,
    /// `insert`, `update` or `delete`.
    pub operation: &'static str,
    /// Row id.
    pub row: String,
    /// Columns and plain values.
    pub fields: Map<String, Value>,
    /// Seconds since 1970 with a fraction, as JSON; `None` for none.
    pub timestamp: Option<String>,
}

#[derive(Clone, Debug)]
struct Upload {
    id: u64,
    changes: Vec<Change>,
    in_flight: bool,
}

/// What a client holds of one space.
#[derive(Clone, Debug)]
pub struct Replica {
    /// How frames name the space.
    name: String,
    /// `tables` and `where` of its filter, as the members of an object; empty for everything.
    filter: &'static str,
    rows: BTreeMap<RowName, BTreeMap<String, Value>>,
    cursor: Option<String>,
    /// Changes that were never uploaded.
    fresh: VecDeque<Change>,
    uploads: Vec<Upload>,
    /// It has subscribed on this connection, or asked over HTTP and was not answered.
    asked: bool,
    /// Over HTTP: the last page was not the last one.
    more: bool,
}

/// What a received frame leads to.
#[derive(Debug, Default)]
pub struct Received {
    /// Frames to send back.
    pub replies: Vec<Bytes>,
    /// Changes that are done with: the space, the id, and whether it was refused.
    pub done: Vec<(usize, EntryId, bool)>,
}

/// A client and its database.
#[derive(Clone, Debug)]
pub struct JsonClient {
    id: String,
    /// It makes requests over HTTP instead of keeping a connection.
    http: bool,
    /// It wants fields as objects, not as text.
    objects: bool,
    /// By the number of the space.
    replicas: BTreeMap<usize, Replica>,
    uploads: u64,
}

impl Replica {
    /// What it holds.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<RowName, BTreeMap<String, Value>> {
        &self.rows
    }

    /// `tables` and `where` of its filter, as the members of an object; empty for everything.
    #[must_use]
    pub fn filter(&self) -> &'static str {
        self.filter
    }

    /// How many of its changes have not been answered.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.fresh.len() + self.uploads.iter().map(|upload| upload.changes.len()).sum::<usize>()
    }

    /// Whether it has subscribed.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.asked
    }

    /// Over HTTP: whether the last page said that others are waiting.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.more
    }

    fn is_in_flight(&self) -> usize {
        self.uploads.iter().filter(|upload| upload.in_flight).count()
    }

    fn lose(&mut self) {
        self.asked = false;
        self.uploads.iter_mut().for_each(|upload| upload.in_flight = false);
    }

    fn apply(&mut self, operation: &str, row: RowName, fields: &Map<String, Value>) {
        let set = |held: &mut BTreeMap<String, Value>| {
            held.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        };
        match operation {
            "insert" => set(self.rows.entry(row).or_default()),
            "update" => {
                if let Some(held) = self.rows.get_mut(&row) {
                    set(held);
                }
            }
            _ => drop(self.rows.remove(&row)),
        }
    }

    fn arrive(&mut self, changes: &Value) -> Result<(), String> {
        for change in changes.as_array().ok_or("no changes")? {
            let text = |key: &str| change[key].as_str().ok_or_else(|| format!("no {key} in {change}"));
            let fields = match &change["changedFields"] {
                Value::String(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
                Value::Object(fields) => fields.clone(),
                other => return Err(format!("changedFields is {other}")),
            };
            let row = (text("tableName")?.to_owned(), text("globalRowId")?.to_owned());
            self.apply(text("operation")?, row, &fields);
        }
        Ok(())
    }

    /// Drops everything but changes that are not uploaded for certain.
    fn reset(&mut self) {
        self.rows.clear();
        self.cursor = None;
        let kept: Vec<Change> =
            self.uploads.iter().flat_map(|upload| &upload.changes).chain(&self.fresh).cloned().collect();
        for change in kept {
            self.apply(change.operation, (change.table, change.row), &change.fields);
        }
    }
}

impl Change {
    fn write(&self, objects: bool) -> String {
        let fields = Value::Object(self.fields.clone());
        let fields = if objects { fields } else { Value::String(fields.to_string()) };
        let mut out = format!(
            r#"{{"tableName":{},"operation":"{}","globalRowId":{},"changedFields":{fields}"#,
            json!(self.table),
            self.operation,
            json!(self.row)
        );
        if let Some(id) = self.id {
            out += &format!(r#","id":"{id}""#);
        }
        if let Some(timestamp) = &self.timestamp {
            out += &format!(r#","timestamp":{timestamp}"#);
        }
        out.push('}');
        out
    }
}

fn joined(filter: &str) -> String {
    if filter.is_empty() { String::new() } else { format!(",{filter}") }
}

impl JsonClient {
    /// A client with an empty database, which knows these spaces: their numbers, how frames name them, and what of them it
    /// wants.
    #[must_use]
    pub fn new(id: String, http: bool, objects: bool, spaces: Vec<(usize, String, &'static str)>) -> Self {
        let replica = |(space, name, filter)| {
            let replica = Replica {
                name,
                filter,
                rows: BTreeMap::new(),
                cursor: None,
                fresh: VecDeque::new(),
                uploads: Vec::new(),
                asked: false,
                more: true,
            };
            (space, replica)
        };
        Self { id, http, objects, replicas: spaces.into_iter().map(replica).collect(), uploads: 0 }
    }

    /// Whether it makes requests over HTTP.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.http
    }

    /// What it holds, by the numbers of the spaces.
    #[must_use]
    pub fn replicas(&self) -> &BTreeMap<usize, Replica> {
        &self.replicas
    }

    /// Makes a change.
    pub fn edit(&mut self, space: usize, change: Change) {
        let Some(replica) = self.replicas.get_mut(&space) else { return };
        replica.apply(change.operation, (change.table.clone(), change.row.clone()), &change.fields);
        replica.fresh.push_back(change);
    }

    /// A connection was made: the frames to begin with.
    pub fn connect(&mut self) -> Vec<Bytes> {
        self.replicas.values_mut().for_each(Replica::lose);
        if self.http {
            return Vec::new();
        }
        let fields = if self.objects { r#","changedFields":"object""# } else { "" };
        let hello = format!(r#"{{"type":"hello","clientId":{}{fields}}}"#, json!(self.id));
        let spaces: Vec<usize> = self.replicas.keys().copied().collect();
        let subscribes = spaces.into_iter().filter_map(|space| self.subscribe(space));
        std::iter::once(hello.into()).chain(subscribes.collect::<Vec<_>>()).collect()
    }

    /// Asks for a space, from where it is.
    pub fn subscribe(&mut self, space: usize) -> Option<Bytes> {
        let replica = self.replicas.get_mut(&space).filter(|_| !self.http)?;
        replica.asked = true;
        let cursor = replica.cursor.as_ref().map(|cursor| format!(r#","cursor":"{cursor}""#));
        let (name, filter) = (&replica.name, joined(replica.filter));
        let cursor = cursor.unwrap_or_default();
        Some(format!(r#"{{"type":"subscribe","space":"{name}"{cursor}{filter}}}"#).into())
    }

    /// Asks for other rows of a space that it has subscribed to.
    pub fn filter_anew(&mut self, space: usize, filter: &'static str) -> Option<Bytes> {
        let replica = self.replicas.get_mut(&space).filter(|_| !self.http)?;
        replica.filter = filter;
        if replica.asked { self.subscribe(space) } else { None }
    }

    /// Forgets where it is in a space.
    pub fn forget_cursor(&mut self, space: usize) {
        if let Some(replica) = self.replicas.get_mut(&space) {
            replica.cursor = None;
        }
    }

    /// Over HTTP: asks for the next page of a space. One request at a time for each space: of two answers the later one to
    /// arrive might be the older one.
    pub fn poll(&mut self, space: usize, limit: u32) -> Option<Bytes> {
        let replica = self
            .replicas
            .get_mut(&space)
            .filter(|replica| self.http && !replica.asked && replica.is_in_flight() == 0)?;
        replica.asked = true;
        let cursor = replica.cursor.as_ref().map(|cursor| format!(r#","cursor":"{cursor}""#));
        let (name, cursor) = (&replica.name, cursor.unwrap_or_default());
        Some(format!(r#"{{"type":"poll","space":"{name}"{cursor},"limit":{limit}}}"#).into())
    }

    /// The next upload to a space, of `max` new changes at most. What was not answered is sent again as it was.
    pub fn next_upload(&mut self, space: usize, max: usize) -> Option<Bytes> {
        let replica = self.replicas.get_mut(&space)?;
        let most = if self.http { 1 } else { MAX_IN_FLIGHT };
        if replica.is_in_flight() >= most || replica.asked == self.http {
            return None;
        }
        let again = replica.uploads.iter().position(|upload| !upload.in_flight);
        let at = match again {
            Some(at) => at,
            None if replica.fresh.is_empty() => return None,
            None => {
                let count = max.clamp(1, replica.fresh.len());
                self.uploads += 1;
                let changes = replica.fresh.drain(..count).collect();
                replica.uploads.push(Upload { id: self.uploads, changes, in_flight: false });
                replica.uploads.len() - 1
            }
        };
        let upload = &mut replica.uploads[at];
        upload.in_flight = true;
        let changes: Vec<String> = upload.changes.iter().map(|change| change.write(self.objects)).collect();
        let (id, name, changes) = (upload.id, &replica.name, changes.join(","));
        Some(
            if self.http {
                let client = json!(self.id);
                format!(r#"{{"id":{id},"space":"{name}","clientId":{client},"changes":[{changes}]}}"#)
            } else {
                format!(r#"{{"type":"upload","id":{id},"space":"{name}","changes":[{changes}]}}"#)
            }
            .into(),
        )
    }

    /// Takes a frame, or an answer over HTTP.
    ///
    /// # Errors
    /// When no client could read it, or when it says what must not be said.
    pub fn receive(&mut self, frame: &Bytes) -> Result<Received, String> {
        let frame: Value = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
        let mut received = Received::default();
        match frame["type"].as_str() {
            Some("ack") => self.answered(&frame, &mut received)?,
            None if frame.get("results").is_some() => self.answered(&frame, &mut received)?,
            Some("pong") => {}
            Some("ready") if frame.get("space").is_none() => {}
            _ => {
                let name = frame["space"].as_str().ok_or_else(|| format!("no space in {frame}"))?;
                let found = self.replicas.values_mut().find(|replica| replica.name == name);
                let replica = found.ok_or_else(|| format!("{name} is no space of this client"))?;
                match frame["type"].as_str() {
                    Some("changes") => {
                        replica.arrive(&frame["changes"])?;
                        if let Some(cursor) = frame["cursor"].as_str() {
                            replica.cursor = Some(cursor.to_owned());
                            let ack = format!(r#"{{"type":"ack","space":"{name}","cursor":"{cursor}"}}"#);
                            received.replies.push(ack.into());
                        }
                    }
                    Some("current") => replica.arrive(&frame["changes"])?,
                    Some("reset") => replica.reset(),
                    Some("access") if frame["role"].is_null() => replica.lose(),
                    Some("error") => replica.lose(),
                    Some("ready" | "access") => {}
                    None => {
                        if frame.get("reset").is_some() {
                            replica.reset();
                        }
                        replica.arrive(&frame["changes"])?;
                        replica.cursor =
                            frame["cursor"].as_str().map(str::to_owned).or(replica.cursor.take());
                        replica.asked = false;
                        replica.more = frame["more"] == true;
                    }
                    Some(other) => return Err(format!("a frame of type {other}")),
                }
            }
        }
        Ok(received)
    }

    fn answered(&mut self, frame: &Value, received: &mut Received) -> Result<(), String> {
        let id = frame["id"].as_u64().ok_or_else(|| format!("no upload id in {frame}"))?;
        for (space, replica) in &mut self.replicas {
            let Some(at) = replica.uploads.iter().position(|upload| upload.id == id) else { continue };
            let upload = replica.uploads.remove(at);
            let results = frame["results"].as_array().ok_or_else(|| format!("no results in {frame}"))?;
            if results.len() != upload.changes.len() {
                return Err(format!("{} changes were answered by {frame}", upload.changes.len()));
            }
            for (result, change) in results.iter().zip(&upload.changes) {
                let text = result["id"].as_str().unwrap_or_default();
                let (id, _) = EntryId::parse(text).ok_or_else(|| format!("no id in {result}"))?;
                if change.id.is_some_and(|given| given != id) {
                    return Err(format!("{:?} was answered as {id}", change.id));
                }
                let refused = result["status"] == "rejected";
                if refused != result["code"].is_string() {
                    return Err(format!("a code goes with a refusal: {result}"));
                }
                received.done.push((*space, id, refused));
            }
            if let Some(cursor) = frame["cursor"].as_str() {
                replica.cursor = Some(cursor.to_owned());
            }
            if let Some(current) = frame.get("current") {
                replica.arrive(current)?;
            }
        }
        Ok(())
    }
}
