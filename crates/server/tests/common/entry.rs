//! Uploads, written by hand, so that a test says exactly what is on the wire.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A new id, with an upper-case variant digit as clients write it.
pub fn new_id() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}-{:04x}-4abc-Ad19-{:012x}", (mixed >> 32) as u32, mixed as u16, number)
}

/// A new row id.
pub fn new_row() -> String {
    new_id().to_ascii_lowercase()
}

/// One entry of an upload.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: String,
    pub row: String,
    /// Fields as they are written, without the braces.
    fields: String,
    names: Vec<String>,
    rest: Value,
}

impl Entry {
    fn new(operation: &str, table: &str, row: &str) -> Self {
        let rest = json!({
            "id": 1, "isFromRemote": false, "isSynchronized": false, "operation": operation, "rowId": 1,
            "tableName": table, "timestamp": "",
        });
        Self { id: new_id(), row: row.to_owned(), fields: String::new(), names: Vec::new(), rest }
    }

    pub fn insert(table: &str, row: &str) -> Self {
        Self::new("INSERT", table, row)
    }

    pub fn update(table: &str, row: &str) -> Self {
        Self::new("UPDATE", table, row)
    }

    /// As a user makes it: it names the columns of the table, with the old values.
    pub fn delete(table: &str, row: &str) -> Self {
        let entry = Self::new("DELETE", table, row);
        if table.starts_with('_') { entry } else { entry.text("name", "old") }
    }

    /// A link row.
    pub fn link(table: &str, row: &str, lhs: &str, rhs: &str) -> Self {
        let end = |id: &str| format!(r#"{{"kind":2,"value":"{id}"}}"#);
        Self::insert(table, row).raw("lhs", &end(lhs)).raw("rhs", &end(rhs))
    }

    /// A column that changes, and its value as it is to be written.
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.names.push(name.to_owned());
        self.unnamed(name, value)
    }

    /// A column that is listed and does not change.
    pub fn unnamed(mut self, name: &str, value: &str) -> Self {
        let comma = if self.fields.is_empty() { "" } else { "," };
        self.fields += &format!("{comma}{}:{value}", json!(name));
        self
    }

    pub fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &format!(r#"{{"kind":2,"value":{}}}"#, json!(text)))
    }

    pub fn integer(self, name: &str, number: i64) -> Self {
        self.raw(name, &format!(r#"{{"kind":1,"value":{number}}}"#))
    }

    /// When it was made, in seconds.
    pub fn at(self, seconds: f64) -> Self {
        self.with("timestamp", json!(format!("{seconds:.3}")))
    }

    /// Any other key.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.rest[key] = value;
        self
    }

    /// Without a key.
    pub fn without(mut self, key: &str) -> Self {
        self.rest.as_object_mut().expect("an object").remove(key);
        self
    }

    pub fn with_id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    pub fn to_json(&self) -> String {
        let rest = self.rest.to_string();
        let mut own = json!({"changedFieldsNames": self.names, "globalId": self.id, "globalRowId": self.row});
        for key in self.rest.as_object().expect("an object").keys() {
            // What a test has put there itself counts.
            own.as_object_mut().expect("an object").remove(key);
        }
        let own = own.to_string();
        let fields = if rest.contains("\"changedFields\"") {
            String::new()
        } else {
            format!(r#""changedFields":{{{}}},"#, self.fields)
        };
        let own = own[1..own.len() - 1].to_owned();
        let comma = if own.is_empty() { "" } else { "," };
        format!("{{{fields}{own}{comma}{}", &rest[1..])
    }

    /// The frame of an upload.
    pub fn frame(entries: &[&Self]) -> Bytes {
        let entries: Vec<String> = entries.iter().map(|entry| entry.to_json()).collect();
        format!(r#"{{"auditLog":[{}],"kind":"auditLog"}}"#, entries.join(",")).into()
    }
}
