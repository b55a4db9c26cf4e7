//! One change of a frame, read the same way in both dialects. Each is read on its own, so that what is wrong with one never
//! keeps others from passing.

use alloc::{format, string::String, vec::Vec};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    Change, Code, EntryId, Field, Operation, RowId, Spelling,
    change::is_link_table,
    columns::{names_filter_removal, read_fields, read_link_fields},
    json::{self, Members},
    names, timestamp,
};

/// In what the dialects differ once the id of a change is known.
pub(crate) trait Dialect {
    /// The operation with this name.
    fn operation(text: &str) -> Option<Operation>;

    /// Whether a table may have this name.
    fn is_table(name: &str) -> bool {
        names::is_valid_table(name)
    }

    /// The wire bytes of a value that is written as `raw` in the text of `base`, or what is wrong with it, in words that
    /// follow "the value is" and do not hold the value.
    fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str>;
}

/// The keys of an entry that mean something, as written. Of a key that is written twice the last one counts, as for
/// clients; `null` is as good as absent.
#[derive(Default)]
pub(crate) struct Keys<'a> {
    pub(crate) global_id: Option<&'a str>,
    /// The key `id`: a local number in the native dialect, another name of `globalId` in the JSON dialect.
    pub(crate) id: Option<&'a str>,
    table: Option<&'a str>,
    row: Option<&'a str>,
    operation: Option<&'a str>,
    pub(crate) fields: Option<&'a str>,
    pub(crate) names: Option<&'a str>,
    timestamp: Option<&'a str>,
    synthesized: bool,
}

impl<'a> Keys<'a> {
    pub(crate) fn read(entry: &'a str) -> Option<Self> {
        let mut keys = Self::default();
        for (key, raw) in Members::of(entry)? {
            keys.set(key, raw);
        }
        Some(keys)
    }

    fn set(&mut self, key: &str, raw: &'a str) {
        let given = (raw != "null").then_some(raw);
        match key {
            "\"changedFields\"" => self.fields = given,
            "\"changedFieldsNames\"" => self.names = given,
            "\"globalId\"" => self.global_id = given,
            "\"globalRowId\"" => self.row = given,
            "\"id\"" => self.id = given,
            "\"operation\"" => self.operation = given,
            "\"tableName\"" => self.table = given,
            "\"timestamp\"" => self.timestamp = given,
            "\"synthesized\"" => self.synthesized = raw == "true",
            // A key that is spelled with escapes is the same key to clients.
            _ if key.contains('\\') => {
                if let Some(plain) = json::decode_string(key).filter(|plain| !plain.contains(['\\', '"'])) {
                    self.set(&format!("\"{plain}\""), raw);
                }
            }
            _ => {}
        }
    }
}

/// A change but for its id.
pub(crate) struct Body {
    pub(crate) table: ByteString,
    pub(crate) operation: Operation,
    pub(crate) row: RowId,
    pub(crate) fields: Vec<Field>,
    pub(crate) timestamp_us: Option<i64>,
    pub(crate) synthesized: bool,
    pub(crate) filter_removal: bool,
}

impl Body {
    /// The change of which this is all but the id.
    pub(crate) fn into_change(self, (id, id_spelling): (EntryId, Spelling), raw: Bytes) -> Change {
        let Self { table, operation, row, fields, timestamp_us, synthesized, filter_removal } = self;
        Change {
            id,
            id_spelling,
            table,
            operation,
            row,
            fields,
            timestamp_us,
            synthesized,
            filter_removal,
            by_filter: false,
            raw,
        }
    }
}

/// Why there is none.
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) detail: String,
    /// The row, where its sender can be corrected.
    pub(crate) target: Option<(ByteString, RowId)>,
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: &str) -> Self {
        Self { code, detail: detail.into(), target: None }
    }
}

/// Reads everything but the id. `frame` is the text in which the keys lie.
pub(crate) fn read_body<D: Dialect>(frame: &ByteString, keys: &Keys<'_>) -> Result<Body, Refusal> {
    let Some(table) = keys.table.and_then(json::decode_string).filter(|name| D::is_table(name)) else {
        return Err(Refusal::new(Code::BadTableName, "tableName is not a valid table name"));
    };
    let table = json::keep(frame, table);
    let Some(row) = keys.row.and_then(json::decode_string).and_then(|text| RowId::parse(&text)) else {
        return Err(Refusal::new(Code::BadRowId, "globalRowId is missing, empty or too long"));
    };
    let operation = keys.operation.and_then(json::decode_string);
    let Some(operation) = operation.and_then(|text| D::operation(&text)) else {
        // The columns are read only to find out whether the sender can be corrected.
        let correctable =
            read_fields::<D>(frame, keys).map_or_else(|problem| problem.names_are_valid(), |_| true);
        return Err(Refusal {
            target: correctable.then_some((table, row)),
            ..Refusal::new(Code::BadOperation, "operation is none of INSERT, UPDATE, DELETE")
        });
    };

    let (fields, filter_removal) = if operation == Operation::Delete {
        let fields = if is_link_table(&table) { read_link_fields::<D>(frame, keys) } else { Vec::new() };
        (fields, names_filter_removal(keys))
    } else {
        match read_fields::<D>(frame, keys) {
            Ok(fields) => (fields, false),
            Err(problem) => {
                let target = problem.names_are_valid().then_some((table, row));
                return Err(Refusal { code: problem.code(), detail: problem.detail(), target });
            }
        }
    };
    Ok(Body {
        table,
        operation,
        row,
        fields,
        timestamp_us: keys.timestamp.and_then(read_timestamp),
        synthesized: keys.synthesized,
        filter_removal,
    })
}

/// A timestamp as a number or in a string.
fn read_timestamp(raw: &str) -> Option<i64> {
    if raw.starts_with('"') { timestamp::parse(&json::decode_string(raw)?) } else { timestamp::parse(raw) }
}
