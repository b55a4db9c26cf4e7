//! One entry of a frame. Each is read on its own, so that what is wrong with one never keeps others from passing.

use alloc::{borrow::Cow, collections::BTreeMap, format, string::String, vec::Vec};
use bytestring::ByteString;

use crate::{
    Change, Code, EntryId, Field, Incoming, Operation, Refused, RowId, Spelling,
    change::{LINK_COLUMNS, is_link_table},
    json::{self, Elements, Members},
    limits::{MAX_ACK_ID_BYTES, MAX_COLUMNS},
    names::{self, FILTER_REMOVAL},
    timestamp, value,
};

/// Up to this many columns a search from one end to the other is faster than a tree.
const LINEAR_SEARCH_COLUMNS: usize = 32;

/// The keys of an entry that mean something, as written. Of a key that is written twice the last one counts, as for
/// clients; `null` is as good as absent.
#[derive(Default)]
struct Keys<'a> {
    id: Option<&'a str>,
    table: Option<&'a str>,
    row: Option<&'a str>,
    operation: Option<&'a str>,
    fields: Option<&'a str>,
    names: Option<&'a str>,
    timestamp: Option<&'a str>,
    synthesized: bool,
}

impl<'a> Keys<'a> {
    fn read(entry: &'a str) -> Option<Self> {
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
            "\"globalId\"" => self.id = given,
            "\"globalRowId\"" => self.row = given,
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

/// What is known so far of an entry that may yet be refused.
struct Entry<'a> {
    frame: &'a ByteString,
    raw: &'a str,
    ack: Option<ByteString>,
    id: Option<(EntryId, Spelling)>,
}

impl Entry<'_> {
    fn refuse(self, code: Code, detail: impl Into<String>, target: Option<(ByteString, RowId)>) -> Incoming {
        let raw = json::share(self.frame, self.raw).into_bytes();
        Incoming::Refused(Refused { ack: self.ack, id: self.id, target, code, detail: detail.into(), raw })
    }
}

/// Reads the entry `raw`, which is well-formed JSON and lies in `frame`.
pub(super) fn decode(frame: &ByteString, raw: &str) -> Incoming {
    let mut entry = Entry { frame, raw, ack: None, id: None };
    let Some(keys) = Keys::read(raw) else {
        return entry.refuse(Code::BadEntry, "the entry is not an object", None);
    };

    let id_text = keys.id.and_then(json::decode_string);
    entry.id = id_text.as_deref().and_then(EntryId::parse);
    entry.ack = id_text.filter(|text| text.len() <= MAX_ACK_ID_BYTES).map(|text| json::keep(frame, text));
    let Some((id, id_spelling)) = entry.id else {
        return entry.refuse(Code::BadEntryId, "globalId is not a UUID", None);
    };
    let Some(table) = keys.table.and_then(json::decode_string).filter(|name| names::is_valid_table(name))
    else {
        return entry.refuse(Code::BadTableName, "tableName is not a valid table name", None);
    };
    let table = json::keep(frame, table);
    let Some(row) = keys.row.and_then(json::decode_string).and_then(|text| RowId::parse(&text)) else {
        return entry.refuse(Code::BadRowId, "globalRowId is missing, empty or too long", None);
    };
    let operation = match keys.operation.and_then(json::decode_string).as_deref() {
        Some("INSERT") => Operation::Insert,
        Some("UPDATE") => Operation::Update,
        Some("DELETE") => Operation::Delete,
        _ => {
            // The columns are read only to find out whether the sender can be corrected.
            let correctable =
                read_fields(frame, &keys).map_or_else(|problem| problem.names_are_valid(), |_| true);
            let target = correctable.then_some((table, row));
            return entry.refuse(Code::BadOperation, "operation is none of INSERT, UPDATE, DELETE", target);
        }
    };

    let (fields, filter_removal) = if operation == Operation::Delete {
        let fields = if is_link_table(&table) { read_link_fields(frame, &keys) } else { Vec::new() };
        (fields, names_filter_removal(&keys))
    } else {
        match read_fields(frame, &keys) {
            Ok(fields) => (fields, false),
            Err(problem) => {
                let target = problem.names_are_valid().then_some((table, row));
                return entry.refuse(problem.code(), problem.detail(), target);
            }
        }
    };

    Incoming::Change(Change {
        id,
        id_spelling,
        table,
        operation,
        row,
        fields,
        timestamp_us: keys.timestamp.and_then(read_timestamp),
        synthesized: keys.synthesized,
        filter_removal,
        raw: json::share(frame, raw).into_bytes(),
    })
}

