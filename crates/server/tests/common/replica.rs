//! What a client of the JSON dialect holds of one space. It compares nothing: whatever arrives later wins. Values are kept as
//! their text, so that two replicas are equal only where every byte is.

use std::collections::BTreeMap;

use bytes::Bytes;
use lattice_protocol::plain::write_plain;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::device::{Device, schema};

/// Table and row id.
pub type Key = (String, String);
/// Column to the text of its value; null ones are left out.
pub type Columns = BTreeMap<String, String>;
/// All rows.
pub type Rows = BTreeMap<Key, Columns>;

/// A change as the server writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    pub id: String,
    pub table_name: String,
    pub operation: String,
    pub global_row_id: String,
    pub changed_fields: Box<RawValue>,
    pub timestamp: f64,
    pub reason: Option<String>,
}

impl Change {
    /// The text of each value.
    #[track_caller]
    pub fn columns(&self) -> BTreeMap<String, String> {
        let raw = self.changed_fields.get();
        let object = if raw.starts_with('"') {
            serde_json::from_str::<String>(raw).expect("a string")
        } else {
            raw.to_owned()
        };
        let columns: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&object).unwrap_or_else(|error| panic!("{error}: {object}"));
        columns.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
    }

    pub fn is_filtered(&self) -> bool {
        self.reason.as_deref() == Some("filtered")
    }
}

/// What a client holds of a space.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub rows: Rows,
    /// Stored with the changes that it came with.
    pub cursor: Option<String>,
    /// It has the state that the last `ready` or poll announced.
    pub complete: bool,
    /// Reasons of resets so far.
    pub resets: Vec<String>,
    /// Everything that was applied, in order.
    pub log: Vec<Change>,
    /// Seq of the last `ready`, and the role that it or `access` named; `None`: no access any more.
    pub seq: u64,
    pub role: Option<String>,
}

impl Replica {
    /// A value's text.
    pub fn value(&self, table: &str, row: &str, column: &str) -> Option<&str> {
        self.row(table, row)?.get(column).map(String::as_str)
    }

    pub fn row(&self, table: &str, row: &str) -> Option<&Columns> {
        self.rows.get(&(table.to_owned(), row.to_ascii_lowercase()))
    }

    /// Ids of the rows of a table.
    pub fn ids(&self, table: &str) -> Vec<&str> {
        self.rows.keys().filter(|(held, _)| held == table).map(|(_, row)| &**row).collect()
    }

    pub fn reset(&mut self, reason: &str) {
        self.rows.clear();
        self.cursor = None;
        self.resets.push(reason.to_owned());
    }

    #[track_caller]
    pub fn apply(&mut self, change: &Change) {
        self.set(&change.operation, &change.table_name, &change.global_row_id, change.columns());
        self.log.push(change.clone());
    }

    /// What an operation does to the rows.
    #[track_caller]
    pub fn set(&mut self, operation: &str, table: &str, row: &str, columns: Columns) {
        let key = (table.to_owned(), row.to_ascii_lowercase());
        let held = match operation {
            "insert" => self.rows.entry(key).or_default(),
            "update" => match self.rows.get_mut(&key) {
                Some(held) => held,
                None => return,
            },
            "delete" => {
                self.rows.remove(&key);
                return;
            }
            other => panic!("an unknown operation {other}"),
        };
        for (name, value) in columns {
            if value == "null" {
                held.remove(&name);
            } else {
                held.insert(name, value);
            }
        }
    }
}

/// The rows of a native client as they would be written in the JSON dialect.
pub fn plain_rows(device: &Device) -> Rows {
    let schema = schema();
    let rows = device.db.rows().iter();
    rows.map(|((table, _), row)| {
        let table = &schema[*table];
        let columns = table.columns.iter().zip(&row.values).filter_map(|(name, value)| {
            let text = plain_text(value.as_ref()?);
            (text != "null").then(|| (name.to_string(), text))
        });
        ((table.name.to_string(), row.id.to_text().to_ascii_lowercase()), columns.collect())
    })
    .collect()
}

/// A wire value as a plain one.
pub fn plain_text(wire: &Bytes) -> String {
    let mut text = Vec::new();
    write_plain(&mut text, wire, false);
    String::from_utf8(text).expect("JSON")
}
