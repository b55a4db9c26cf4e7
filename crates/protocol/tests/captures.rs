//! The frames of real clients, as they were captured, read with exact expectations.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use bytes::Bytes;
use lattice_protocol::{
    Change, EntryId, Incoming,
    limits::MAX_CHANGES_PER_FRAME,
    native::{self, AckId, ClientFrame, ServerFrame},
};

macro_rules! capture {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("fixtures/", $name, ".json")).trim_ascii())
    };
}

fn changes(frame: &Bytes) -> Vec<Change> {
    let Ok(ClientFrame::Changes(read)) = native::decode(frame, MAX_CHANGES_PER_FRAME) else {
        panic!("not a frame of changes");
    };
    let change = |incoming| match incoming {
        Incoming::Change(change) => change,
        Incoming::Refused(refused) => panic!("{refused:?}"),
    };
    read.into_iter().map(change).collect()
}

/// A change in one line: everything of it that the server acts on.
fn describe(change: &Change) -> String {
    let mut line = format!(
        "{:?} {} {:?} as {}",
        change.operation,
        change.table,
        change.row,
        change.id.to_text(change.id_spelling)
    );
    for field in &change.fields {
        line += &format!(" {}={}", field.name, str::from_utf8(&field.value).unwrap());
    }
    for (set, word) in [
        (change.synthesized, " synthesized"),
        (change.filter_removal, " filter-removal"),
        (change.timestamp_us.is_some(), " timed"),
    ] {
        if set {
            line += word;
        }
    }
    line
}

#[track_caller]
fn expect(frame: &Bytes, expected: &[&str]) {
    let changes = changes(frame);
    assert_eq!(changes.iter().map(describe).collect::<Vec<_>>(), expected);
    let inside = frame.as_ptr_range();
    for change in &changes {
        assert!(change.raw.starts_with(b"{") && change.raw.ends_with(b"}"));
        // What is kept shares the frame's memory.
        let parts = change.fields.iter().flat_map(|field| [field.name.as_bytes(), &field.value]);
        for part in parts.chain([&change.raw, change.table.as_bytes()]) {
            assert!(inside.contains(&part.as_ptr()));
        }
    }
}

#[test]
fn insert() {
    expect(
        &capture!("insert"),
        &[concat!(
            r#"Insert Item debf7d65-fb6a-4f74-b9c6-998dbaea214b as f9ff9d07-8efe-4e15-8865-62d590d921e9"#,
            r#" data={"kind":2,"value":"00FF10"} note={"kind":2,"value":"line\n2"} score={"kind":7,"value":1.5}"#,
            r#" count={"kind":1,"value":42} name={"kind":2,"value":"Ada 😀 é \"q\" \\"}"#
        )],
    );
}

#[test]
fn int64_and_nulls_are_exact() {
    expect(
        &capture!("insert_of_nulls"),
        &[concat!(
            r#"Insert Item 2a2dea1c-2da0-4802-90b5-a1bf28c6e1bf as 8de5c4b0-d3c7-4471-A2df-225a11a83959"#,
            r#" data={"kind":2,"value":""} note={"kind":4,"value":null} score={"kind":4,"value":null}"#,
            r#" count={"kind":1,"value":-9223372036854775808} name={"kind":2,"value":"nulls"}"#
        )],
    );
    expect(
        &capture!("insert_of_reals"),
        &[concat!(
            r#"Insert Item de7dcc85-00d8-40f2-ad70-9d61e9294d51 as db3736d8-9a12-4c33-B240-42f3816badd3"#,
            r#" data={"kind":2,"value":""} note={"kind":2,"value":""} score={"kind":7,"value":3.0}"#,
            r#" count={"kind":1,"value":9007199254740993} name={"kind":2,"value":"reals"}"#
        )],
    );
}

