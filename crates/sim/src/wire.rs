//! Uploads as released clients write them (`native-frames.md`): sorted keys, and an UPDATE that lists every column.

use bytes::Bytes;
use bytestring::ByteString;
use lattice_protocol::{Field, Operation, RowId};

use crate::client::Label;

/// A null, as clients write it.
pub const NULL: &[u8] = br#"{"kind":4,"value":null}"#;

/// Microseconds since 1970 as clients write a time: seconds with a fraction.
#[must_use]
pub fn time_text(time_us: i64) -> String {
    let (sign, time_us) = (if time_us < 0 { "-" } else { "" }, time_us.unsigned_abs());
    format!("{sign}{}.{:06}", time_us / 1_000_000, time_us % 1_000_000)
}

/// How an entry that a client sends came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// It says that it is a snapshot of a row, made of what the client holds.
    pub synthesized: bool,
    /// It is in the client's log, and has a number there.
    pub is_stored: bool,
}

impl Origin {
    /// A change as it was logged when it was made.
    pub const LOG: Self = Self { synthesized: false, is_stored: true };
}

/// Writes one entry. `columns` are those of the table.
#[must_use]
pub fn entry(
    label: &Label,
    table: &str,
    operation: Operation,
    row: &RowId,
    fields: &[Field],
    columns: &[ByteString],
    origin: Origin,
) -> Bytes {
    let mut out = Vec::with_capacity(512);
    let mut separator: &[u8] = b"";
    out.extend_from_slice(br#"{"changedFields":{"#);
    let mut member = |out: &mut Vec<u8>, name: &str, value: &[u8]| {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        put_text(out, name);
        out.push(b':');
        out.extend_from_slice(value);
    };
    for Field { name, value } in fields {
        member(&mut out, name, value);
    }
    if operation == Operation::Update {
        for name in columns.iter().filter(|name| !fields.iter().any(|field| field.name == **name)) {
            member(&mut out, name, NULL);
        }
    }
    out.extend_from_slice(br#"},"changedFieldsNames":["#);
    separator = b"";
    for field in fields {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        put_text(&mut out, &field.name);
    }
    out.extend_from_slice(br#"],"globalId":"#);
    put_text(&mut out, &label.id.to_text(label.spelling));
    out.extend_from_slice(br#","globalRowId":"#);
    put_text(&mut out, &row.to_text());
    out.extend_from_slice(if origin.is_stored { br#","id":1"# } else { br#","id":0"# });
    out.extend_from_slice(br#","isFromRemote":false,"isSynchronized":false,"operation":"#);
    put_text(
        &mut out,
        match operation {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        },
    );
    let has_number = origin.is_stored || operation != Operation::Delete;
    out.extend_from_slice(if has_number { br#","rowId":1"# } else { br#","rowId":0"# });
    if origin.synthesized {
        out.extend_from_slice(br#","synthesized":true"#);
    }
    out.extend_from_slice(br#","tableName":"#);
    put_text(&mut out, table);
    out.extend_from_slice(br#","timestamp":"#);
    put_text(&mut out, &label.timestamp);
    out.push(b'}');
    out.into()
}

/// Writes an upload of entries that are written already.
#[must_use]
pub fn frame<'a>(entries: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut out = br#"{"auditLog":["#.to_vec();
    let mut separator: &[u8] = b"";
    for entry in entries {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend_from_slice(entry);
    }
    out.extend_from_slice(br#"],"kind":"auditLog"}"#);
    out.into()
}

/// Writes a string. Of all names and ids of the model only the column of a union's case holds anything that is escaped: quotes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.bytes().any(|byte| byte < 0x20 || byte == b'\\'));
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A frame in few words, for people: ids cut to their last digits, values without their kinds.
#[must_use]
pub fn brief(frame: &Bytes) -> String {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(frame) else { return "unreadable".to_owned() };
    if let Some(entries) = json["auditLog"].as_array() {
        return entries.iter().map(brief_entry).collect::<Vec<_>>().join("; ");
    }
    let ids = json["ack"].as_array().map(|ids| ids.iter().map(tail).collect::<Vec<_>>());
    ids.map_or_else(|| json.to_string(), |ids| format!("ack {}", ids.join(" ")))
}

fn brief_entry(entry: &serde_json::Value) -> String {
    let names = entry["changedFieldsNames"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
    let value = |name: &str| match &entry["changedFields"][name]["value"] {
        serde_json::Value::String(text) => tail(&text.as_str().into()),
        value => value.to_string(),
    };
    let fields: Vec<String> = names.map(|name| format!("{name}={}", value(name))).collect();
    format!(
        "[{}{} {} {} {{{}}} #{} @{}]",
        if entry["synthesized"] == true { "snapshot " } else { "" },
        entry["operation"].as_str().unwrap_or("?"),
        entry["tableName"].as_str().unwrap_or("?"),
        tail(&entry["globalRowId"]),
        fields.join(" "),
        tail(&entry["globalId"]),
        entry["timestamp"].as_str().unwrap_or("?").trim_start_matches("1700"),
    )
}

fn tail(id: &serde_json::Value) -> String {
    let text = id.as_str().unwrap_or("?").to_ascii_lowercase();
    let from = if text.len() == 36 { text.len() - 5 } else { 0 };
    text[from..].to_owned()
}
