//! Clients of the JSON dialect: on a socket, and over HTTP.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use super::PATIENCE;
use super::entry::new_id;
use super::http::{self, Account};
use super::replica::{Change, Columns, Replica};
use super::server::TestServer;
use super::socket::{Got, Handshake, Socket, handshake_with};

/// Offers the dialect.
pub const OFFER: &str = "Sec-WebSocket-Protocol: lattice.json.v1\r\n";

/// An upload that is not acknowledged.
#[derive(Clone, Debug)]
struct Pending {
    space: String,
    id: Value,
    changes: Vec<Value>,
}

/// A client on a socket, with a replica of each space.
pub struct JsonClient {
    pub name: String,
    pub token: String,
    pub hello: Value,
    pub socket: Option<Socket>,
    spaces: BTreeMap<String, Replica>,
    /// Spaces that it subscribes to, each with the rest of the frame.
    subscribed: BTreeMap<String, Value>,
    pending: VecDeque<Pending>,
    uploads: u64,
    /// Answers to uploads by the upload's id as JSON.
    pub acks: BTreeMap<String, Value>,
    /// All other frames, in order.
    pub events: Vec<Value>,
}

#[derive(Deserialize)]
struct Changes {
    space: String,
    changes: Vec<Change>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    more: bool,
}

