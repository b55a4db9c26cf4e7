//! Entries that the filter of a native client has made, and values as such a client sends back what it was sent.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod common;

use common::{ID, ROW, decode};
use lattice_protocol::native::ClientFrame;
use lattice_protocol::value::is_alike;
use lattice_protocol::{Change, Incoming};

fn change(rest: &str) -> Change {
    let frame = format!(r#"{{"auditLog":[{{"globalId":"{ID}","globalRowId":"{ROW}",{rest}}}]}}"#);
    match decode(&frame) {
        Ok(ClientFrame::Changes(changes)) => match changes.into_iter().next() {
            Some(Incoming::Change(change)) => change,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn deletes_without_columns_and_snapshots_with_a_time_are_made_by_filters() {
    for (rest, expected) in [
        (r#""tableName":"Item","operation":"DELETE","changedFields":{},"changedFieldsNames":[]"#, true),
        (r#""tableName":"Item","operation":"DELETE","changedFields":{ },"changedFieldsNames":[ ]"#, true),
        (r#""tableName":"Item","operation":"DELETE","changedFields":"{}","changedFieldsNames":"[]""#, true),
        (r#""tableName":"Item","operation":"DELETE""#, true),
        (r#""tableName":"Item","operation":"DELETE","changedFields":{},"changedFieldsNames":["n"]"#, false),
        (r#""tableName":"Item","operation":"DELETE","changedFields":{"n":1},"changedFieldsNames":[]"#, false),
        (r#""tableName":"Item","operation":"DELETE","changedFields":{"n":1}"#, false),
        (r#""tableName":"_A_areas","operation":"DELETE","changedFields":{},"changedFieldsNames":[]"#, false),
        (
            r#""tableName":"Item","operation":"INSERT","synthesized":true,"timestamp":"1796091698.737000""#,
            true,
        ),
        (r#""tableName":"Item","operation":"INSERT","synthesized":true,"timestamp":"""#, false),
        (r#""tableName":"Item","operation":"INSERT","timestamp":"1796091698.737""#, false),
        (r#""tableName":"Item","operation":"UPDATE","synthesized":true,"timestamp":"1.0""#, false),
    ] {
        assert_eq!(change(rest).by_filter, expected, "{rest}");
    }
}

#[test]
fn what_a_client_sends_back_is_the_same_value() {
    let value = |kind: &str, value: &str| format!(r#"{{"kind":{kind},"value":{value}}}"#);
    for (one, other, expected) in [
        (value("1", "3"), value("7", "3.0"), true),
        (value("7", "0.30000000000000004"), value("7", "0.3"), true),
        (value("7", "0.3"), value("7", "0.31"), false),
        (value("1", "9007199254740993"), value("1", "9007199254740992"), false),
        (value("5", "0.1"), value("7", "0.100000001490116"), true),
        (value("3", "1711800000.5"), value("7", "1711800000.5"), true),
        (value("6", "\"00ff\""), value("2", "\"00FF\""), true),
        (value("2", "\"a\""), value("2", "\"A\""), false),
        (value("2", "\"\u{e9}\""), value("2", r#""\u00e9""#), true),
        (value("2", "\"1\""), value("1", "1"), false),
        (value("4", "null"), value("2", "null"), true),
        (value("4", "null"), value("2", "\"\""), false),
        (r#"{"kind":4}"#.to_owned(), value("4", "null"), true),
    ] {
        assert_eq!(is_alike(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
        assert_eq!(is_alike(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
    }
}
