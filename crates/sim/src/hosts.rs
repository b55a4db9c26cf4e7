//! Clients of the JSON dialect in a history: what they do, and what they must hold in the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Row, Seq};
use lattice_protocol::plain::{self, Filter};
use lattice_protocol::{EntryId, RowId, RowKey, Spelling};
use lattice_store::sqlite::spaces;
use serde_json::{Map, Value, json};

use crate::config::FIRST_LINK_TABLE;
use crate::driver::ConnectionNo;
use crate::history::{History, Problem, broken, note};
use crate::json_client::{Change, JsonClient, Replica, RowName};
use crate::people::User;
use crate::shared::TABLES;
use crate::{oracle, wire};

/// What JSON clients ask for: the members of a filter.
const FILTERS: [&str; 7] = [
    "",
    "",
    r#""tables":["Item","_Item_Note_notes"]"#,
    r#""where":{"Item":{"a":1}}"#,
    r#""where":{"Item":{"a":{"gte":1}},"Note":{"b":{"ne":0}}}"#,
    r#""tables":["Item","Note"],"where":{"Note":{"a":{"in":[0,1,null]}}}"#,
    r#""where":{"Item":{"b":{"lt":1100},"c":null}}"#,
];

/// A client of the JSON dialect and what its surroundings know of it.
pub(crate) struct JsonHost {
    pub(crate) db: JsonClient,
    pub(crate) user: User,
    pub(crate) connection: Option<ConnectionNo>,
    gives_ids: bool,
    untimed: bool,
    skew_us: i64,
    /// By space, up to where a poll that is under way, and one that was answered without more, goes at least.
    polling: BTreeMap<usize, Reached>,
    polled: BTreeMap<usize, Reached>,
}

/// A head, and how often it had changed by then what people may do: either may bring a client something new.
type Reached = (Seq, u64);