/// A timestamp as a number or in a string.
pub(super) fn read_timestamp(raw: &str) -> Option<i64> {
    if raw.starts_with('"') { timestamp::parse(&json::decode_string(raw)?) } else { timestamp::parse(raw) }
}

/// Text that holds an object or an array: in the entry itself or in a JSON string within it.
enum Nested<'a> {
    Absent,
    Inside(&'a str),
    Unescaped(ByteString),
}

impl<'a> Nested<'a> {
    /// `None` when there is something else than what opens with `opening`.
    fn read(raw: Option<&'a str>, opening: char) -> Option<Self> {
        let Some(raw) = raw else { return Some(Self::Absent) };
        if raw.starts_with(opening) {
            return Some(Self::Inside(raw));
        }
        // What a string holds has not been looked at yet.
        let opens = |text: &str| {
            serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
                && text.trim_ascii().starts_with(opening)
        };
        match json::decode_string(raw)? {
            // Older clients write an empty string for "nothing".
            Cow::Borrowed("") => Some(Self::Absent),
            Cow::Borrowed(text) => opens(text).then(|| Self::Inside(text.trim_ascii())),
            Cow::Owned(text) => opens(&text).then(|| Self::Unescaped(text.into())),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Inside(text) => Some(text),
            Self::Unescaped(text) => Some(text.trim_ascii()),
        }
    }

    /// The text whose memory slices of this one share.
    fn base<'b>(&'b self, frame: &'b ByteString) -> &'b ByteString {
        if let Self::Unescaped(text) = self { text } else { frame }
    }
}

/// A member of `changedFields`.
struct Column<'a> {
    /// The name; a key that is no text stands here with its quotes, so that it is no valid name.
    name: Cow<'a, str>,
    value: &'a str,
    /// Already listed: a name that is listed twice counts once.
    taken: bool,
}

/// Why the columns of a change cannot be accepted.
enum Problem {
    Shape(&'static str),
    Name,
    TooMany,
    Value(String),
}

impl Problem {
    fn code(&self) -> Code {
        match self {
            Self::Shape(_) => Code::BadEntry,
            Self::Name => Code::BadColumnName,
            Self::TooMany => Code::TooManyColumns,
            Self::Value(_) => Code::BadValue,
        }
    }

    /// Whether the names of all columns that count are valid.
    fn names_are_valid(&self) -> bool {
        matches!(self, Self::TooMany | Self::Value(_))
    }

    fn detail(self) -> String {
        match self {
            Self::Shape(detail) => detail.into(),
            Self::Name => "the name of a column is not a valid name".into(),
            Self::TooMany => format!("more than {MAX_COLUMNS} columns"),
            Self::Value(detail) => detail,
        }
    }
}

/// Reads the columns that count: those of `changedFields` that `changedFieldsNames` lists, or all when it is absent.
fn read_fields(frame: &ByteString, keys: &Keys<'_>) -> Result<Vec<Field>, Problem> {
    let fields = Nested::read(keys.fields, '{').ok_or(Problem::Shape("changedFields is not an object"))?;
    let names = Nested::read(keys.names, '[').ok_or(Problem::Shape("changedFieldsNames is not an array"))?;
    let mut reader = Reader::new(fields.base(frame), fields.text());
    if let Some(listed) = names.text() {
        for name in Elements::of(listed).into_iter().flatten().filter(|name| name.starts_with('"')) {
            reader.list(name);
        }
    } else {
        for (name, _) in fields.text().and_then(Members::of).into_iter().flatten() {
            reader.list(name);
        }
    }
    reader.finish()
}

struct Reader<'a> {
    base: &'a ByteString,
    columns: Vec<Column<'a>>,
    /// Where to find a column by its name, when there are many.
    index: BTreeMap<Cow<'a, str>, usize>,
    listed: usize,
    fields: Vec<Field>,
    problem: Option<Problem>,
}

