//! Frames of single entries, for the tests of the decoder.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of this")]

use bytes::Bytes;
use lattice_protocol::{
    Change, Incoming, Refused,
    limits::MAX_CHANGES_PER_FRAME,
    native::{self, ClientFrame, FrameError},
};

pub const ID: &str = "06960229-c369-47dd-Ad19-3f07bf7488b3";
pub const ROW: &str = "0ffdba0b-76a4-4ccf-99f4-3e3e2dc3b809";

pub fn decode(frame: &str) -> Result<ClientFrame, FrameError> {
    native::decode(&Bytes::copy_from_slice(frame.as_bytes()), MAX_CHANGES_PER_FRAME)
}

pub fn entries(entries: &[&str]) -> Vec<Incoming> {
    let frame = format!(r#"{{"auditLog":[{}],"kind":"auditLog"}}"#, entries.join(","));
    match decode(&frame) {
        Ok(ClientFrame::Changes(changes)) => changes,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub fn accepted(entry: &str) -> Change {
    match entries(&[entry]).pop() {
        Some(Incoming::Change(change)) => change,
        other => panic!("{entry}: {other:?}"),
    }
}

#[track_caller]
pub fn refused(entry: &str) -> Refused {
    match entries(&[entry]).pop() {
        Some(Incoming::Refused(refused)) => refused,
        other => panic!("{entry}: {other:?}"),
    }
}

/// A good entry with some of its members written differently; an empty text leaves the member out.
pub fn entry(changed: &[(&str, &str)]) -> String {
    let id = format!("\"{ID}\"");
    let row = format!("\"{ROW}\"");
    let mut members = vec![
        ("id", "1"),
        ("globalId", &id),
        ("tableName", "\"Person\""),
        ("operation", "\"INSERT\""),
        ("globalRowId", &row),
        ("changedFields", r#"{"age":{"kind":1,"value":3},"name":{"kind":2,"value":"Al"}}"#),
        ("changedFieldsNames", r#"["age","name"]"#),
        ("timestamp", "\"\""),
    ];
    for (key, value) in changed {
        members.retain(|(other, _)| other != key);
        if !value.is_empty() {
            members.push((key, value));
        }
    }
    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

pub fn with_fields(fields: &str) -> String {
    entry(&[("changedFields", fields), ("changedFieldsNames", "")])
}

pub fn fields(change: &Change) -> Vec<(&str, &str)> {
    change.fields.iter().map(|field| (&*field.name, str::from_utf8(&field.value).unwrap())).collect()
}
