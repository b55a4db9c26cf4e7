//! Entries that are not well formed: each is refused with its own code, and none keeps its neighbours from passing.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod common;

use bytes::Bytes;
use common::{ID, ROW, accepted, decode, entries, entry, refused, with_fields};
use lattice_protocol::{
    Code, EntryId, Incoming, RowId,
    limits::{MAX_ACK_ID_BYTES, MAX_NAME_BYTES, MAX_ROW_ID_BYTES},
    native::{self, ClientFrame},
};

#[test]
fn each_has_its_code() {
    let long_name = format!("\"{}\"", "x".repeat(MAX_NAME_BYTES + 1));
    let long_row = format!("\"{}\"", "x".repeat(MAX_ROW_ID_BYTES + 1));
    let long_id = format!("\"{}\"", "x".repeat(MAX_ACK_ID_BYTES + 1));
    let id = |value| entry(&[("globalId", value)]);
    let table = |value| entry(&[("tableName", value)]);
    let row = |value| entry(&[("globalRowId", value)]);
    let operation = |value| entry(&[("operation", value)]);
    let column = |name: &str| with_fields(&format!("{{{name}:1}}"));
    let listed = |names: &str| entry(&[("changedFieldsNames", names)]);
    let value = |value: &str| with_fields(&format!(r#"{{"a":{value}}}"#));

    use Code::*;
    let cases = [
        (BadEntry, "null".to_owned()),
        (BadEntry, "1".to_owned()),
        (BadEntry, "1e400".to_owned()),
        (BadEntry, "\"entry\"".to_owned()),
        (BadEntry, r#""\ud800""#.to_owned()),
        (BadEntry, "true".to_owned()),
        (BadEntry, "[]".to_owned()),
        (BadEntry, format!("[{}]", entry(&[]))),
        (BadEntryId, "{}".to_owned()),
        (BadEntryId, id("")),
        (BadEntryId, id("null")),
        (BadEntryId, id("7")),
        (BadEntryId, id("[]")),
        (BadEntryId, id("{}")),
        (BadEntryId, id("\"\"")),
        (BadEntryId, id("\"a1b2\"")),
        (BadEntryId, id(r#""\ud800""#)),
        (BadEntryId, id(&long_id)),
        (BadEntryId, id("\"06960229c36947ddAd193f07bf7488b3\"")),
        (BadEntryId, id("\"06960229-c369-47dd-Ad19-3f07bf7488bg\"")),
        (BadEntryId, id("\" 06960229-c369-47dd-Ad19-3f07bf7488b3\"")),
        (BadTableName, table("")),
        (BadTableName, table("null")),
        (BadTableName, table("3")),
        (BadTableName, table("[\"Person\"]")),
        (BadTableName, table("\"\"")),
        (BadTableName, table("\"1a\"")),
        (BadTableName, table("\"a b\"")),
        (BadTableName, table("\"a;DROP TABLE b\"")),
        (BadTableName, table(r#""Person\"""#)),
        (BadTableName, table(r#""Person\u0000""#)),
        (BadTableName, table(r#""Person\n""#)),
        (BadTableName, table("\"Persön\"")),
        (BadTableName, table("\"main.Person\"")),
        (BadTableName, table("\"AuditLog\"")),
        (BadTableName, table("\"auditLOG\"")),
        (BadTableName, table(r#""Audit\u004cog""#)),
        (BadTableName, table("\"_lattice_slots\"")),
        (BadTableName, table("\"_LATTICE\"")),
        (BadTableName, table("\"sqlite_master\"")),
        (BadTableName, table("\"SQLite_Sequence\"")),
        (BadTableName, table(&long_name)),
        (BadRowId, row("")),
        (BadRowId, row("null")),
        (BadRowId, row("1")),
        (BadRowId, row("\"\"")),
        (BadRowId, row("{}")),
        (BadRowId, row(r#""\udc00""#)),
        (BadRowId, row(&long_row)),
        (BadOperation, operation("")),
        (BadOperation, operation("null")),
        (BadOperation, operation("1")),
        (BadOperation, operation("\"\"")),
        (BadOperation, operation("\"insert\"")),
        (BadOperation, operation("\"INSERT \"")),
        (BadOperation, operation("\"REPLACE\"")),
        (BadEntry, entry(&[("changedFields", "[]")])),
        (BadEntry, entry(&[("changedFields", "1")])),
        (BadEntry, entry(&[("changedFields", "true")])),
        (BadEntry, entry(&[("changedFields", "\"[]\"")])),
        (BadEntry, entry(&[("changedFields", "\"{\"")])),
        (BadEntry, entry(&[("changedFields", r#""{\"a\":}""#)])),
        (BadEntry, entry(&[("changedFields", r#""{\"a\":1}x""#)])),
        (BadEntry, entry(&[("changedFields", r#""\ud800""#)])),
        (BadEntry, entry(&[("changedFields", "\" \"")])),
        (BadEntry, listed("{}")),
        (BadEntry, listed("1")),
        (BadEntry, listed("\"age\"")),
        (BadEntry, listed("\"{}\"")),
        (BadEntry, listed(r#""[\"age\"""#)),
        (BadColumnName, column("\"\"")),
        (BadColumnName, column("\"1a\"")),
        (BadColumnName, column("\"a b\"")),
        (BadColumnName, column(r#""a\"b""#)),
        (BadColumnName, column(r#""a = 1; --""#)),
        (BadColumnName, column(r#""\ud800""#)),
        (BadColumnName, column("\"é\"")),
        (BadColumnName, column(&long_name)),
        (BadColumnName, listed(r#"["age","a b"]"#)),
        (BadColumnName, listed(r#"["age",""]"#)),
        (BadColumnName, listed(r#"["\ud800"]"#)),
        (BadColumnName, listed(r#""[\"a b\"]""#)),
        (BadValue, value("[]")),
        (BadValue, value("{}")),
        (BadValue, value(r#"{"value":1}"#)),
        (BadValue, value("1e400")),
        (BadValue, value("-1e999999999999")),
        (BadValue, value(r#""\ud800""#)),
        (BadValue, value(r#"{"kind":8,"value":1}"#)),
        (BadValue, value(r#"{"kind":"1","value":1}"#)),
        (BadValue, value(r#"{"kind":1e0,"value":1}"#)),
        (BadValue, value(r#"{"kind":99999999999999999999,"value":1}"#)),
        (BadValue, value(r#"{"kind":0,"value":2147483648}"#)),
        (BadValue, value(r#"{"kind":0,"value":1.0}"#)),
        (BadValue, value(r#"{"kind":1,"value":9223372036854775808}"#)),
        (BadValue, value(r#"{"kind":1,"value":3.0}"#)),
        (BadValue, value(r#"{"kind":1,"value":"3"}"#)),
        (BadValue, value(r#"{"kind":1,"value":true}"#)),
        (BadValue, value(r#"{"kind":2,"value":3}"#)),
        (BadValue, value(r#"{"kind":2,"value":["a"]}"#)),
        (BadValue, value(r#"{"kind":2,"value":"\ud83d"}"#)),
        (BadValue, value(r#"{"kind":3,"value":"1711800000"}"#)),
        (BadValue, value(r#"{"kind":3,"value":1e309}"#)),
        (BadValue, value(r#"{"kind":4,"value":0}"#)),
        (BadValue, value(r#"{"kind":5,"value":1e39}"#)),
        (BadValue, value(r#"{"kind":6,"value":"abc"}"#)),
        (BadValue, value(r#"{"kind":6,"value":"xy"}"#)),
        (BadValue, value(r#"{"kind":6,"value":[1]}"#)),
        (BadValue, value(r#"{"kind":7,"value":"NaN"}"#)),
        (BadValue, value(r#"{"kind":7,"value":{}}"#)),
        (BadValue, value(r#"{"kind":1,"kind":2,"value":1}"#)),
        (BadValue, value(r#"{"kind":1,"value":1,"value":2}"#)),
    ];
    assert!(cases.len() >= 60);
    for (code, entry) in &cases {
        let refused = refused(entry);
        assert_eq!(refused.code, *code, "{entry}");
        assert_eq!(refused.raw, entry.as_bytes());
        let has_target = matches!(code, BadOperation | BadValue);
        assert_eq!(refused.target.is_some(), has_target, "{entry}");
        if !matches!(code, BadEntry | BadEntryId) {
            assert_eq!(refused.ack.as_deref(), Some(ID));
            assert!(refused.id.is_some());
        }
    }
    // All of them at once, between good ones.
    let good = entry(&[]);
    let frame: Vec<&str> =
        cases.iter().flat_map(|(_, bad)| [good.as_str(), bad]).chain([good.as_str()]).collect();
    let read = entries(&frame);
    assert_eq!(read.len(), frame.len());
    for (at, incoming) in read.iter().enumerate() {
        assert_eq!(matches!(incoming, Incoming::Change(_)), at % 2 == 0, "{}", frame[at]);
    }
}

#[test]
fn the_first_problem_counts() {
    let everything = [
        ("globalId", "1"),
        ("tableName", "1"),
        ("globalRowId", "1"),
        ("operation", "1"),
        ("changedFields", r#"{"a b":1,"c":[]}"#),
        ("changedFieldsNames", r#"["a b","c"]"#),
    ];
    let expected =
        [Code::BadEntryId, Code::BadTableName, Code::BadRowId, Code::BadOperation, Code::BadColumnName];
    for (at, code) in expected.into_iter().enumerate() {
        assert_eq!(refused(&entry(&everything[at..])).code, code);
    }
    // A bad name is found even after a bad value, and then the row cannot be told to anyone.
    let refusal = refused(&with_fields(r#"{"c":[],"a b":1}"#));
    assert_eq!((refusal.code, refusal.target), (Code::BadColumnName, None));
    let refusal = refused(&entry(&[("operation", "1"), ("changedFields", r#"{"a":[]}"#)]));
    assert_eq!(refusal.target, Some(("Person".into(), RowId::parse(ROW).unwrap())));
    let bad_name = [("operation", "1"), ("changedFieldsNames", r#"["a b"]"#)];
    assert_eq!(refused(&entry(&bad_name)).target, None);
}

#[test]
fn acks_repeat_what_was_received() {
    for (written, ack) in [
        ("\"a1b2\"", Some("a1b2")),
        ("\"\"", Some("")),
        (r#""\u00e9\"""#, Some("é\"")),
        ("\"06960229-C369\"", Some("06960229-C369")),
        (r#""\ud800""#, None),
        ("12", None),
        ("null", None),
    ] {
        let refused = refused(&entry(&[("globalId", written)]));
        assert_eq!(refused.ack.as_deref(), ack, "{written}");
        assert_eq!(refused.id, None);
    }
    let longest = "x".repeat(MAX_ACK_ID_BYTES);
    let refusal = refused(&entry(&[("globalId", &format!("\"{longest}\""))]));
    assert_eq!(refusal.ack.as_deref(), Some(&*longest));
    assert_eq!(refused(&entry(&[("globalId", &format!("\"{longest}x\""))])).ack, None);
}

#[test]
fn details_never_hold_a_value() {
    for bad in [
        with_fields(r#"{"a":{"kind":1,"value":"secret"}}"#),
        with_fields(r#"{"secret b":1}"#),
        entry(&[("tableName", "\"secret;\"")]),
        entry(&[("operation", "\"secret\"")]),
        entry(&[("changedFields", "\"secret\"")]),
        entry(&[("globalId", "\"secret\"")]),
    ] {
        let detail = refused(&bad).detail;
        assert!(!detail.is_empty() && !detail.contains("secret"), "{detail}");
    }
    for bad in [r#"{"auditLog":"secret"}"#, r#"["secret"]"#, r#""secret""#, r#"{"ack":{"secret":1}}"#] {
        let error = decode(bad).unwrap_err();
        assert!(error.code == Code::BadFrame && !error.detail.contains("secret"), "{error}");
    }
}

#[test]
fn frames() {
    for bad in [
        "",
        " ",
        "{",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{}x",
        "{}{}",
        r#"{"auditLog":{}}"#,
        r#"{"auditLog":null}"#,
        r#"{"auditLog":1}"#,
        r#"{"auditLog":"[]"}"#,
        r#"{"auditLog":[}"#,
        r#"{"auditLog":[],}"#,
        r#"{"auditLog":[{]}"#,
        r#"{"auditLog":[{"a":01}]}"#,
        r#"{"auditLog":[NaN]}"#,
        "{\"auditLog\":[\"\n\"]}",
        r#"{"auditLog":["\x"]}"#,
        r#"{"ack":1}"#,
        r#"{"ack":null}"#,
        r#"{'ack':[]}"#,
        "\u{feff}{}",
    ] {
        assert_eq!(decode(bad).unwrap_err().code, Code::BadFrame, "{bad}");
    }
    let not_text = Bytes::from_static(b"{\"auditLog\":[\"\xff\"]}");
    assert_eq!(native::decode(&not_text, 1).unwrap_err().code, Code::BadFrame);
    for other in [
        "{}",
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","auditLog":[]}"#,
        r#"{"auditLog":[],"type":1}"#,
        r#"{"kind":"auditLog"}"#,
        r#"{"kind":"ack"}"#,
        r#"{"replayRequest":true}"#,
        r#"{"nack":["a"]}"#,
        r#"{"x":{"auditLog":[]}}"#,
    ] {
        let typed = other.contains("\"type\"");
        let expected = if typed { ClientFrame::Typed } else { ClientFrame::Other };
        assert_eq!(decode(other), Ok(expected), "{other}");
    }
    for empty in
        [r#"{"auditLog":[]}"#, r#" { "auditLog" : [ ] , "kind" : 1e400 } "#, r#"{"audit\u004cog":[]}"#]
    {
        assert_eq!(decode(empty), Ok(ClientFrame::Changes(vec![])), "{empty}");
    }
    assert_eq!(decode(r#"{"ack":["a",1,{}],"kind":"auditLog"}"#), Ok(ClientFrame::Ack { ids: vec![] }));
    assert_eq!(decode(r#"{"ack":["a"],"auditLog":[]}"#), Ok(ClientFrame::Changes(vec![])));
    // Of keys that are written twice the last one counts.
    assert_eq!(decode(r#"{"ack":["a"],"ack":[]}"#), Ok(ClientFrame::Ack { ids: vec![] }));
    assert_eq!(decode(r#"{"auditLog":[1,2],"auditLog":[]}"#), Ok(ClientFrame::Changes(vec![])));
}

#[test]
fn acks_that_are_nearly_as_clients_write_them() {
    let id = "f9ff9d07-8efe-4e15-8865-62d590d921e9";
    let acked = |ids: usize| Ok(ClientFrame::Ack { ids: vec![EntryId::parse(id).expect("an id").0; ids] });
    let two = format!(r#"{{"ack":["{id}","{id}"],"kind":"ack"}}"#);
    assert_eq!(decode(&two), acked(2));
    let escaped = two.replacen("f9ff", r"\u00669ff", 1);
    assert_eq!(decode(&escaped), acked(2));
    let one_of_75_bytes = two.replace(r#"",""#, "---");
    assert_eq!(decode(&one_of_75_bytes), acked(0));
    for (from, to) in [
        (r#"",""#, r#"";""#),
        (r#"",""#, r#"","#),
        ("07", "\n7"),
        ("07", r"\q"),
        ("\"f9", "f9f"),
        ("],", ",],"),
    ] {
        let bad = two.replacen(from, to, 1);
        assert_eq!(decode(&bad).unwrap_err().code, Code::BadFrame, "{bad}");
    }
    let without_a_comma = two.replacen(r#"",""#, r#""9""#, 1);
    assert_eq!(decode(&without_a_comma).unwrap_err().code, Code::BadFrame);
}

#[test]
fn the_number_of_changes_is_limited() {
    let frame = Bytes::from_static(br#"{"auditLog":[1,2,3]}"#);
    assert!(native::decode(&frame, 3).is_ok());
    assert_eq!(native::decode(&frame, 2).unwrap_err().code, Code::TooManyChanges);
}

#[test]
fn nesting_does_not_use_up_the_stack() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(refused(&deep).code, Code::BadEntry);
    assert_eq!(refused(&with_fields(&format!(r#"{{"a":{deep}}}"#))).code, Code::BadValue);
    let ignored = entry(&[("extra", &deep), ("id", &deep), ("timestamp", &deep)]);
    assert_eq!(accepted(&ignored).timestamp_us, None);
    assert_eq!(decode(&format!(r#"{{"x":{deep}}}"#)), Ok(ClientFrame::Other));
}
