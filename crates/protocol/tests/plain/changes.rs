//! Changes as people write them, and the ids that are derived for them.

use lattice_protocol::{Incoming, Operation, plain::Upload};

use crate::common::{Author, accepted, bytes, change, changes, fields, refused, upload, with_fields};

/// The frame of the design, as it stands there.
const DESIGN: &str = r#"{"type":"upload","changes":[{"tableName":"Trip","operation":"insert","rowId":123,"globalRowId":"uuid-…",
     "changedFields":"{\"name\":\"Costa Rica\",\"days\":10}","timestamp":1234567890.123}]}"#;

#[test]
fn the_frame_of_the_design_works_as_it_stands() {
    let read = Author::ann().read(&upload(DESIGN));
    let [Incoming::Change(change)] = &*read else { panic!("{read:?}") };
    assert_eq!((&*change.table, change.operation), ("Trip", Operation::Insert));
    assert_eq!(change.row.to_text(), "uuid-…");
    assert_eq!(
        fields(change),
        [("name", r#"{"kind":2,"value":"Costa Rica"}"#), ("days", r#"{"kind":1,"value":10}"#)]
    );
    assert_eq!(change.timestamp_us, Some(1_234_567_890_123_000));
    assert!(!change.synthesized && !change.filter_removal);
    assert!(DESIGN.contains(str::from_utf8(&change.raw).unwrap()) && change.raw.starts_with(b"{\"tableName"));

    let delivered = r#"{"type":"upload","changes":[{"tableName":"Trip","operation":"update","globalRowId":"uuid-…",
     "changedFields":"{\"days\":12}","timestamp":1234567890.456}]}"#;
    let read = Author::ann().read(&upload(delivered));
    let [Incoming::Change(change)] = &*read else { panic!("{read:?}") };
    assert_eq!(fields(change), [("days", r#"{"kind":1,"value":12}"#)]);
}

#[test]
fn operations_and_forms() {
    for (text, operation) in [
        ("insert", Operation::Insert),
        ("INSERT", Operation::Insert),
        ("Update", Operation::Update),
        ("dElEtE", Operation::Delete),
        (r"delet\u0065", Operation::Delete),
    ] {
        let read = accepted(&change(&[("operation", &format!("\"{text}\""))]));
        assert_eq!(read.operation, operation);
        assert_eq!(read.fields.is_empty(), operation == Operation::Delete);
    }
    let expected = [("a", r#"{"kind":1,"value":1}"#)];
    for form in [r#"{"a":1}"#, r#""{\"a\":1}""#, r#"" { \"a\" : 1 } ""#] {
        assert_eq!(fields(&accepted(&with_fields(form))), expected);
    }
    for nothing in ["", "null", "{}", "\"{}\"", "\"\""] {
        assert!(accepted(&with_fields(nothing)).fields.is_empty(), "{nothing}");
    }
    let some =
        [("changedFields", r#"{"a":1,"b":[],"c":2}"#), ("changedFieldsNames", r#"["a","d",null,"a"]"#)];
    assert_eq!(fields(&accepted(&change(&some))), expected);
    let marked = [("operation", "\"delete\""), ("changedFieldsNames", r#"["__lattice_filter_removal"]"#)];
    assert!(accepted(&change(&marked)).filter_removal);
    assert!(accepted(&change(&[("synthesized", "true")])).synthesized);
}

#[test]
fn timestamps() {
    for (text, expected) in [
        ("1234567890.123456", Some(1_234_567_890_123_456)),
        ("\"1234567890.5\"", Some(1_234_567_890_500_000)),
        ("\"2026-08-13T14:37:51.123Z\"", Some(1_786_631_871_123_000)),
        ("1711800000123", None),
        ("\"soon\"", None),
        ("[]", None),
        ("null", None),
        ("", None),
    ] {
        assert_eq!(accepted(&change(&[("timestamp", text)])).timestamp_us, expected, "{text}");
    }
}

#[test]
fn links_keep_their_ends_when_deleted() {
    let ends = r#"{"lhs":"a","rhs":"b","x":1}"#;
    let link = [("tableName", "\"_A_B\""), ("operation", "\"delete\""), ("changedFields", ends)];
    assert_eq!(
        fields(&accepted(&change(&link))),
        [("lhs", r#"{"kind":2,"value":"a"}"#), ("rhs", r#"{"kind":2,"value":"b"}"#)]
    );
}

#[test]
fn a_given_id_is_kept_in_its_spelling() {
    let id = "06960229-c369-47dd-Ad19-3f07bf7488b3";
    for members in [
        vec![("id", format!("\"{id}\""))],
        vec![("globalId", format!("\"{id}\""))],
        vec![("id", "12".to_owned()), ("globalId", format!("\"{id}\""))],
        vec![("id", format!("\"{id}\"")), ("globalId", "null".to_owned())],
    ] {
        let members: Vec<_> = members.iter().map(|(key, value)| (*key, &**value)).collect();
        let read = accepted(&change(&members));
        assert_eq!(read.id.to_text(read.id_spelling), id);
    }
}

/// The id of the only change of an upload.
fn id(author: &mut Author, upload: &Upload) -> String {
    let read = author.read(upload);
    let [Incoming::Change(change)] = &*read else { panic!("{read:?}") };
    change.id.to_string()
}

fn upload_of(id: &str, change: &str) -> Upload {
    upload(&format!(r#"{{"type":"upload",{id}"changes":[{change}]}}"#))
}

#[test]
fn with_a_timestamp_the_content_makes_the_id() {
    let first = id(&mut Author::ann(), &upload_of("", &change(&[])));
    // Worked out from the words of PROTOCOL.md by another program: ids must never change.
    assert_eq!(first, "d5d6c7ff-19ce-567f-9007-872341abd08f");
    for same in [
        change(&[("changedFields", r#"{"days":10,"name":"Costa Rica"}"#)]),
        change(&[
            ("changedFields", r#"{"days":{"kind":1,"value":10},"name":"Costa Rica","x":1}"#),
            ("changedFieldsNames", r#"["name","days"]"#),
        ]),
        change(&[("operation", "\"INSERT\""), ("timestamp", "\"1234567890.1230000\""), ("rowId", "1")]),
    ] {
        assert_eq!(id(&mut Author::ann(), &upload_of("", &same)), first, "{same}");
        assert_eq!(id(&mut Author::ann(), &upload_of(r#""id":2,"#, &same)), first);
    }
    for (what, other) in [
        ("timestamp", change(&[("timestamp", "1234567890.124")])),
        ("table", change(&[("tableName", "\"Trips\"")])),
        ("row", change(&[("globalRowId", "\"row2\"")])),
        ("operation", change(&[("operation", "\"update\"")])),
        ("synthesized", change(&[("synthesized", "true")])),
        ("value", with_fields(r#"{"name":"Costa Rica","days":11}"#)),
        ("kind", with_fields(r#"{"name":"Costa Rica","days":{"kind":0,"value":10}}"#)),
        ("name", with_fields(r#"{"name":"Costa Rica","day":10}"#)),
        ("number of fields", with_fields(r#"{"name":"Costa Rica"}"#)),
    ] {
        assert_ne!(id(&mut Author::ann(), &upload_of("", &other)), first, "{what}");
    }
    for other in [
        Author { key: [2; 16], ..Author::ann() },
        Author { user: [8; 16], ..Author::ann() },
        Author { space: [8; 16], ..Author::ann() },
        Author { client_id: Some("laptop"), ..Author::ann() },
    ] {
        assert_ne!(id(&mut { other }, &upload_of("", &change(&[]))), first);
    }
    let row =
        |case: &str| change(&[("globalRowId", &format!("\"{case}6960229-c369-47dd-ad19-3f07bf7488b3\""))]);
    let [lower, upper] = ["a", "A"].map(|case| id(&mut Author::ann(), &upload_of("", &row(case))));
    assert_eq!(lower, upper);
}

#[test]
fn without_a_timestamp_the_upload_makes_the_id() {
    let set =
        |value: &str| change(&[("timestamp", ""), ("changedFields", &format!(r#"{{"done":{value}}}"#))]);
    let ann = |upload_id: &str, value: &str| {
        id(&mut Author::ann(), &upload_of(&format!("\"id\":{upload_id},"), &set(value)))
    };
    let known = id(&mut Author::ann(), &upload_of("\"id\":1,", &change(&[("timestamp", "")])));
    assert_eq!(known, "e312353e-e629-503f-a7d6-00185d3ea1bf");
    // True, false, true are three changes; the first one sent again is no fourth.
    let (first, second, third) = (ann("1", "true"), ann("2", "false"), ann("3", "true"));
    assert!(first != second && second != third && first != third);
    assert_eq!(first, ann("1", "true"));
    assert_ne!(ann("\"1\"", "true"), first);
    // A client that starts to count anew must not lose what it says then.
    assert_ne!(ann("1", "false"), first);

    let twice = upload(&format!(r#"{{"type":"upload","id":1,"changes":[{0},{0}]}}"#, set("true")));
    let read = Author::ann().read(&twice);
    let ids: Vec<_> = read
        .iter()
        .map(|incoming| match incoming {
            Incoming::Change(change) => change.id.to_string(),
            Incoming::Refused(refused) => panic!("{refused:?}"),
        })
        .collect();
    assert!(ids[0] == first && ids[1] != first);
}

#[test]
fn where_nothing_is_repeated_the_id_is_random() {
    let timeless = change(&[("timestamp", "")]);
    for (mut author, upload) in [
        (Author::nobody(), upload_of("", &change(&[]))),
        (Author::nobody(), upload_of("\"id\":1,", &timeless)),
        (Author::ann(), upload_of("", &timeless)),
    ] {
        assert_eq!(id(&mut author, &upload), "00000000-0000-4000-8000-000000000001");
        assert_eq!(id(&mut author, &upload), "00000000-0000-4000-8000-000000000002");
    }
    let mut author = Author::ann();
    id(&mut author, &upload_of("", &change(&[])));
    assert_eq!(author.drawn, 0, "nothing is drawn that is not needed");
}

#[test]
fn derived_ids_are_of_a_version_of_their_own() {
    for number in 0..200 {
        let read = accepted(&with_fields(&format!(r#"{{"a":{number}}}"#)));
        assert_eq!((read.id.0[6] >> 4, read.id.0[8] >> 6), (5, 2));
    }
}

#[test]
fn every_refused_change_can_be_answered() {
    let v8 = "06960229-c369-87dd-ad19-3f07bf7488b3";
    let minted = refused(&change(&[("id", &format!("\"{v8}\""))]));
    assert_eq!((minted.ack.as_deref(), minted.id), (Some(v8), None));
    assert!(minted.detail.contains("version 8"));
    assert_eq!(refused(&change(&[("id", "\"a1\"")])).ack.as_deref(), Some("a1"));
    let given = refused(&change(&[("id", "\"06960229-c369-47dd-Ad19-3f07bf7488b3\""), ("operation", "1")]));
    assert_eq!(given.ack.as_deref(), Some("06960229-c369-47dd-Ad19-3f07bf7488b3"));
    for nameless in ["1".to_owned(), "{}".to_owned(), change(&[("operation", "1")]), change(&[("id", "7")])] {
        let [first, again] = [refused(&nameless), refused(&nameless)];
        let (id, spelling) = first.id.unwrap();
        assert_eq!(first.ack.as_deref(), Some(&*id.to_text(spelling)));
        assert_eq!(id.0[6] >> 4, 5);
        assert_eq!(first, again);
    }
    assert_ne!(refused("1").id, refused("2").id);
}

#[test]
fn changes_share_the_memory_of_their_frame() {
    let frame = bytes(&format!(
        r#"{{"type":"upload","changes":[{}]}}"#,
        with_fields(r#"{"a":{"kind":2,"value":"long"}}"#)
    ));
    let Ok(lattice_protocol::plain::ClientFrame::Upload(upload)) = lattice_protocol::plain::decode(&frame, 1)
    else {
        panic!()
    };
    let read = Author::ann().read(&upload);
    let [Incoming::Change(change)] = &*read else { panic!("{read:?}") };
    for part in [change.fields[0].value.as_ptr(), change.raw.as_ptr(), change.table.as_ptr()] {
        assert!(frame.as_ptr_range().contains(&part));
    }
}

#[test]
fn one_bad_change_keeps_no_other_from_passing() {
    let good = change(&[]);
    let read = changes(&[&good, "1", &good, &with_fields(r#"{"a":[]}"#), &good]);
    let passed: Vec<_> = read.iter().map(|incoming| matches!(incoming, Incoming::Change(_))).collect();
    assert_eq!(passed, [true, false, true, false, true]);
}
