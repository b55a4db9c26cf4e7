//! Entries as they are delivered: written once for each format and shared by everyone who reads that format.

use alloc::vec::Vec;
use bytes::Bytes;

use super::values::write_plain;
use crate::{
    Operation, Outgoing, RowKey,
    json::{write_escaped_bytes, write_string},
    native::write_uuid,
    timestamp,
};

/// How a client wants to be written to; `hello` says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Format {
    /// `changedFields`
    pub fields: FieldsFormat,
    /// `integers`
    pub integers: IntegersFormat,
}

/// How the fields of a change are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FieldsFormat {
    /// As a string that holds the JSON of an object.
    #[default]
    Text,
    /// As an object.
    Object,
}

/// How integers are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum IntegersFormat {
    /// As numbers.
    #[default]
    Number,
    /// As strings where a JavaScript number cannot hold them.
    Text,
}

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = 4;
    /// Every format, at its [`Format::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self { fields: FieldsFormat::Text, integers: IntegersFormat::Number },
        Self { fields: FieldsFormat::Object, integers: IntegersFormat::Number },
        Self { fields: FieldsFormat::Text, integers: IntegersFormat::Text },
        Self { fields: FieldsFormat::Object, integers: IntegersFormat::Text },
    ];

    /// A number below [`Format::COUNT`], for tables of what was written already.
    #[must_use]
    pub const fn index(self) -> usize {
        self.fields as usize + 2 * self.integers as usize
    }
}

/// Writes an entry as an element of `changes`. A DELETE is written without fields.
#[must_use]
pub fn encode_entry(entry: &Outgoing, format: Format) -> Bytes {
    let values: usize = entry.fields.iter().map(|field| field.name.len() + field.value.len() + 8).sum();
    let mut out = Vec::with_capacity(256 + values);
    out.extend_from_slice(br#"{"id":"#);
    write_uuid(&mut out, &entry.id.0, entry.id_spelling);
    out.extend_from_slice(br#","tableName":"#);
    write_string(&mut out, &entry.table);
    out.extend_from_slice(match entry.operation {
        Operation::Insert => br#","operation":"insert","globalRowId":"#,
        Operation::Update => br#","operation":"update","globalRowId":"#,
        Operation::Delete => br#","operation":"delete","globalRowId":"#,
    });
    match &entry.row.key {
        RowKey::Uuid(bytes) => write_uuid(&mut out, bytes, entry.row.spelling),
        RowKey::Text(text) => write_string(&mut out, text),
    }
    out.extend_from_slice(br#","changedFields":"#);
    match format.fields {
        FieldsFormat::Object => write_fields(&mut out, entry, format),
        FieldsFormat::Text => {
            let mut fields = Vec::with_capacity(16 + values);
            write_fields(&mut fields, entry, format);
            out.push(b'"');
            write_escaped_bytes(&mut out, &fields);
            out.push(b'"');
        }
    }
    out.extend_from_slice(br#","timestamp":"#);
    timestamp::write(&mut out, entry.time_us);
    if entry.taken_back && entry.operation == Operation::Delete {
        out.extend_from_slice(br#","reason":"filtered""#);
    }
    out.push(b'}');
    out.into()
}

fn write_fields(out: &mut Vec<u8>, entry: &Outgoing, format: Format) {
    out.push(b'{');
    if entry.operation != Operation::Delete {
        for (at, field) in entry.fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, &field.name);
            out.push(b':');
            write_plain(out, &field.value, format.integers == IntegersFormat::Text);
        }
    }
    out.push(b'}');
}
