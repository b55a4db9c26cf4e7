//! What frames say to their receivers, read from the frames themselves.

use bytes::Bytes;
use lattice_engine::RowRef;
use lattice_protocol::native::{ServerFrame, decode_server};
use lattice_protocol::{Operation, RowId};
use serde_json::Value;

/// What a receiver is told of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenEntry {
    /// What is done to it.
    pub operation: Operation,
    /// Which row.
    pub row: RowRef,
    /// The entry's id.
    pub id: String,
}

/// The entries of a native frame.
pub(super) fn native(frame: &Bytes) -> Vec<SeenEntry> {
    let Ok(ServerFrame::Entries(entries)) = decode_server(frame) else { return Vec::new() };
    let seen = |entry: lattice_protocol::Outgoing| SeenEntry {
        operation: entry.operation,
        row: RowRef { table: entry.table, key: entry.row.key },
        id: entry.id.to_string(),
    };
    // The announcement of a view names no row of anybody.
    entries.into_iter().map(seen).collect()
}

/// The space and the entries of a frame of the JSON dialect, or of an answer over HTTP.
pub(super) fn plain(frame: &Bytes) -> Result<(Option<String>, Vec<SeenEntry>), String> {
    let frame: Value = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
    let lists = [&frame["changes"], &frame["current"]].into_iter().filter_map(Value::as_array);
    let entries = lists.flatten().map(plain_entry).collect::<Result<_, _>>()?;
    Ok((frame["space"].as_str().map(str::to_owned), entries))
}

fn plain_entry(entry: &Value) -> Result<SeenEntry, String> {
    let text = |key: &str| entry[key].as_str().ok_or_else(|| format!("no {key} in {entry}"));
    let operation = match text("operation")? {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        other => return Err(format!("an operation {other}")),
    };
    let row = RowId::parse(text("globalRowId")?).ok_or_else(|| format!("no row id in {entry}"))?;
    Ok(SeenEntry {
        operation,
        row: RowRef { table: text("tableName")?.into(), key: row.key },
        id: entry["globalId"].as_str().unwrap_or_default().to_owned(),
    })
}
