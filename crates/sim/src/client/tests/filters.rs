//! Clients that upload by a filter.

use super::*;

fn client(generation: Generation) -> NativeClient {
    let filter = UploadFilter {
        tables: vec![(
            ByteString::from_static("Item"),
            Some((ByteString::from_static("a"), vec![Some(value::integer(1))])),
        )],
    };
    NativeClient::of(generation, schema(), 10).with_filter(filter)
}

/// What is uploaded next, as JSON, labelled with these numbers.
fn upload(client: &mut NativeClient, number: u8) -> Vec<serde_json::Value> {
    client.enumerate(|timed| {
        let timestamp = if timed { "1711800000.123000".to_owned() } else { String::new() };
        Label { timestamp, ..label(number) }
    });
    let Some(frame) = client.next_upload() else { return Vec::new() };
    let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
    frame["auditLog"].as_array().unwrap().clone()
}

fn item(number: u8, row: &str, a: i64) -> Outgoing {
    entry(number, "Item", Operation::Insert, row, &[("a", a), ("b", 5)])
}

#[test]
fn only_rows_that_match_are_uploaded_and_everything_is_received() {
    let mut client = client(Generation::Current);
    client.insert(label(1), 0, row("in"), fields(&[("a", 1)]));
    client.insert(label(2), 0, row("out"), fields(&[("a", 2)]));
    client.update(label(3), 0, &row("in").key, fields(&[("b", 3)]));
    let sent = upload(&mut client, 90);
    let ids: Vec<_> = sent.iter().map(|entry| entry["globalId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [id(1).to_string(), id(3).to_string()]);
    assert!(client.is_private(&(0, row("out").key)) && !client.is_private(&(0, row("in").key)));
    deliver(&mut client, &[item(4, "received", 7)]);
    assert!(values(&client, 0, "received").is_some());
}

#[test]
fn a_row_that_leaves_the_filter_is_uploaded_as_a_deletion_that_names_nothing() {
    let mut client = client(Generation::Current);
    client.insert(label(1), 0, row("r"), fields(&[("a", 1)]));
    upload(&mut client, 90);
    client.update(label(2), 0, &row("r").key, fields(&[("a", 2)]));
    let sent = upload(&mut client, 91);
    let [left] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(left["operation"], "DELETE");
    assert_eq!(left["globalId"], id(91).to_string(), "a fresh id");
    assert_eq!((&left["id"], &left["rowId"], &left["timestamp"]), (&0.into(), &0.into(), &"".into()));
    assert_eq!(left["changedFieldsNames"], serde_json::json!([]));
    assert!(values(&client, 0, "r").is_some(), "it is here all the same");
}

#[test]
fn the_first_edit_of_a_received_row_is_uploaded_as_the_whole_row() {
    for (generation, is_marked) in
        [(Generation::First, false), (Generation::Early, true), (Generation::Current, true)]
    {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r", 1)]);
        client.update(label(2), 0, &row("r").key, fields(&[("b", 6)]));
        let sent = upload(&mut client, 90);
        let [whole] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((&whole["operation"], &whole["id"]), (&"INSERT".into(), &0.into()));
        assert_eq!(whole["timestamp"], "1711800000.123000");
        assert_eq!(whole["changedFieldsNames"], serde_json::json!(["a", "b"]));
        assert_eq!(whole.get("synthesized").is_some(), is_marked, "{generation:?}");
        client.update(label(3), 0, &row("r").key, fields(&[("b", 7)]));
        assert_eq!(upload(&mut client, 91)[0]["operation"], "UPDATE", "from then on as it is");
    }
}

#[test]
fn deleting_a_received_row_uploads_nothing() {
    let mut client = client(Generation::Current);
    deliver(&mut client, &[item(1, "r", 1)]);
    client.delete(label(2), 0, &row("r").key);
    assert_eq!(upload(&mut client, 90), Vec::<serde_json::Value>::new());
    assert!(client.is_private(&(0, row("r").key)));
}

#[test]
fn at_each_connection_received_rows_are_uploaded_whole_without_a_time() {
    let mut client = client(Generation::Current);
    deliver(&mut client, &[item(1, "r", 1), item(2, "s", 9)]);
    client.reconcile(|| label(80));
    let sent = upload(&mut client, 90);
    let [whole] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&whole["globalRowId"], &whole["id"]), (&"r".into(), &1.into()));
    assert_eq!((&whole["timestamp"], &whole["synthesized"]), (&"".into(), &true.into()));
    client.reconcile(|| label(81));
    assert_eq!(upload(&mut client, 91).len(), 1, "the same again: it is in the log and not acknowledged");
}

#[test]
fn what_stands_for_a_way_into_the_filter_is_lost_with_its_connection() {
    let mut client = client(Generation::Current);
    deliver(&mut client, &[item(1, "r", 1)]);
    client.update(label(2), 0, &row("r").key, fields(&[("b", 6)]));
    assert_eq!(upload(&mut client, 90).len(), 1);
    client.reconcile(|| label(80));
    assert_eq!(upload(&mut client, 91), Vec::<serde_json::Value>::new());
    assert!(client.is_private(&(0, row("r").key)));
}

#[test]
fn a_row_that_left_unseen_is_deleted_by_the_oldest_clients_and_dropped_by_the_others() {
    for (generation, sent) in [(Generation::Old, 1), (Generation::Current, 0)] {
        let mut client = client(generation);
        client.insert(label(1), 0, row("r"), fields(&[("a", 1)]));
        upload(&mut client, 90);
        let ack = encode_ack([AckId::Uuid(id(1), Spelling::default())].into_iter());
        client.receive(&ack).unwrap();
        deliver(&mut client, &[entry(2, "Item", Operation::Update, "r", &[("a", 4)])]);
        client.reconcile(|| label(80));
        let uploaded = upload(&mut client, 91);
        assert_eq!(uploaded.len(), sent, "{generation:?}: {uploaded:?}");
        assert!(uploaded.iter().all(|entry| entry["operation"] == "DELETE" && entry["id"] == 1));
    }
}
