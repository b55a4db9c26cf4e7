//! The end of a history: no more faults, everybody connects, and all are compared.

use std::collections::BTreeSet;

use bytes::Bytes;
use lattice_engine::Row;
use lattice_protocol::RowKey;
use lattice_store::sqlite::spaces;

use crate::client::{LocalRow, NativeClient, Table, Unstored};
use crate::driver::ConnectionNo;
use crate::history::{History, Problem, broken, note};
use crate::wire;
use crate::{audit, oracle};

/// Most rounds until a history must have settled: far more than the frames that it can hold.
const MAX_ROUNDS: usize = 20_000;
/// Rounds in which others write, and in which a client must be acknowledged all the same.
const STARVING_ROUNDS: usize = 25;

impl History<'_> {
    fn connect_all(&mut self) -> Result<(), Problem> {
        let mut used: Vec<_> = self.clients.iter().filter_map(|client| client.connection).collect();
        used.extend(self.host_connections());
        for no in self.server.connections() {
            if !used.contains(&no) {
                self.server.disconnect(no);
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client].connection.is_none() {
                self.connect(client)?;
            }
        }
        self.connect_hosts();
        Ok(())
    }

    /// Until nobody has anything to do.
    pub(crate) fn settle(&mut self) -> Result<(), Problem> {
        note!(self, "-- everybody connects and settles");
        self.connect_all()?;
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        for _ in 0..MAX_ROUNDS {
            self.rng.shuffle(&mut order);
            let mut busy = self.rng.chance(50) && self.commit(false)?;
            for client in &order {
                let Some(no) = self.settled_connection(*client)? else { continue };
                busy |= self.receive(*client)?
                    || self.server.accept(self.world, no, &mut self.rng).map_err(broken)?
                    || self.pull(no)?
                    || self.upload(*client);
            }
            busy |= self.settle_hosts()?;
            self.no_violation()?;
            if !busy && !self.commit(false)? {
                return Ok(());
            }
        }
        Err(format!("nothing settled in {MAX_ROUNDS} rounds"))
    }

    /// The connection of a client while nothing fails. Who may not see the space has none.
    fn settled_connection(&mut self, client: usize) -> Result<Option<ConnectionNo>, Problem> {
        if let Some(no) = self.clients[client].connection
            && self.server.peer(no).is_some()
        {
            return Ok(Some(no));
        }
        let (space, user) = (self.clients[client].space, self.clients[client].user);
        if self.shared.is_none() {
            return Err(format!("client {client} lost its connection while nothing fails"));
        }
        if self.access(space, user)?.is_some() {
            self.connect(client)?;
        }
        Ok(self.clients[client].connection)
    }

    /// Others write in every round, so that no stream of one-row pages ever reaches the head. Everyone who waits for an
    /// ack must still get it: the server's driver counts the pulls that each takes.
    pub(crate) fn starve(&mut self) -> Result<(), Problem> {
        note!(self, "-- others write in every round");
        self.connect_all()?;
        self.server.shrink_pages();
        for _ in 0..STARVING_ROUNDS {
            for client in 0..self.clients.len() {
                let Some(no) = self.clients[client].connection else { continue };
                self.edit(client);
                self.upload(client);
                while self.server.accept(self.world, no, &mut self.rng).map_err(broken)? {}
                self.pull(no)?;
                while self.receive(client)? {}
                self.no_violation()?;
            }
            while self.commit(false)? {}
        }
        Ok(())
    }

    /// Every replica must equal the server, and the audit log must hold what was promised.
    pub(crate) fn compare(&mut self) -> Result<(), Problem> {
        let (db, recent) = (self.world.connection(), self.server.view());
        for space in 0..self.config.spaces {
            let no = self.server.space(space).no;
            let truth = oracle::rows(db, &recent, no).map_err(broken)?;
            for (number, client) in
                self.clients.iter().enumerate().filter(|(_, client)| client.space == space)
            {
                let Some(access) = self.access(space, client.user)? else { continue };
                if let Some(pending) = client.db.pending().next() {
                    return Err(format!(
                        "client {number}: {} of {} changes was never acknowledged",
                        pending.label.id,
                        client.db.pending().len()
                    ));
                }
                if client.is_foreign {
                    continue;
                }
                let seen: Vec<Row> = truth
                    .iter()
                    .filter(|row| oracle::may_read(&access, client.user, row, &truth))
                    .cloned()
                    .collect();
                compare(&client.db, &seen).map_err(|problem| format!("client {number}: {problem}"))?;
            }
            let head = spaces::head(db, &recent, no).map_err(broken)?.seq;
            let log = spaces::audit(db, &recent, no, 0, usize::MAX >> 1).map_err(broken)?;
            audit::check(&log, head, &truth)?;
            let edits = self.shared.as_ref().and_then(|shared| shared.json_edits.get(&space)).copied();
            audit::check_retries(&log, edits.unwrap_or_default())?;
            audit::check_inbox(db, no, &log).map_err(broken)??;
        }
        for (space, id) in &self.acked {
            let live = self.server.space(*space);
            let kept = spaces::receipt(db, &recent, live.no, *id).map_err(broken)?.is_some();
            if !kept && !id.is_minted() {
                return Err(format!("{id} was acknowledged and is lost"));
            }
        }
        Ok(())
    }
}

