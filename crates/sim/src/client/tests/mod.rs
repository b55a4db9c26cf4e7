//! Facts of the released clients, each as what a client of a generation does with a frame.

mod constraints;
mod filters;
mod generations;

use lattice_protocol::Spelling;
use lattice_protocol::native::AckId;

use super::*;
use lattice_protocol::native::{AuditLogFrame, ClientFrame, decode};
use lattice_protocol::{Incoming, value};

/// How many ids an ack holds.
fn acked_count(frame: &Bytes) -> usize {
    match decode(frame, 10) {
        Ok(ClientFrame::Ack { ids }) => ids.len(),
        other => panic!("{other:?}"),
    }
}

fn schema() -> Arc<Schema> {
    Arc::new(vec![Table::new("Item", &["a", "b"]), Table::new("_links", &["lhs", "rhs"])])
}

fn id(number: u8) -> EntryId {
    EntryId([number; 16])
}

fn label(number: u8) -> Label {
    Label { id: id(number), spelling: Spelling::default(), timestamp: String::new() }
}

fn row(text: &str) -> RowId {
    RowId { key: RowKey::Text(text.into()), spelling: Spelling::default() }
}

fn fields(pairs: &[(&'static str, i64)]) -> Vec<Field> {
    let field = |(name, number): &(&'static str, i64)| Field {
        name: ByteString::from_static(name),
        value: value::integer(*number),
    };
    pairs.iter().map(field).collect()
}

fn entry(
    number: u8,
    table: &'static str,
    operation: Operation,
    row_id: &str,
    values: &[(&'static str, i64)],
) -> Outgoing {
    Outgoing {
        id: id(number),
        id_spelling: Spelling::default(),
        table: ByteString::from_static(table),
        operation,
        row: row(row_id),
        fields: fields(values),
        time_us: 1,
        taken_back: false,
    }
}

fn frame(entries: &[Outgoing]) -> Bytes {
    let mut frame = AuditLogFrame::new();
    entries.iter().for_each(|entry| frame.push(entry));
    frame.finish()
}

/// Takes entries as one delivery, also such as no frame of this server can hold; returns the ids that are acknowledged.
fn deliver(client: &mut NativeClient, entries: &[Outgoing]) -> Vec<AckId> {
    client.take_delivery(entries, usize::MAX)
}

fn acked(received: &Received) -> Vec<AckId> {
    let Some(reply) = received.replies.first() else { return Vec::new() };
    let Ok(ServerFrame::Ack(ids)) = decode_server(reply) else { panic!("an ack") };
    ids
}

fn acks(numbers: &[u8]) -> Vec<AckId> {
    numbers.iter().map(|number| AckId::Uuid(id(*number), Spelling::default())).collect()
}

fn values(client: &NativeClient, table: usize, key: &str) -> Option<Vec<Option<Bytes>>> {
    client.rows().get(&(table, RowKey::Text(key.into()))).map(|row| row.values.clone())
}

#[test]
fn whatever_arrives_later_wins_and_known_ids_are_skipped() {
    let mut client = NativeClient::new(schema(), 10);
    assert!(client.insert(label(1), 0, row("r"), fields(&[("a", 1)])));
    let insert = entry(2, "Item", Operation::Insert, "r", &[("b", 2), ("unknown", 3)]);
    let known = entry(1, "Item", Operation::Delete, "r", &[]);
    let received = client.receive(&frame(&[insert, known])).unwrap();
    assert_eq!(values(&client, 0, "r"), Some(vec![Some(value::integer(1)), Some(value::integer(2))]));
    assert_eq!(acked_count(&received.replies[0]), 2, "both are acked");
    assert_eq!(client.connect(), Some(id(1).to_string()), "a known entry moves the checkpoint too");
    let nothing = entry(3, "Item", Operation::Update, "missing", &[("a", 1)]);
    client.receive(&frame(&[nothing])).unwrap();
    assert_eq!(values(&client, 0, "missing"), None);
}

#[test]
fn a_second_link_of_a_pair_stops_the_checkpoint_of_its_frame_only() {
    let mut client = NativeClient::new(schema(), 10);
    let link = |number, row| entry(number, "_links", Operation::Insert, row, &[("lhs", 1), ("rhs", 2)]);
    let item = |number| entry(number, "Item", Operation::Insert, "r", &[("a", 1)]);
    let received = client.receive(&frame(&[link(1, "x"), link(2, "y"), item(3)])).unwrap();
    assert_eq!(acked_count(&received.replies[0]), 2);
    assert_eq!(client.connect(), Some(id(1).to_string()));
    assert_eq!((values(&client, 1, "y"), client.failures()), (None, 1));
    client.receive(&frame(&[item(4)])).unwrap();
    assert_eq!(client.connect(), Some(id(4).to_string()));
    client.lose_checkpoint();
    assert_eq!(client.connect(), Some(id(1).to_string()));
}

#[test]
fn uploads_name_what_changed_and_keep_two_windows_in_flight() {
    let mut client = NativeClient::new(schema(), 1);
    client.insert(label(1), 0, row("r"), fields(&[("a", 1), ("b", 1)]));
    client.update(label(0xAA), 0, &row("r").key, fields(&[("b", 2)]));
    client.delete(label(3), 0, &row("r").key);
    let first = client.next_upload().unwrap();
    let second = client.next_upload().unwrap();
    assert_eq!(client.next_upload(), None, "two windows are in flight");
    assert!(std::str::from_utf8(&second).unwrap().contains(r#""a":{"kind":4,"value":null}"#));
    let Ok(ClientFrame::Changes(changes)) = decode(&second, 10) else { panic!("changes") };
    let [Incoming::Change(change)] = &changes[..] else { panic!("one change") };
    assert_eq!(change.fields, fields(&[("b", 2)]));
    let ack = encode_ack([AckId::Uuid(id(1), Spelling::default())].into_iter());
    assert_eq!(client.receive(&ack).unwrap().acked, [id(1)]);
    assert!(client.next_upload().is_some());
    let _ = client.connect();
    assert_eq!(client.next_upload(), Some(second), "what was not acked is sent again");
    assert_ne!(first, client.next_upload().unwrap());
    let misspelled = encode_ack([AckId::Uuid(id(0xAA), Spelling(1))].into_iter());
    assert_eq!(client.receive(&misspelled).unwrap().acked, []);
}

#[test]
fn compaction_uploads_the_whole_state_as_snapshots() {
    let mut client = NativeClient::new(schema(), 10);
    client.insert(label(1), 0, row("r"), fields(&[("a", 1)]));
    client.receive(&frame(&[entry(2, "Item", Operation::Insert, "s", &[("a", 2)])])).unwrap();
    let mut next = 10;
    client.compact(true, || {
        next += 1;
        label(next)
    });
    assert_eq!((client.connect(), client.pending().len()), (None, 2));
    let Ok(ClientFrame::Changes(changes)) = decode(&client.next_upload().unwrap(), 10) else {
        panic!("changes")
    };
    let full = |change: &Incoming| matches!(change, Incoming::Change(change) if change.synthesized && change.fields.len() == 2);
    assert!(changes.iter().all(full));
}
