//! The examples of `PROTOCOL.md` and the schemas, so that neither can drift from what the code does.

use boon::{Compiler, SchemaIndex, Schemas};
use lattice_protocol::{
    Incoming,
    plain::{self, ClientFrame},
};
use serde_json::{Value, json};

use crate::common::{Author, bytes, decode};

const PROTOCOL: &str = include_str!("../../../../PROTOCOL.md");
const CLIENT: &str = include_str!("../../schemas/client.json");
const SERVER: &str = include_str!("../../schemas/server.json");

/// One part of a schema file, compiled.
pub(crate) struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new(file: &str, part: &str, strict: bool) -> Self {
        let mut document: Value = serde_json::from_str(file).unwrap();
        let id = document["$id"].as_str().unwrap().to_owned();
        if strict {
            close(&mut document);
        }
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_content_assertions();
        compiler.add_resource(&id, document).unwrap();
        let index = compiler.compile(&format!("{id}#{part}"), &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| format!("{value}: {error:#}"))
    }
}

/// Lets objects hold no more than what they are said to hold. What is published lets more pass, as clients must.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("type") == Some(&json!("object")) && object.contains_key("properties") {
                object.insert("additionalProperties".into(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[track_caller]
fn valid(part: &str, frame: &[u8]) {
    let value = serde_json::from_slice(frame).unwrap();
    Schema::new(SERVER, part, false).check(&value).unwrap();
    Schema::new(SERVER, part, true).check(&value).unwrap();
}

/// Checks a frame of the server.
#[track_caller]
pub(crate) fn valid_frame(frame: &[u8]) {
    valid("", frame);
}

/// Checks an answer to an upload over HTTP.
#[track_caller]
pub(crate) fn valid_answer(answer: &[u8]) {
    valid("/$defs/uploadAnswer", answer);
}

/// Checks a page over HTTP.
#[track_caller]
pub(crate) fn valid_page(page: &[u8]) {
    valid("/$defs/page", page);
}

/// The examples of this kind, each as it is written.
fn examples(kind: &str) -> Vec<String> {
    let (_, section) = PROTOCOL.split_once("\n## The JSON dialect\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let opening = format!("```json {kind}\n");
    let mut examples = Vec::new();
    for block in section.split(&opening).skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        // Of the members of an array and of an object none starts a line with this.
        for part in block.split("\n{") {
            let part = part.trim();
            examples.push(if part.starts_with('{') { part.to_owned() } else { format!("{{{part}") });
        }
    }
    assert!(!examples.is_empty(), "no examples of {kind}");
    examples
}

fn tree(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn all_pass(upload: &plain::Upload) {
    assert!(upload.changes.count() > 0);
    for incoming in Author::ann().read(upload) {
        assert!(matches!(incoming, Incoming::Change(_)), "{incoming:?}");
    }
}

#[test]
fn every_block_of_the_page_is_of_a_known_kind() {
    let kinds = ["client", "server", "upload-body", "upload-answer", "page"];
    let (_, section) = PROTOCOL.split_once("\n## The JSON dialect\n").unwrap();
    for block in section.split("```json").skip(1) {
        let (kind, _) = block.split_once('\n').unwrap();
        assert!(kinds.contains(&kind.trim()), "{kind}");
    }
}

#[test]
fn the_clients_examples() {
    let (schema, strict) = (Schema::new(CLIENT, "", false), Schema::new(CLIENT, "", true));
    let mut kinds = std::collections::BTreeSet::new();
    for example in examples("client") {
        let value = tree(&example);
        schema.check(&value).unwrap();
        strict.check(&value).unwrap();
        kinds.insert(value["type"].as_str().unwrap().to_owned());
        if let ClientFrame::Upload(upload) =
            decode(&example).unwrap_or_else(|error| panic!("{error}: {example}"))
        {
            all_pass(&upload);
        }
    }
    let all = ["ack", "auth", "hello", "ping", "poll", "presence", "subscribe", "unsubscribe", "upload"];
    assert!(kinds.iter().eq(all.iter()), "{kinds:?}");
    for body in examples("upload-body") {
        Schema::new(CLIENT, "/$defs/uploadBody", true).check(&tree(&body)).unwrap();
        all_pass(&plain::decode_upload(&bytes(&body), 10).unwrap());
    }
}

#[test]
fn the_servers_examples() {
    let mut kinds = std::collections::BTreeSet::new();
    for example in examples("server") {
        valid_frame(example.as_bytes());
        kinds.insert(tree(&example)["type"].as_str().unwrap().to_owned());
    }
    let all = ["access", "ack", "auth", "changes", "current", "error", "pong", "presence", "ready", "reset"];
    assert!(kinds.iter().eq(all.iter()), "{kinds:?}");
    examples("upload-answer").iter().for_each(|example| valid_answer(example.as_bytes()));
    examples("page").iter().for_each(|example| valid_page(example.as_bytes()));
}

#[test]
fn the_table_of_plain_values() {
    for text in [r#"{"$data":"3q2+7w=="}"#, r#"{"$date":1711800000.5}"#, r#"{"$int":"9007199254740993"}"#] {
        assert!(PROTOCOL.contains(&format!("| `{text}` |")), "{text}");
        assert!(plain::from_plain(&bytes(text)).is_some(), "{text}");
    }
}

#[test]
fn every_code_is_documented() {
    for code in lattice_protocol::Code::ALL {
        assert!(PROTOCOL.contains(&format!("\n| `{code}` |")), "{code}");
    }
    let statuses = plain::Status::ALL.map(plain::Status::as_str);
    let reasons = plain::ResetReason::ALL.map(plain::ResetReason::as_str);
    for word in statuses.iter().chain(&reasons) {
        assert!(PROTOCOL.contains(&format!("`{word}`")), "{word}");
    }
}

/// Frames that neither the schema nor the code accepts.
#[test]
fn bad_frames_of_clients_are_invalid() {
    let schema = Schema::new(CLIENT, "", false);
    for bad in [
        "1",
        "[]",
        "{}",
        r#"{"type":"hallo"}"#,
        r#"{"type":"hello","clientId":""}"#,
        r#"{"type":"hello","clientId":7}"#,
        r#"{"type":"hello","schemaVersion":-1}"#,
        r#"{"type":"hello","schemaVersion":"1"}"#,
        r#"{"type":"hello","changedFields":"json"}"#,
        r#"{"type":"hello","integers":true}"#,
        r#"{"type":"subscribe","space":"you"}"#,
        r#"{"type":"subscribe","cursor":5}"#,
        r#"{"type":"subscribe","cursor":"c-1"}"#,
        r#"{"type":"subscribe","tables":[]}"#,
        r#"{"type":"subscribe","tables":["a b"]}"#,
        r#"{"type":"subscribe","where":[]}"#,
        r#"{"type":"subscribe","where":{"T":{"a":{"like":"x"}}}}"#,
        r#"{"type":"subscribe","where":{"T":{"a":{"in":"x"}}}}"#,
        r#"{"type":"subscribe","where":{"T":{"a":[1]}}}"#,
        r#"{"type":"subscribe","where":{"T":{"a":{"$data":"AA=="}}}}"#,
        r#"{"type":"upload"}"#,
        r#"{"type":"upload","changes":{}}"#,
        r#"{"type":"upload","id":1.5,"changes":[]}"#,
        r#"{"type":"poll","limit":0}"#,
        r#"{"type":"ack"}"#,
        r#"{"type":"auth"}"#,
        r#"{"type":"auth","token":""}"#,
    ] {
        assert!(schema.check(&tree(bad)).is_err(), "{bad}");
        assert!(decode(bad).is_err(), "{bad}");
    }
}

/// Changes that neither the schema nor the code accepts, and some that both do.
#[test]
fn changes_are_judged_alike() {
    let schema = Schema::new(CLIENT, "/$defs/change", false);
    let with = |key: &'static str, value: &str| crate::common::change(&[(key, value)]);
    let value = |value: &str| crate::common::with_fields(&format!(r#"{{"a":{value}}}"#));
    for (good, change) in [
        (true, with("rowId", "5")),
        (true, with("operation", "\"DELETE\"")),
        (true, with("id", "\"06960229-c369-47dd-Ad19-3f07bf7488b3\"")),
        (true, with("changedFields", "{}")),
        (true, with("timestamp", "\"2026-08-13T14:37:51.123Z\"")),
        (true, value("-1.5e3")),
        (true, value("true")),
        (true, value("null")),
        (true, value(r#"{"$data":"3q0"}"#)),
        (true, value(r#"{"$date":5}"#)),
        (true, value(r#"{"$int":"-5"}"#)),
        (true, value(r#"{"kind":6,"value":"00ff"}"#)),
        (false, "[]".into()),
        (false, "{}".into()),
        (false, with("tableName", "\"a b\"")),
        (false, with("tableName", "")),
        (false, with("operation", "\"upsert\"")),
        (false, with("globalRowId", "\"\"")),
        (false, with("globalRowId", "5")),
        (false, with("id", "\"x\"")),
        (false, with("id", "\"06960229-c369-87dd-ad19-3f07bf7488b3\"")),
        (false, with("changedFields", "[]")),
        (false, with("changedFieldsNames", "{}")),
        (false, crate::common::with_fields(r#"{"a b":1}"#)),
        (false, value("[]")),
        (false, value("{}")),
        (false, value(r#"{"a":1}"#)),
        (false, value(r#"{"$int":5}"#)),
        (false, value(r#"{"$int":"5.0"}"#)),
        (false, value(r#"{"$data":"*"}"#)),
        (false, value(r#"{"$date":"now"}"#)),
        (false, value(r#"{"$date":1,"x":2}"#)),
        (false, value(r#"{"kind":8,"value":1}"#)),
    ] {
        assert_eq!(schema.check(&tree(&change)).is_ok(), good, "{change}");
        let read = crate::common::changes(&[&change]);
        assert_eq!(matches!(read[0], Incoming::Change(_)), good, "{change}");
    }
}

#[test]
fn what_no_server_sends_is_invalid() {
    let schema = Schema::new(SERVER, "", false);
    let change = |members: &str| {
        format!(
            r#"{{"type":"current","space":"me","changes":[{{"id":"0d0b3a5e-7a39-4a55-8d3e-3c9f0e2b7a10","tableName":"T","globalRowId":"r",{members}}}]}}"#
        )
    };
    let good = change(r#""operation":"update","changedFields":"{\"a\":1}","timestamp":1"#);
    schema.check(&tree(&good)).unwrap();
    for bad in [
        r#"{"type":"ready"}"#.to_owned(),
        r#"{"type":"ready","space":"me","seq":-1,"role":"owner"}"#.into(),
        r#"{"type":"ready","space":"me","seq":1,"role":"king"}"#.into(),
        r#"{"type":"changes","space":"me","changes":[],"more":false}"#.into(),
        r#"{"type":"changes","changes":[],"cursor":null,"more":false}"#.into(),
        r#"{"type":"ack","id":1,"cursor":null,"results":[{"id":"x","status":"lost"}]}"#.into(),
        r#"{"type":"ack","id":1,"cursor":null,"results":[{"status":"applied"}]}"#.into(),
        r#"{"type":"reset","space":"me"}"#.into(),
        r#"{"type":"reset","space":"me","reason":"because"}"#.into(),
        r#"{"type":"error","code":"Bad Code","message":""}"#.into(),
        r#"{"type":"access","space":"me"}"#.into(),
        change(r#""operation":"UPDATE","changedFields":{},"timestamp":1"#),
        change(r#""operation":"update","changedFields":{},"timestamp":"1""#),
        change(r#""operation":"update","changedFields":{"a":[]},"timestamp":1"#),
        change(r#""operation":"update","changedFields":{"a":true},"timestamp":1"#),
        change(r#""operation":"update","changedFields":"{\"a\":[]}","timestamp":1"#),
        change(r#""operation":"update","changedFields":"{","timestamp":1"#),
        change(r#""operation":"update","changedFields":{},"timestamp":1,"reason":"filtered""#),
        change(r#""operation":"delete","changedFields":{},"timestamp":1,"reason":"gone""#),
    ] {
        assert!(schema.check(&tree(&bad)).is_err(), "{bad}");
    }
}