/// Compares a replica with the rows that its user may see. A row, or column, is let pass where the last thing that the client was
/// sent of it could not be stored: its app's own constraints keep it out.
fn compare(client: &NativeClient, truth: &[Row]) -> Result<(), Problem> {
    let live = truth.iter().filter(|row| row.is_live() && !row.hidden);
    let mut true_rows: BTreeSet<(usize, RowKey)> = BTreeSet::new();
    for row in live {
        let Some(table) = client.schema().iter().position(|table| table.name == row.table) else { continue };
        let key = (table, row.id.key.clone());
        let held = client.rows().get(&key);
        let it = &client.schema()[table];
        let is_excused = is_excused(client, &key) || is_kept_out(client, &key, row);
        if !is_excused && !holds(it, held, row, client.unstored().get(&key)) {
            let values = &row.values();
            let (table, id) = (&row.table, row.id.to_text());
            return Err(format!("{table} {id} is {:?}, should be {values:?}", held.map(shown)));
        }
        true_rows.insert(key);
    }
    let is_extra = |key: &(usize, RowKey)| !true_rows.contains(key) && !is_excused(client, key);
    match client.rows().iter().find(|(key, _)| is_extra(key)) {
        None => Ok(()),
        Some(((table, _), held)) => {
            let name = &client.schema()[*table].name;
            Err(format!("a row that is not: {:?}", (name, shown(held))))
        }
    }
}

/// Whether nothing can be asked of a row. Of pairs of links and of unions the server knows what clients refuse, so what it sends of
/// them must always be stored in the end.
fn is_excused(client: &NativeClient, key: &(usize, RowKey)) -> bool {
    let table = &client.schema()[key.0];
    match client.unstored().get(key) {
        _ if table.is_made_up() => true,
        Some(Unstored::Dropped) => true,
        Some(Unstored::Row) => !table.is_link() && !table.is_union(),
        Some(Unstored::Columns(_)) | None => false,
    }
}

/// Whether a link was refused, and another one of its pair is there whose end was dropped together with its delivery.
fn is_kept_out(client: &NativeClient, key: &(usize, RowKey), row: &Row) -> bool {
    let table = &client.schema()[key.0];
    let dropped = client.unstored().iter().filter(|(_, unstored)| **unstored == Unstored::Dropped);
    let mut in_the_way = dropped.filter(|(other, _)| other.0 == key.0 && *other != key);
    table.is_link()
        && client.unstored().get(key) == Some(&Unstored::Row)
        && in_the_way.any(|(other, _)| holds(table, client.rows().get(other), row, None))
}

/// Whether a client has the values of a row, in the columns that it has.
fn holds(table: &Table, held: Option<&LocalRow>, row: &Row, unstored: Option<&Unstored>) -> bool {
    let Some(held) = held else { return false };
    table.columns.iter().zip(&held.values).zip(table.blank()).all(|((name, value), blank)| {
        if !table.is_union() && matches!(unstored, Some(Unstored::Columns(columns)) if columns.contains(name))
        {
            return true;
        }
        let stored = row.field(name).map(|field| field.value.clone());
        let wanted = stored.map_or(blank, |value| (*value != *wire::NULL).then_some(value));
        *value == wanted
    })
}

fn shown(row: &LocalRow) -> (String, &Vec<Option<Bytes>>) {
    (row.id.to_text(), &row.values)
}