impl History<'_> {
    pub(crate) fn add_host(&mut self, user: User) {
        let http = self.rng.chance(25);
        let mine = self.shared().people[0] == user;
        let names = self.shared().names.clone();
        let mut spaces = Vec::new();
        for (space, name) in names.into_iter().enumerate() {
            if name != "me" || mine {
                // A poll has no filter.
                let filter = if http { "" } else { *self.rng.pick(&FILTERS) };
                spaces.push((space, name, filter));
            }
        }
        let id = format!("client {}", self.shared().hosts.len());
        let host = JsonHost {
            db: JsonClient::new(id, http, self.rng.chance(50), spaces),
            user,
            connection: None,
            gives_ids: self.rng.chance(50),
            untimed: self.rng.chance(self.config.untimed_percent),
            skew_us: *self.rng.pick(&[0, 0, 120_000_000, -120_000_000]),
            polling: BTreeMap::new(),
            polled: BTreeMap::new(),
        };
        self.shared().hosts.push(host);
    }

    pub(crate) fn some_space(&mut self, host: usize) -> usize {
        let spaces: Vec<usize> = self.shared().hosts[host].db.replicas().keys().copied().collect();
        *self.rng.pick(&spaces)
    }

    /// The connection of a client, if the server still has it.
    fn peer_of(&mut self, host: usize) -> Option<ConnectionNo> {
        let no = self.shared().hosts[host].connection?;
        if self.server.peer(no).is_none() {
            self.shared().hosts[host].connection = None;
            return None;
        }
        Some(no)
    }

    fn put(&mut self, host: usize, no: ConnectionNo, frames: impl IntoIterator<Item = Bytes>) {
        for frame in frames {
            note!(self, "json {host}: sends {}", String::from_utf8_lossy(&frame));
            if let Some(peer) = self.server.peer(no) {
                peer.up.push_back(frame);
            }
        }
    }

    pub(crate) fn toggle_json(&mut self, host: usize) -> Result<(), Problem> {
        match self.peer_of(host) {
            Some(_) if self.rng.chance(30) => drop(self.subscribe_again(host)?),
            Some(no) => {
                note!(self, "json {host}: leaves {no}");
                let stays = self.rng.chance(self.config.zombie_percent);
                match self.server.peer(no).filter(|_| stays) {
                    Some(peer) => peer.cut(&mut self.rng),
                    None => self.server.disconnect(no),
                }
                self.shared().hosts[host].connection = None;
            }
            None => self.connect_json(host),
        }
        Ok(())
    }

    fn connect_json(&mut self, host: usize) {
        let no = self.next_connection();
        let it = &mut self.shared().hosts[host];
        let (user, is_http, frames) = (it.user, it.db.is_http(), it.db.connect());
        it.connection = Some(no);
        match is_http {
            true => self.server.connect_http(no, user),
            false => self.server.connect_json(no, user),
        }
        note!(self, "json {host}: connects as {no}");
        self.put(host, no, frames);
    }

    /// It asks for other rows, with the cursor that it has, or anew.
    pub(crate) fn filter_anew(&mut self, host: usize) {
        let space = self.some_space(host);
        // People change their minds before the first answer is there.
        for _ in 0..self.rng.between(1, 2) {
            self.filter_space_anew(host, space);
        }
    }

    fn filter_space_anew(&mut self, host: usize, space: usize) {
        let filter = *self.rng.pick(&FILTERS);
        if self.rng.chance(30) {
            self.shared().hosts[host].db.forget_cursor(space);
        }
        let no = self.peer_of(host);
        let frame = self.shared().hosts[host].db.filter_anew(space, filter);
        if let Some(no) = no {
            self.put(host, no, frame);
        }
    }

    /// Asks again for spaces that it was refused.
    fn subscribe_again(&mut self, host: usize) -> Result<bool, Problem> {
        let Some(no) = self.peer_of(host) else { return Ok(false) };
        let it = &self.shared().hosts[host];
        let (user, is_http) = (it.user, it.db.is_http());
        let replicas = it.db.replicas().iter();
        let ended: Vec<usize> =
            replicas.filter(|(_, held)| !held.is_subscribed()).map(|(space, _)| *space).collect();
        let mut asked = false;
        for space in ended {
            if !is_http && self.access(space, user)?.is_some() {
                let frame = self.shared().hosts[host].db.subscribe(space);
                asked = true;
                self.put(host, no, frame);
            }
        }
        Ok(asked)
    }

    pub(crate) fn upload_json(&mut self, host: usize) -> bool {
        let Some(no) = self.peer_of(host) else { return false };
        let (space, max) = (self.some_space(host), self.rng.between(1, 4));
        let Some(frame) = self.shared().hosts[host].db.next_upload(space, max) else { return false };
        self.put(host, no, [frame]);
        true
    }

    pub(crate) fn poll_json(&mut self, host: usize) -> bool {
        let Some(no) = self.peer_of(host) else { return false };
        let (space, limit) = (self.some_space(host), *self.rng.pick(&[1, 2, 1_000]));
        let Some(frame) = self.shared().hosts[host].db.poll(space, limit) else { return false };
        self.put(host, no, [frame]);
        true
    }

    pub(crate) fn receive_json(&mut self, host: usize) -> Result<bool, Problem> {
        let Some(no) = self.peer_of(host) else { return Ok(false) };
        let Some(frame) = self.server.peer(no).and_then(|peer| peer.down.pop_front()) else {
            return Ok(false);
        };
        note!(self, "json {host}: receives {}", String::from_utf8_lossy(&frame));
        let received = self.shared().hosts[host]
            .db
            .receive(&frame)
            .map_err(|error| format!("json {host} cannot take a frame: {error}"))?;
        self.put(host, no, received.replies);
        let it = &mut self.shared().hosts[host];
        let polled = it.db.replicas().iter().filter(|(_, replica)| !replica.is_subscribed());
        for (space, replica) in polled {
            if let (Some(reached), false) = (it.polling.remove(space), replica.has_more()) {
                it.polled.insert(*space, reached);
            }
        }
        for (space, id, refused) in received.done {
            let no = self.server.space(space).no;
            let receipt =
                spaces::receipt(self.world.connection(), &self.server.view(), no, id).map_err(broken)?;
            let Some(receipt) = receipt else { return Err(format!("{id} was answered and is not stored")) };
            // A duplicate of a refused change is told as a duplicate.
            if refused && !receipt.refused {
                return Err(format!("{id} was told to be refused and was not"));
            }
            self.acked.insert((space, id));
        }
        Ok(true)
    }

    fn json_value(&mut self) -> Value {
        match self.rng.below(10) {
            0 => Value::Null,
            1..5 => json!(self.rng.below(3)),
            5 => json!(format!("text {}", self.edits)),
            _ => json!(self.edits + 1_000),
        }
    }

    pub(crate) fn edit_json(&mut self, host: usize) {
        self.edits += 1;
        let space = self.some_space(host);
        let rows = self.shared().hosts[host].db.replicas()[&space].rows().clone();
        let links = self.rng.chance(25);
        let held: Vec<RowName> =
            rows.keys().filter(|(table, _)| table.starts_with('_') == links).cloned().collect();
        let mut fields = Map::new();
        let (operation, (table, row)) = match (self.rng.pick_any(&held), self.rng.below(10)) {
            (Some(row), 0 | 1) => ("delete", row),
            (Some(row), 2..7) if !links => {
                fields.insert((*self.rng.pick(&["a", "b"])).to_owned(), self.json_value());
                ("update", row)
            }
            _ if links => {
                let (lhs, rhs) = (self.rng.below(2), self.rng.below(2));
                let end = |rows: &[RowId], at: usize| rows[at % rows.len()].to_text();
                fields.insert("lhs".to_owned(), json!(end(&self.config.rows[0], lhs)));
                fields.insert("rhs".to_owned(), json!(end(&self.config.rows[1], rhs)));
                let id = RowId { key: RowKey::Uuid(self.rng.uuid()), spelling: Spelling::default() };
                ("insert", ("_Item_Note_notes".to_owned(), id.to_text()))
            }
            _ => {
                let table = self.rng.below(FIRST_LINK_TABLE);
                let row = self.rng.pick(&self.config.rows[table]).to_text();
                for column in &["a", "b", "c"][..if table == 0 { 3 } else { 2 }] {
                    if !self.rng.chance(self.config.sparse_percent / 2) {
                        fields.insert((*column).to_owned(), self.json_value());
                    }
                }
                ("insert", (TABLES[table].to_owned(), row))
            }
        };
        let id = EntryId(self.rng.uuid());
        let now_us = self.client_time_us(0);
        let it = &mut self.shared().hosts[host];
        let change = Change {
            id: it.gives_ids.then_some(id),
            table,
            operation,
            row,
            fields,
            timestamp: (!it.untimed).then(|| wire::time_text(now_us + it.skew_us)),
        };
        note!(self, "json {host}: edits {change:?} in space {space}");
        self.shared().hosts[host].db.edit(space, change);
        *self.shared().json_edits.entry(space).or_default() += 1;
    }

    /// The server died: nobody is connected.
    pub(crate) fn lose_hosts(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.hosts.iter_mut().for_each(|host| host.connection = None);
        }
    }

    /// Connections of JSON clients.
    pub(crate) fn host_connections(&self) -> Vec<ConnectionNo> {
        self.shared.iter().flat_map(|shared| &shared.hosts).filter_map(|host| host.connection).collect()
    }

    /// Everybody gets a fresh replica, and all connect.
    pub(crate) fn connect_hosts(&mut self) {
        let Some(shared) = &self.shared else { return };
        for host in 0..shared.hosts.len() {
            // From now on nothing changes but by uploads.
            self.shared().hosts[host].polling.clear();
            self.shared().hosts[host].polled.clear();
            if self.peer_of(host).is_none() {
                self.connect_json(host);
            }
        }
    }

    pub(crate) fn add_fresh_hosts(&mut self) {
        let Some(shared) = &self.shared else { return };
        for user in shared.people.clone() {
            self.add_host(user);
        }
    }

    /// Lets every JSON client do what it can. False when nobody has anything to do.
    pub(crate) fn settle_hosts(&mut self) -> Result<bool, Problem> {
        let mut busy = false;
        for host in 0..self.shared.as_ref().map_or(0, |shared| shared.hosts.len()) {
            busy |= self.settle_host(host)?;
        }
        Ok(busy)
    }

    pub(crate) fn settle_host(&mut self, host: usize) -> Result<bool, Problem> {
        let mut busy = false;
        if self.peer_of(host).is_none() {
            self.connect_json(host);
            busy = true;
        }
        let Some(no) = self.peer_of(host) else { return Ok(busy) };
        let spaces: Vec<usize> = self.shared().hosts[host].db.replicas().keys().copied().collect();
        busy |= self.receive_json(host)?
            || self.server.accept(self.world, no, &mut self.rng).map_err(broken)?
            || self.pull(no)?
            || self.subscribe_again(host)?;
        for space in spaces {
            let user = self.shared().hosts[host].user;
            if self.access(space, user)?.is_none() {
                continue;
            }
            let it = &mut self.shared().hosts[host];
            let frame = it.db.next_upload(space, 1_000);
            busy |= frame.is_some();
            self.put(host, no, frame);
            busy |= self.poll_on(host, no, space)?;
        }
        Ok(busy)
    }

    /// Over HTTP one polls until there is no more.
    fn poll_on(&mut self, host: usize, no: ConnectionNo, space: usize) -> Result<bool, Problem> {
        let no_of_space = self.server.space(space).no;
        let head = spaces::head(self.world.connection(), &self.server.view(), no_of_space);
        let reached = (head.map_err(broken)?.seq, self.server.version(space));
        let it = &mut self.shared().hosts[host];
        if it.polled.get(&space) == Some(&reached) {
            return Ok(false);
        }
        let Some(frame) = it.db.poll(space, 1_000) else { return Ok(false) };
        it.polling.insert(space, reached);
        self.put(host, no, [frame]);
        Ok(true)
    }

    /// Every replica must hold what its user may see and asked for, and nothing else.
    pub(crate) fn compare_hosts(&mut self) -> Result<(), Problem> {
        let hosts = self.shared.as_ref().map_or(0, |shared| shared.hosts.len());
        for host in 0..hosts {
            let user = self.shared().hosts[host].user;
            let replicas = self.shared().hosts[host].db.replicas().clone();
            for (space, replica) in replicas {
                let Some(access) = self.access(space, user)? else { continue };
                if replica.pending() > 0 {
                    return Err(format!("json {host}: {} changes were never answered", replica.pending()));
                }
                let rows =
                    oracle::rows(self.world.connection(), &self.server.view(), self.server.space(space).no);
                let all = rows.map_err(broken)?;
                let mut rows = all.clone();
                rows.retain(|row| row.is_live() && !row.hidden && oracle::may_read(&access, user, row, &all));
                compare(&replica, &rows)
                    .map_err(|problem| format!("json {host} in space {space}: {problem}"))?;
            }
        }
        Ok(())
    }
}