#[test]
fn two_inserts() {
    expect(
        &capture!("two_inserts"),
        &[
            concat!(
                r#"Insert Item 6a2f4f08-f2e6-44a2-883a-0c36de4fccde as 8d1dfe00-8d80-46e9-95fd-9418c696d739"#,
                r#" data={"kind":2,"value":""} note={"kind":2,"value":""} score={"kind":7,"value":0.3}"#,
                r#" count={"kind":1,"value":0} name={"kind":2,"value":"reals"}"#
            ),
            concat!(
                r#"Insert Item ac3d363a-5bdb-4a6f-8490-9cb332c61100 as 2a168525-4862-4bbd-B08c-86afcb734a20"#,
                r#" data={"kind":2,"value":""} note={"kind":2,"value":""} score={"kind":7,"value":1e+300}"#,
                r#" count={"kind":1,"value":0} name={"kind":2,"value":"reals"}"#
            ),
        ],
    );
}

#[test]
fn the_names_alone_decide_what_an_update_sets() {
    let row = "Update Item debf7d65-fb6a-4f74-b9c6-998dbaea214b as";
    for (frame, expected) in [
        (
            capture!("update_of_one_field"),
            r#"64187c0f-e8e0-4b3b-Afca-ea1137740730 name={"kind":2,"value":"Grace"}"#,
        ),
        (
            capture!("update_text_to_null"),
            r#"e6df2c82-98c3-4859-8cf3-48d33922faf4 note={"kind":4,"value":null}"#,
        ),
        (
            capture!("update_blob_to_null"),
            r#"91054f3a-bc8d-4a01-Aba5-d7308455b1f0 data={"kind":2,"value":""}"#,
        ),
        (
            capture!("update_blob_to_bytes"),
            r#"af6ca6c6-6eb2-411c-A7be-149603d88181 data={"kind":2,"value":"0102"}"#,
        ),
    ] {
        expect(&frame, &[&format!("{row} {expected}")]);
    }
    expect(
        &capture!("two_fields_in_one_transaction"),
        &[
            &format!(r#"{row} 0d03e336-1a78-4d17-9319-624ea77d35ee name={{"kind":2,"value":"two"}}"#),
            &format!(r#"{row} 28479c6a-bacc-4cc1-85df-d1db23cf25ca count={{"kind":1,"value":2}}"#),
        ],
    );
}

#[test]
fn link_rows_name_their_ends() {
    let ends = concat!(
        r#"lhs={"kind":2,"value":"c826f997-76af-4625-80d1-fe91c95e0878"}"#,
        r#" rhs={"kind":2,"value":"68c6df3b-f1e0-47b0-8678-abeef7d845d9"}"#
    );
    let row = "_Parent_Child_children 0e87cd17-7a1f-4aa3-Ad56-905de90042c3 as";
    expect(&capture!("link_insert"), &[&format!("Insert {row} 648f7caf-7c88-46ae-Ba11-af7ab0009030 {ends}")]);
    let deleted = changes(&capture!("link_delete"));
    assert_eq!(
        deleted.iter().map(describe).collect::<Vec<_>>(),
        [format!("Delete {row} d83ddcd0-e47f-49c1-A746-b96da6bb0129 {ends}")]
    );
    let deleted = changes(&capture!("delete_of_a_linked_child"));
    assert_eq!(
        deleted.iter().map(describe).collect::<Vec<_>>(),
        [
            "Delete Child 68c6df3b-f1e0-47b0-8678-abeef7d845d9 as ac42dd8f-1b67-4a7e-89eb-b0611546cc7a"
                .to_owned(),
            format!(
                "Delete _Parent_Child_children 3664fa24-481a-45cd-B5c3-4e75fc6fa7d5 as \
                 19e593e4-0d91-4e2d-B405-99ab7db22a70 {ends}"
            ),
        ]
    );
}

#[test]
fn delete_and_synthesized() {
    expect(
        &capture!("delete"),
        &["Delete Item debf7d65-fb6a-4f74-b9c6-998dbaea214b as a7fbaf01-87e4-47ae-9ded-dd96deb8c431"],
    );
    let entry = capture!("synthesized_entry");
    let frame = Bytes::from([&br#"{"auditLog":["#[..], &entry, br#"],"kind":"auditLog"}"#].concat());
    expect(
        &frame,
        &[concat!(
            r#"Insert Item d7ff9577-3c4c-40ac-b126-94c0dd430847 as 0c5e6e0c-2072-4a9b-Bb59-8c205c51640a"#,
            r#" data={"kind":2,"value":"01FF"} note={"kind":4,"value":null} score={"kind":7,"value":1.5}"#,
            r#" count={"kind":1,"value":1} name={"kind":2,"value":"i"} synthesized"#
        )],
    );
    assert_eq!(changes(&frame)[0].raw, entry);
}

#[test]
fn offline_and_upper_case() {
    let rest = concat!(
        r#" data={"kind":2,"value":"78"} note={"kind":4,"value":null} score={"kind":7,"value":0.0}"#,
        r#" count={"kind":1,"value":1} name="#
    );
    for (frame, expected) in [
        (
            capture!("insert_with_an_upper_case_row_id"),
            vec![("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee as adbeeb83-b103-4673-B97d-ec05fd927800", "upper")],
        ),
        (
            capture!("offline_catch_up_page"),
            vec![("3ffaf7de-c477-4e84-950c-76a063bc40fb as 2d8377a4-f4bf-4981-9088-1c7196dfd4a1", "missed")],
        ),
        (
            capture!("offline_upload"),
            vec![
                ("c5b7ae20-c5c8-4d75-a2f0-332f70d3e34f as 3b942418-56f0-40e6-A5fa-107ef01708f4", "offline 1"),
                ("a9335d53-67ac-42ff-a4e7-7bc22ce974b2 as 268676fd-a299-4453-Bc4e-97f9695c749e", "offline 2"),
            ],
        ),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(ids, name)| format!(r#"Insert Item {ids}{rest}{{"kind":2,"value":"{name}"}}"#))
            .collect();
        expect(&frame, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn acks() {
    for (frame, ids) in [
        (capture!("ack_of_the_relay"), vec!["f9ff9d07-8efe-4e15-8865-62d590d921e9"]),
        (capture!("ack_of_a_receiver"), vec!["f9ff9d07-8efe-4e15-8865-62d590d921e9"]),
        (capture!("offline_ack"), vec!["2d8377a4-f4bf-4981-9088-1c7196dfd4a1"]),
        (capture!("ack_of_nothing"), vec![]),
    ] {
        let uuids = ids.iter().map(|id| EntryId::parse(id).expect("an id").0).collect();
        assert_eq!(native::decode(&frame, 1), Ok(ClientFrame::Ack { ids: uuids }));
        let ids: Vec<_> = ids.into_iter().map(|id| AckId::parse(id.into())).collect();
        assert_eq!(native::decode_server(&frame), Ok(ServerFrame::Ack(ids.clone())));
        // The server's own acks are the same bytes.
        assert_eq!(native::encode_ack(ids.into_iter()), frame);
    }
}

#[test]
fn acks_echo_the_case_of_every_id() {
    let captures = [
        capture!("insert_of_nulls"),
        capture!("insert_with_an_upper_case_row_id"),
        capture!("offline_upload"),
        capture!("link_insert"),
    ];
    for frame in captures {
        for change in changes(&frame) {
            let ack = native::encode_ack([AckId::Uuid(change.id, change.id_spelling)].into_iter());
            let ack = String::from_utf8(ack.to_vec()).unwrap();
            let id = ack.strip_prefix(r#"{"ack":[""#).unwrap().strip_suffix(r#""],"kind":"ack"}"#).unwrap();
            let entry = str::from_utf8(&change.raw).unwrap();
            assert!(entry.contains(&format!(r#""globalId":"{id}""#)), "{id} is not as it was received");
        }
    }
}

#[test]
fn a_megabyte_of_text_is_not_copied() {
    let entry = String::from_utf8(capture!("update_of_one_field").to_vec()).unwrap();
    for text in ["x".repeat(1 << 20), "é😀\\\"\\u00e9".repeat(1 << 16)] {
        let frame = Bytes::from(entry.replace("Grace", &text));
        expect(
            &frame,
            &[&format!(
                "Update Item debf7d65-fb6a-4f74-b9c6-998dbaea214b as 64187c0f-e8e0-4b3b-Afca-ea1137740730 \
                 name={{\"kind\":2,\"value\":\"{text}\"}}"
            )],
        );
    }
}