impl<'a> Reader<'a> {
    fn new(base: &'a ByteString, object: Option<&'a str>) -> Self {
        let mut columns = Vec::new();
        // One more than can be accepted is enough to know that there are too many.
        for (key, value) in object.and_then(Members::of).into_iter().flatten().take(MAX_COLUMNS + 1) {
            if columns.is_empty() {
                columns.reserve(16);
            }
            columns.push(Column { name: decode_name(key), value, taken: false });
        }
        let mut index = BTreeMap::new();
        if columns.len() > LINEAR_SEARCH_COLUMNS {
            index.extend(columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at)));
        }
        let problem = (columns.len() > MAX_COLUMNS).then_some(Problem::TooMany);
        Self { base, columns, index, listed: 0, fields: Vec::new(), problem }
    }

    /// Counts the column with this name, which is written with its quotes.
    fn list(&mut self, name: &str) {
        let name = decode_name(name);
        if !names::is_valid_column(&name) {
            self.problem = Some(Problem::Name);
            return;
        }
        self.listed += 1;
        if self.listed > MAX_COLUMNS && !matches!(self.problem, Some(Problem::Name)) {
            self.problem = Some(Problem::TooMany);
        }
        if self.problem.is_some() {
            return;
        }
        let Some(column) = self.find(&name).and_then(|at| self.columns.get_mut(at)) else {
            return;
        };
        if core::mem::replace(&mut column.taken, true) {
            return;
        }
        match value::check(self.base, column.value) {
            Ok(value) => {
                let name = json::keep(self.base, column.name.clone());
                if self.fields.is_empty() {
                    self.fields.reserve_exact(self.columns.len());
                }
                self.fields.push(Field { name, value });
            }
            Err(reason) => self.problem = Some(Problem::Value(format!("the value of {name} is {reason}"))),
        }
    }

    /// The last column with this name, as clients keep the last of two equal keys.
    fn find(&self, name: &str) -> Option<usize> {
        if self.columns.len() > LINEAR_SEARCH_COLUMNS {
            return self.index.get(name).copied();
        }
        self.columns.iter().rposition(|column| column.name == name)
    }

    fn finish(self) -> Result<Vec<Field>, Problem> {
        self.problem.map_or(Ok(self.fields), Err)
    }
}

fn decode_name(json: &str) -> Cow<'_, str> {
    json::decode_string(json).unwrap_or(Cow::Borrowed(json))
}

/// The ends that a DELETE of a link row names, as far as they can be read.
fn read_link_fields(frame: &ByteString, keys: &Keys<'_>) -> Vec<Field> {
    let Some(object) = Nested::read(keys.fields, '{') else {
        return Vec::new();
    };
    let reader = Reader::new(object.base(frame), object.text());
    let end = |name: &&'static str| {
        let column = reader.columns.get(reader.find(name)?)?;
        let value = value::check(reader.base, column.value).ok()?;
        Some(Field { name: ByteString::from_static(name), value })
    };
    LINK_COLUMNS.iter().filter_map(end).collect()
}

/// Whether a DELETE means that the row left its sender's filter.
fn names_filter_removal(keys: &Keys<'_>) -> bool {
    let is_marker = |name: &str| decode_name(name) == FILTER_REMOVAL;
    let Some(names) = Nested::read(keys.names, '[') else {
        return false;
    };
    if let Some(listed) = names.text() {
        return Elements::of(listed).into_iter().flatten().any(is_marker);
    }
    let Some(fields) = Nested::read(keys.fields, '{') else {
        return false;
    };
    fields.text().and_then(Members::of).into_iter().flatten().any(|(name, _)| is_marker(name))
}