impl JsonClient {
    /// A client that holds nothing, not connected.
    pub fn new(name: &str, account: &Account) -> Self {
        Self {
            name: name.to_owned(),
            token: account.token.clone(),
            hello: json!({"type": "hello", "clientId": new_id()}),
            socket: None,
            spaces: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            pending: VecDeque::new(),
            uploads: 0,
            acks: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// One that is connected and has said hello.
    #[track_caller]
    pub fn open(server: &TestServer, name: &str, account: &Account) -> Self {
        let mut client = Self::new(name, account);
        client.connect(server);
        client
    }

    /// One that has the state of a space.
    #[track_caller]
    pub fn in_space(server: &TestServer, name: &str, account: &Account, space: &str) -> Self {
        let mut client = Self::open(server, name, account);
        client.subscribe(space, json!({}));
        client.until_complete(space);
        client
    }

    /// Connects, says hello, subscribes again from the stored cursors, and sends again what was not acknowledged.
    #[track_caller]
    pub fn connect(&mut self, server: &TestServer) {
        let socket = shake(server, "/sync", &self.token).socket();
        self.socket = Some(socket);
        let hello = self.hello.clone();
        self.send(&hello);
        self.until(|client| client.events.last().is_some_and(|event| event["type"] == "ready"));
        for (space, rest) in self.subscribed.clone() {
            self.subscribe(&space, rest);
        }
        for Pending { space, id, changes } in self.pending.clone() {
            self.send(&json!({"type": "upload", "space": space, "id": id, "changes": changes}));
        }
    }

    pub fn disconnect(&mut self) {
        self.socket = None;
    }

    #[track_caller]
    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    #[track_caller]
    pub fn send_text(&mut self, frame: &str) {
        self.socket.as_mut().expect("a connection").send_text(frame);
    }

    /// Subscribes from the stored cursor. `rest` is what else the frame holds.
    #[track_caller]
    pub fn subscribe(&mut self, space: &str, rest: Value) {
        let mut frame = rest.clone();
        self.subscribed.insert(space.to_owned(), rest);
        let replica = self.spaces.entry(space.to_owned()).or_default();
        (replica.complete, replica.role) = (false, None);
        frame["type"] = json!("subscribe");
        frame["space"] = json!(space);
        frame["cursor"] = json!(replica.cursor);
        self.send(&frame);
    }

    /// What else its subscription to a space asks for.
    #[track_caller]
    pub fn asked(&self, space: &str) -> Value {
        self.subscribed.get(space).expect("a subscription").clone()
    }

    #[track_caller]
    pub fn space(&self, space: &str) -> &Replica {
        self.spaces.get(space).unwrap_or_else(|| panic!("{} holds nothing of {space}", self.name))
    }

    /// Applies changes to its own rows and uploads them. Returns the upload's id.
    #[track_caller]
    pub fn upload(&mut self, space: &str, changes: Vec<Value>) -> u64 {
        self.uploads += 1;
        let id = json!(self.uploads);
        self.apply_own(space, &changes);
        self.send(&json!({"type": "upload", "space": space, "id": id, "changes": changes}));
        self.pending.push_back(Pending { space: space.to_owned(), id, changes });
        self.uploads
    }

    fn apply_own(&mut self, space: &str, changes: &[Value]) {
        let replica = self.spaces.entry(space.to_owned()).or_default();
        for change in changes {
            let text = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
            let fields = change["changedFields"].as_object().cloned().unwrap_or_default();
            let columns: Columns =
                fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
            replica.set(&text("operation"), &text("tableName"), &text("globalRowId"), columns);
        }
    }

    /// Uploads and waits; the results.
    #[track_caller]
    pub fn store(&mut self, space: &str, changes: Vec<Value>) -> Vec<Value> {
        let id = self.upload(space, changes);
        self.results(id)
    }

    /// Waits for the answer to an upload.
    #[track_caller]
    pub fn results(&mut self, upload: u64) -> Vec<Value> {
        let id = upload.to_string();
        self.until(|client| client.acks.contains_key(&id));
        self.acks[&id]["results"].as_array().expect("results").clone()
    }

    /// Takes one frame.
    #[track_caller]
    pub fn step(&mut self) -> Value {
        let name = self.name.clone();
        let socket = self.socket.as_mut().expect("a connection");
        loop {
            match socket.next_within(PATIENCE) {
                Some(Got::Frame(frame)) => {
                    let text = String::from_utf8(frame.into()).expect("UTF-8");
                    return self.take(&text);
                }
                Some(Got::Ping | Got::Pong) => {}
                Some(end) => panic!("{name} lost its connection: {end:?}; events {:?}", self.events),
                None => panic!("{name}: nothing came; events {:?}", self.events),
            }
        }
    }

    #[track_caller]
    fn take(&mut self, text: &str) -> Value {
        let frame: Value = serde_json::from_str(text).expect("frames are JSON");
        let space = frame["space"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().expect("a type") {
            kind @ ("changes" | "current") => {
                let parsed: Changes =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let replica = self.spaces.entry(parsed.space).or_default();
                parsed.changes.iter().for_each(|change| replica.apply(change));
                if kind == "changes" {
                    replica.cursor = parsed.cursor.or(replica.cursor.take());
                    replica.complete |= !parsed.more;
                } else {
                    self.events.push(frame.clone());
                }
            }
            "ack" => {
                let id = frame["id"].clone();
                self.pending.retain(|pending| pending.id != id);
                self.acks.insert(id.to_string(), frame.clone());
                self.events.push(frame.clone());
            }
            "reset" => {
                let replica = self.spaces.entry(space.clone()).or_default();
                replica.reset(frame["reason"].as_str().expect("a reason"));
                // What it has not uploaded yet it keeps.
                for pending in self.pending.clone().iter().filter(|pending| pending.space == space) {
                    self.apply_own(&space, &pending.changes);
                }
            }
            kind => {
                if let Some(replica) = self.spaces.get_mut(&space)
                    && matches!(kind, "ready" | "access")
                {
                    replica.role = frame["role"].as_str().map(str::to_owned);
                    replica.seq = frame["seq"].as_u64().unwrap_or(replica.seq);
                }
                self.events.push(frame.clone());
            }
        }
        frame
    }

    /// Listens until it is enough.
    #[track_caller]
    pub fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            self.step();
        }
    }

    #[track_caller]
    pub fn until_complete(&mut self, space: &str) {
        self.until(|client| client.space(space).complete);
    }

    #[track_caller]
    pub fn until_row(&mut self, space: &str, table: &str, row: &str) {
        self.until(|client| client.space(space).row(table, row).is_some());
    }

    #[track_caller]
    pub fn until_gone(&mut self, space: &str, table: &str, row: &str) {
        self.until(|client| client.space(space).row(table, row).is_none());
    }

    #[track_caller]
    pub fn until_value(&mut self, space: &str, (table, row, column): (&str, &str, &str), value: &str) {
        self.until(|client| client.space(space).value(table, row, column) == Some(value));
    }

    /// The next event, whatever else comes before it.
    #[track_caller]
    pub fn event(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.step();
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The code of the next error.
    #[track_caller]
    pub fn error(&mut self) -> String {
        self.event("error")["code"].as_str().expect("a code").to_owned()
    }

    /// Everything that was sent before has been taken, and everything that came of it has arrived.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&json!({"type": "ping"}));
        self.event("pong");
    }

    /// Everything until the close frame, whose code and reason come last.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.as_mut().expect("a connection").next() {
                Got::Frame(frame) => {
                    let text = String::from_utf8(frame.into()).expect("UTF-8");
                    self.take(&text);
                }
                Got::Closed(code, reason) => return (code, reason),
                Got::Gone => panic!("the connection ended without a close frame"),
                Got::Ping | Got::Pong => {}
            }
        }
    }
}

