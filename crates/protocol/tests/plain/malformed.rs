//! What is not well formed has a stable code, and nothing of it is repeated to others.

use bytes::Bytes;
use lattice_protocol::{
    Code, Incoming,
    limits::{
        MAX_CLIENT_ID_BYTES, MAX_COLUMNS, MAX_CURSOR_BYTES, MAX_FILTER_BYTES, MAX_FILTER_CONDITIONS,
        MAX_FILTER_OPERANDS, MAX_FILTER_TABLES, MAX_PRESENCE_STATE_BYTES, MAX_ROW_ID_BYTES, MAX_TOKEN_BYTES,
        MAX_UPLOAD_ID_BYTES,
    },
    plain,
};

use crate::common::{accepted, change, changes, decode, refused, with_fields};

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn each_frame_has_its_code() {
    let typed = |kind: &str, members: &str| format!(r#"{{"type":"{kind}",{members}}}"#);
    let long = |limit: usize| format!("\"{}\"", "x".repeat(limit + 1));
    let list = |count: usize| vec!["1"; count].join(",");
    let tables = |count: usize| (0..count).map(|at| format!("\"T{at}\"")).collect::<Vec<_>>();
    let where_ = |conditions: &str| typed("subscribe", &format!(r#""where":{conditions}"#));
    let conditions = |count: usize| {
        let columns: Vec<_> = (0..count).map(|at| format!("\"c{at}\":1")).collect();
        format!(r#"{{"T":{{{}}}}}"#, columns.join(","))
    };
    use Code::*;
    let cases = [
        (BadFrame, String::new()),
        (BadFrame, " ".into()),
        (BadFrame, "{".into()),
        (BadFrame, "[]".into()),
        (BadFrame, "null".into()),
        (BadFrame, "\"ping\"".into()),
        (BadFrame, r#"{"type":"ping"}x"#.into()),
        (BadFrame, r#"{"type":"ping",}"#.into()),
        (BadFrame, r#"{type:"ping"}"#.into()),
        (BadFrame, "\u{feff}{\"type\":\"ping\"}".into()),
        (UnknownFrame, "{}".into()),
        (UnknownFrame, r#"{"type":null}"#.into()),
        (UnknownFrame, r#"{"type":1}"#.into()),
        (UnknownFrame, r#"{"type":["ping"]}"#.into()),
        (UnknownFrame, r#"{"type":"\ud800"}"#.into()),
        (UnknownFrame, r#"{"type":"Ping"}"#.into()),
        (UnknownFrame, r#"{"type":"ready"}"#.into()),
        (UnknownFrame, r#"{"auditLog":[]}"#.into()),
        (BadFrame, typed("hello", r#""clientId":"""#)),
        (BadFrame, typed("hello", r#""clientId":1"#)),
        (BadFrame, typed("hello", r#""clientId":"\udc00""#)),
        (BadFrame, typed("hello", &format!(r#""clientId":{}"#, long(MAX_CLIENT_ID_BYTES)))),
        (BadFrame, typed("hello", r#""schemaVersion":-1"#)),
        (BadFrame, typed("hello", r#""schemaVersion":1.0"#)),
        (BadFrame, typed("hello", r#""schemaVersion":"1""#)),
        (BadFrame, typed("hello", r#""changedFields":"text""#)),
        (BadFrame, typed("hello", r#""changedFields":true"#)),
        (BadFrame, typed("hello", r#""integers":"object""#)),
        (SpaceNotFound, typed("subscribe", r#""space":"""#)),
        (SpaceNotFound, typed("subscribe", r#""space":"ME""#)),
        (SpaceNotFound, typed("subscribe", r#""space":1"#)),
        (SpaceNotFound, typed("unsubscribe", r#""space":"06960229c36947ddad193f07bf7488b3""#)),
        (SpaceNotFound, typed("upload", r#""space":{},"changes":[]"#)),
        (SpaceNotFound, typed("presence", r#""space":"a""#)),
        (BadCursor, typed("subscribe", r#""cursor":"""#)),
        (BadCursor, typed("subscribe", r#""cursor":7"#)),
        (BadCursor, typed("subscribe", r#""cursor":"c-1""#)),
        (BadCursor, typed("poll", r#""cursor":"a0000000100080008000000000000000""#)),
        (BadCursor, typed("poll", r#""cursor":" a0000000-1000-8000-8000-1d2e3f405162""#)),
        (BadCursor, typed("ack", r#""cursor":"a0000000-1000-8000-8000-1d2e3f40516""#)),
        (BadCursor, typed("poll", r#""cursor":"\ud800""#)),
        (BadCursor, typed("poll", &format!(r#""cursor":{}"#, long(MAX_CURSOR_BYTES)))),
        (BadCursor, typed("ack", r#""space":"me""#)),
        (BadCursor, typed("ack", r#""cursor":null"#)),
        (BadFrame, typed("poll", r#""limit":0"#)),
        (BadFrame, typed("poll", r#""limit":-1"#)),
        (BadFrame, typed("poll", r#""limit":"5""#)),
        (BadFrame, typed("poll", r#""limit":1e2"#)),
        (BadFrame, typed("upload", r#""id":1"#)),
        (BadFrame, typed("upload", r#""changes":null"#)),
        (BadFrame, typed("upload", r#""changes":{}"#)),
        (BadFrame, typed("upload", r#""changes":"[]""#)),
        (BadFrame, typed("upload", r#""changes":[],"id":1.5"#)),
        (BadFrame, typed("upload", r#""changes":[],"id":true"#)),
        (BadFrame, typed("upload", r#""changes":[],"id":{}"#)),
        (BadFrame, typed("upload", r#""changes":[],"id":"\ud800""#)),
        (BadFrame, typed("upload", &format!(r#""changes":[],"id":{}"#, long(MAX_UPLOAD_ID_BYTES)))),
        (TooManyChanges, typed("upload", &format!(r#""changes":[{}]"#, list(100_001)))),
        (BadPresence, typed("presence", r#""state":"\ud800""#)),
        (BadPresence, typed("presence", r#""state":[1e400]"#)),
        (BadPresence, typed("presence", &format!(r#""state":{}"#, deep(200)))),
        (BadPresence, typed("presence", &format!(r#""state":{}"#, long(MAX_PRESENCE_STATE_BYTES)))),
        (BadFrame, typed("auth", r#""x":1"#)),
        (BadFrame, typed("auth", r#""token":"""#)),
        (BadFrame, typed("auth", r#""token":5"#)),
        (BadFrame, typed("auth", &format!(r#""token":{}"#, long(MAX_TOKEN_BYTES)))),
        (BadFilter, typed("subscribe", r#""tables":{}"#)),
        (BadFilter, typed("subscribe", r#""tables":"Trip""#)),
        (BadFilter, typed("subscribe", r#""tables":[]"#)),
        (BadFilter, typed("subscribe", r#""tables":[1]"#)),
        (BadFilter, typed("subscribe", r#""tables":["a b"]"#)),
        (BadFilter, typed("subscribe", r#""tables":["AuditLog"]"#)),
        (
            BadFilter,
            typed("subscribe", &format!(r#""tables":[{}]"#, tables(MAX_FILTER_TABLES + 1).join(","))),
        ),
        (BadFilter, typed("subscribe", &format!(r#""tables":["T"{}]"#, " ".repeat(MAX_FILTER_BYTES)))),
        (BadFilter, typed("subscribe", r#""tables":["A"],"where":{"B":{"a":1}}"#)),
        (BadFilter, where_("[]")),
        (BadFilter, where_(r#"{"T":[]}"#)),
        (BadFilter, where_(r#"{"a b":{}}"#)),
        (BadFilter, where_(r#"{"T":{"a b":1}}"#)),
        (BadFilter, where_(r#"{"T":{"id":1}}"#)),
        (BadFilter, where_(r#"{"T":{"a":[1]}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"like":"x"}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"eq":1,"x":2}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"eq":[1]}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"eq":{"kind":1}}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"eq":1e400}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":"\ud800"}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"$data":"AA=="}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"$int":"1.0"}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"in":1}}}"#)),
        (BadFilter, where_(r#"{"T":{"a":{"in":[[]]}}}"#)),
        (BadFilter, where_(&format!(r#"{{"T":{{"a":{{"in":[{}]}}}}}}"#, list(MAX_FILTER_OPERANDS + 1)))),
        (BadFilter, where_(&conditions(MAX_FILTER_CONDITIONS + 1))),
        (BadFilter, where_(&format!(r#"{{"T":{{"a":{}}}}}"#, deep(10_000)))),
    ];
    for (code, frame) in &cases {
        let error = decode(frame).expect_err(frame);
        assert_eq!(error.code, *code, "{frame:.200}: {error}");
        assert!(!error.detail.is_empty() && !error.detail.contains("xx"), "{error}");
    }
    assert_eq!(plain::decode(&Bytes::from_static(b"{\"type\":\"\xff\"}"), 1).unwrap_err().code, BadFrame);
    // At the limits all is well.
    for good in [
        typed("subscribe", &format!(r#""tables":[{}]"#, tables(MAX_FILTER_TABLES).join(","))),
        where_(&conditions(MAX_FILTER_CONDITIONS)),
        where_(&format!(r#"{{"T":{{"a":{{"in":[{}]}}}}}}"#, list(MAX_FILTER_OPERANDS))),
        typed("upload", &format!(r#""changes":[{}]"#, list(100_000))),
        typed("presence", &format!(r#""state":{}"#, deep(100))),
        typed("ping", &format!(r#""x":{}"#, deep(1 << 20))),
    ] {
        assert!(decode(&good).is_ok(), "{good:.200}");
    }
}

#[test]
fn each_change_has_its_code() {
    let long_row = format!("\"{}\"", "x".repeat(MAX_ROW_ID_BYTES + 1));
    let many: Vec<_> = (0..=MAX_COLUMNS).map(|at| format!("\"c{at}\":1")).collect();
    let value = |value: &str| with_fields(&format!(r#"{{"a":{value}}}"#));
    let with = |key: &'static str, value: &str| change(&[(key, value)]);
    use Code::*;
    let cases = [
        (BadEntry, "null".to_owned()),
        (BadEntry, "1".to_owned()),
        (BadEntry, "[]".to_owned()),
        (BadEntry, deep(1 << 16)),
        (BadEntryId, with("id", "1")),
        (BadEntryId, with("id", "\"\"")),
        (BadEntryId, with("id", "{}")),
        (BadEntryId, with("id", "\"uuid\"")),
        (BadEntryId, with("id", r#""\ud800""#)),
        (BadEntryId, with("globalId", "\"06960229-c369-87dd-ad19-3f07bf7488b3\"")),
        (BadEntryId, with("id", "\"06960229-c369-87dd-0d19-3f07bf7488b3\"")),
        (BadTableName, "{}".to_owned()),
        (BadTableName, with("tableName", "\"a;b\"")),
        (BadTableName, with("tableName", "\"sqlite_master\"")),
        (BadRowId, with("globalRowId", "")),
        (BadRowId, with("globalRowId", "5")),
        (BadRowId, with("globalRowId", "\"\"")),
        (BadRowId, with("globalRowId", &long_row)),
        (BadOperation, with("operation", "")),
        (BadOperation, with("operation", "\"upsert\"")),
        (BadOperation, with("operation", "\"ınsert\"")),
        (BadEntry, with_fields("[]")),
        (BadEntry, with_fields("\"[]\"")),
        (BadEntry, with_fields("\"{\"")),
        (BadEntry, with_fields("1")),
        (BadEntry, with("changedFieldsNames", "\"name\"")),
        (BadColumnName, with_fields(r#"{"a b":1}"#)),
        (BadColumnName, with_fields(r#""{\"id\":1}""#)),
        (BadColumnName, with_fields(r#"{"$data":"AA=="}"#)),
        (TooManyColumns, with_fields(&format!("{{{}}}", many.join(",")))),
        (BadValue, value("[]")),
        (BadValue, value("{}")),
        (BadValue, value("1e400")),
        (BadValue, value(r#""\ud800""#)),
        (BadValue, value(r#"{"a":1}"#)),
        (BadValue, value(r#"{"$int":5}"#)),
        (BadValue, value(r#"{"$int":"05"}"#)),
        (BadValue, value(r#"{"$int":""}"#)),
        (BadValue, value(r#"{"$int":"-"}"#)),
        (BadValue, value(r#"{"$int":"+1"}"#)),
        (BadValue, value(r#"{"$int":"9223372036854775808"}"#)),
        (BadValue, value(r#"{"$data":5}"#)),
        (BadValue, value(r#"{"$data":null}"#)),
        (BadValue, value(r#"{"$data":"A"}"#)),
        (BadValue, value(r#"{"$data":"AB=="}"#)),
        (BadValue, value(r#"{"$data":"A A="}"#)),
        (BadValue, value(r#"{"$data":"3q2-7w=="}"#)),
        (BadValue, value(r#"{"$date":null}"#)),
        (BadValue, value(r#"{"$date":"2026-08-13"}"#)),
        (BadValue, value(r#"{"$date":1e400}"#)),
        (BadValue, value(r#"{"$date":1,"x":2}"#)),
        (BadValue, value(r#"{"$x":1}"#)),
        (BadValue, value(r#"{"kind":9,"value":1}"#)),
        (BadValue, value(r#"{"kind":1,"value":"secret"}"#)),
        (BadValue, value(&deep(1 << 16))),
    ];
    for (code, bad) in &cases {
        let refusal = refused(bad);
        assert_eq!(refusal.code, *code, "{bad:.200}");
        assert_eq!(refusal.raw, bad.as_bytes());
        assert!(refusal.ack.is_some());
        assert!(!refusal.detail.is_empty() && !refusal.detail.contains("secret"));
        let correctable = matches!(code, BadOperation | BadValue | TooManyColumns);
        assert_eq!(refusal.target.is_some(), correctable, "{bad:.200}");
    }
    // All of them at once, between good ones.
    let good = change(&[]);
    let frame: Vec<&str> =
        cases.iter().flat_map(|(_, bad)| [good.as_str(), bad]).chain([good.as_str()]).collect();
    for (at, incoming) in changes(&frame).iter().enumerate() {
        assert_eq!(matches!(incoming, Incoming::Change(_)), at % 2 == 0, "{:.200}", frame[at]);
    }
    let ignored = change(&[("rowId", &deep(1 << 16)), ("reason", "1e400"), ("synthesized", "\"yes\"")]);
    assert!(!accepted(&ignored).synthesized);
}