fn compare(replica: &Replica, rows: &[Row]) -> Result<(), Problem> {
    let text = Bytes::from(format!("{{{}}}", replica.filter()));
    let filter = Filter::parse(&text).map_err(|problem| format!("{}: {problem}", replica.filter()))?;
    let asked = rows
        .iter()
        .filter(|row| filter.matches(&row.table, |name: &str| row.field(name).map(|field| &field.value[..])));
    let solid = |fields: Vec<(ByteString, Value)>| -> Map<String, Value> {
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.to_string(), v)).collect()
    };
    let expected: BTreeMap<RowName, Map<String, Value>> = asked
        .map(|row| {
            let plain = |wire: &[u8]| {
                let mut out = Vec::new();
                plain::write_plain(&mut out, wire, false);
                serde_json::from_slice(&out).unwrap_or_default()
            };
            let fields = row.fields.iter().map(|field| (field.name.clone(), plain(&field.value))).collect();
            ((row.table.to_string(), row.id.to_text()), solid(fields))
        })
        .collect();
    let held: BTreeMap<RowName, Map<String, Value>> = replica
        .rows()
        .iter()
        .map(|(row, fields)| {
            let fields = fields.iter().map(|(n, v)| (ByteString::from(n.clone()), v.clone())).collect();
            (row.clone(), solid(fields))
        })
        .collect();
    if held == expected { Ok(()) } else { Err(format!("has\n  {held:?}\nand should have\n  {expected:?}")) }
}