/// The handshake of a client that speaks JSON.
#[track_caller]
pub fn shake(server: &TestServer, target: &str, token: &str) -> Handshake {
    handshake_with(server, target, Some(token), OFFER, b"").expect("an answer to the handshake")
}

/// A change to be uploaded.
pub fn change(operation: &str, table: &str, row: &str, fields: Value) -> Value {
    json!({"id": new_id(), "tableName": table, "operation": operation, "globalRowId": row, "changedFields": fields})
}

/// A client that polls over HTTP.
pub struct Poller {
    pub token: String,
    pub space: String,
    pub replica: Replica,
}

#[derive(Deserialize)]
struct Page {
    space: String,
    reset: Option<String>,
    changes: Vec<Change>,
    cursor: Option<String>,
    more: bool,
}

impl Poller {
    pub fn new(account: &Account, space: &str) -> Self {
        Self { token: account.token.clone(), space: space.to_owned(), replica: Replica::default() }
    }

    /// Takes one page; whether there is more.
    #[track_caller]
    pub fn poll(&mut self, server: &TestServer, more: &str) -> bool {
        let mut path = format!("/sync/changes?space={}{more}", self.space);
        if let Some(cursor) = &self.replica.cursor {
            path += &format!("&cursor={cursor}");
        }
        let (status, text) = http::call_raw(server, "GET", &path, &self.token, None);
        assert_eq!(status, 200, "{text}");
        let page: Page = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(page.space, self.space);
        if let Some(reason) = page.reset {
            self.replica.reset(&reason);
        }
        page.changes.iter().for_each(|change| self.replica.apply(change));
        self.replica.cursor = page.cursor.or(self.replica.cursor.take());
        page.more
    }

    /// Takes all that there is.
    #[track_caller]
    pub fn catch_up(&mut self, server: &TestServer) {
        while self.poll(server, "&limit=50") {}
    }

    /// Uploads, applies what comes back, and returns the results.
    #[track_caller]
    pub fn store(&mut self, server: &TestServer, changes: &[Value]) -> Vec<Value> {
        let body = json!({"space": self.space, "changes": changes});
        let (status, text) = http::call_raw(server, "POST", "/sync/changes", &self.token, Some(&body));
        assert_eq!(status, 200, "{text}");
        #[derive(Deserialize)]
        struct Answer {
            current: Vec<Change>,
            results: Vec<Value>,
        }
        let answer: Answer = serde_json::from_str(&text).expect("an answer");
        for change in changes {
            let text = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
            let fields = change["changedFields"].as_object().cloned().unwrap_or_default();
            let columns = fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
            self.replica.set(&text("operation"), &text("tableName"), &text("globalRowId"), columns);
        }
        answer.current.iter().for_each(|change| self.replica.apply(change));
        answer.results
    }
}
