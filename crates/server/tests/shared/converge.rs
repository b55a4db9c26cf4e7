//! Concurrent edits in one space, from clients of all kinds, end in the same bytes everywhere.

use lattice_protocol::{RowId, RowKey, Spelling, value};
use lattice_sim::rng::Rng;
use serde_json::{Value, json};

use super::cast::Cast;
use crate::common::device::{Device, field};
use crate::common::edit::edit;
use crate::common::http::{join, make_space};
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::replica::{Rows, plain_rows};

/// Index of the table of markers in the schema of devices.
const MARKER: usize = 4;
const TABLES: [&str; 3] = ["Item", "Parent", "Child"];

/// A random change against these rows, among those that [`edit`] touches.
fn json_edit(rng: &mut Rng, rows: &Rows, who: &str) -> Value {
    let row = |rng: &mut Rng, table: usize| {
        let number = 1_000 * table as u64 + rng.below(6) as u64;
        crate::common::device::row_id(number).to_text()
    };
    let table = rng.below(3);
    let id = row(rng, table);
    let fields = match rng.below(3) {
        0 => json!({"name": format!("{who} {}", rng.below(1_000_000)), "note": null}),
        _ => json!({"name": format!("{who} {}", rng.below(1_000_000))}),
    };
    let held = rows.contains_key(&(TABLES[table].to_owned(), id.clone()));
    match rng.below(10) {
        0 | 1 if held => change("delete", TABLES[table], &id, json!({})),
        2 => {
            let (lhs, rhs) = (row(rng, 1), row(rng, 2));
            let link = RowId { key: RowKey::Uuid(rng.uuid()), spelling: Spelling::default() }.to_text();
            change("insert", "_Parent_Child_children", &link, json!({"lhs": lhs, "rhs": rhs}))
        }
        3 => match rows.keys().find(|(table, _)| table.starts_with('_')) {
            Some((table, link)) => change("delete", table, link, json!({})),
            None => change("insert", TABLES[table], &id, fields),
        },
        _ if held => change("update", TABLES[table], &id, fields),
        _ => change("insert", TABLES[table], &id, fields),
    }
}

#[test]
fn concurrent_edits_of_three_users_converge() {
    let mut cast = Cast::with_bob("editor");
    for history in 0..4 {
        join(&cast.server, &cast.space, &cast.ann, &cast.cat, "editor");
        converges(&cast, history);
        // Another space of the same people.
        cast.space = make_space(&cast.server, &cast.ann, "shared");
        join(&cast.server, &cast.space, &cast.ann, &cast.bob, "editor");
    }
}

fn converges(cast: &Cast, history: u64) {
    let (server, space) = (&cast.server, &*cast.space);
    let mut devices = [cast.device(&cast.ann, 10 * history + 1), cast.device(&cast.bob, 10 * history + 2)];
    let mut clients = [cast.json("bob", &cast.bob), cast.json("cat", &cast.cat)];
    let mut poller = Poller::new(&cast.cat, space);
    let mut rng = Rng::new(history);
    for round in 0..30 {
        for (device, who) in devices.iter_mut().zip(["ann", "bob"]) {
            edit(device, who);
            if device.socket.is_some() {
                device.upload().expect("a connection");
            }
        }
        for (client, who) in clients.iter_mut().zip(["bob's", "cat's"]) {
            let edits = (0..2).map(|_| json_edit(&mut rng, &client.space(space).rows, who)).collect();
            client.upload(space, edits);
        }
        if round % 3 == 0 {
            let edit = json_edit(&mut rng, &poller.replica.rows, "poll");
            poller.store(server, &[edit]);
            poller.catch_up(server);
        }
        // Now and then they hear of each other, or are away for a while.
        match rng.below(6) {
            0 => devices[0].disconnect(),
            1 => devices.iter_mut().filter(|device| device.socket.is_some()).for_each(Device::settle),
            2 => {
                clients[0].disconnect();
                clients[0].connect(server);
            }
            3 => clients[1].ping(),
            _ if devices[0].socket.is_none() => devices[0].connect(server),
            _ => {}
        }
    }
    if devices[0].socket.is_none() {
        devices[0].connect(server);
    }
    settle(cast, &mut devices, &mut clients);
    poller.catch_up(server);
    let wanted = plain_rows(&devices[0]);
    assert_eq!(plain_rows(&devices[1]), wanted, "the other native client");
    for client in &clients {
        assert_eq!(client.space(space).rows, wanted, "{}", client.name);
    }
    assert_eq!(poller.replica.rows, wanted, "the poller");
    // Fresh ones of each kind.
    let fresh = cast.json("fresh", &cast.ann);
    assert_eq!(fresh.space(space).rows, wanted, "a fresh JSON client");
    let mut fresh = Poller::new(&cast.bob, space);
    fresh.catch_up(server);
    assert_eq!(fresh.replica.rows, wanted, "a fresh poller");
    let mut fresh = cast.device(&cast.cat, 10 * history + 9);
    fresh.until_rows(&wanted, "fresh");
}

/// Everything that was written has arrived everywhere: each writes a row that all others wait for.
fn settle(cast: &Cast, devices: &mut [Device], clients: &mut [JsonClient]) {
    let mut markers = Vec::new();
    for device in devices.iter_mut() {
        let row = RowId { key: RowKey::Uuid(device.rng.uuid()), spelling: Spelling::default() };
        device.insert(MARKER, &row, vec![field("name", value::text("settled"))]);
        device.settle();
        markers.push(row);
    }
    for client in clients.iter_mut() {
        let row = RowId {
            key: RowKey::Uuid(Rng::new(markers.len() as u64 + 77).uuid()),
            spelling: Spelling::default(),
        };
        let marker = change("insert", "Marker", &row.to_text(), json!({"name": "settled"}));
        let upload = client.upload(&cast.space, vec![marker]);
        client.results(upload);
        markers.push(row);
    }
    for marker in &markers {
        devices.iter_mut().for_each(|device| device.until_row(MARKER, marker));
        clients.iter_mut().for_each(|client| client.until_row(&cast.space, "Marker", &marker.to_text()));
    }
}
