//! The columns of a change, read the same way in both dialects.

use alloc::{borrow::Cow, collections::BTreeMap, format, string::String, vec::Vec};
use bytestring::ByteString;

use crate::{
    Code, Field,
    change::LINK_COLUMNS,
    entry::{Dialect, Keys},
    json::{self, Elements, Members},
    limits::MAX_COLUMNS,
    names::{self, FILTER_REMOVAL},
};

/// Up to this many columns a search from one end to the other is faster than a tree.
const LINEAR_SEARCH_COLUMNS: usize = 32;

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
pub(crate) enum Problem {
    Shape(&'static str),
    Name,
    TooMany,
    Value(String),
}

impl Problem {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Shape(_) => Code::BadEntry,
            Self::Name => Code::BadColumnName,
            Self::TooMany => Code::TooManyColumns,
            Self::Value(_) => Code::BadValue,
        }
    }

    /// Whether the names of all columns that count are valid.
    pub(crate) fn names_are_valid(&self) -> bool {
        matches!(self, Self::TooMany | Self::Value(_))
    }

    pub(crate) fn detail(self) -> String {
        match self {
            Self::Shape(detail) => detail.into(),
            Self::Name => "the name of a column is not a valid name".into(),
            Self::TooMany => format!("more than {MAX_COLUMNS} columns"),
            Self::Value(detail) => detail,
        }
    }
}

/// Reads the columns that count: those of `changedFields` that `changedFieldsNames` lists, or all when it is absent.
pub(crate) fn read_fields<D: Dialect>(frame: &ByteString, keys: &Keys<'_>) -> Result<Vec<Field>, Problem> {
    let fields = Nested::read(keys.fields, '{').ok_or(Problem::Shape("changedFields is not an object"))?;
    let names = Nested::read(keys.names, '[').ok_or(Problem::Shape("changedFieldsNames is not an array"))?;
    let mut reader = Reader::new(fields.base(frame), fields.text());
    if let Some(listed) = names.text() {
        for name in Elements::of(listed).into_iter().flatten().filter(|name| name.starts_with('"')) {
            reader.list::<D>(name);
        }
    } else {
        for (name, _) in fields.text().and_then(Members::of).into_iter().flatten() {
            reader.list::<D>(name);
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
    fn list<D: Dialect>(&mut self, name: &str) {
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
        match D::check(self.base, column.value) {
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
pub(crate) fn read_link_fields<D: Dialect>(frame: &ByteString, keys: &Keys<'_>) -> Vec<Field> {
    let Some(object) = Nested::read(keys.fields, '{') else {
        return Vec::new();
    };
    let reader = Reader::new(object.base(frame), object.text());
    let end = |name: &&'static str| {
        let column = reader.columns.get(reader.find(name)?)?;
        let value = D::check(reader.base, column.value).ok()?;
        Some(Field { name: ByteString::from_static(name), value })
    };
    LINK_COLUMNS.iter().filter_map(end).collect()
}

/// Whether a change has neither a name nor a value of any column.
pub(crate) fn names_nothing(keys: &Keys<'_>) -> bool {
    let is_empty = |raw: Option<&str>, open: char| match Nested::read(raw, open) {
        None => false,
        Some(nested) => nested.text().is_none_or(|text| text[1..].trim_ascii_start().len() <= 1),
    };
    is_empty(keys.names, '[') && is_empty(keys.fields, '{')
}

/// Whether a DELETE means that the row left its sender's filter.
pub(crate) fn names_filter_removal(keys: &Keys<'_>) -> bool {
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
