//! Which rows a subscription is about.

mod operand;
mod parse;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{json, limits::MAX_FILTER_BYTES};
use operand::Operand;

/// What a subscription asks for: some tables, and of some tables some rows. Everything by default.
///
/// Two filters are equal exactly if their [canonical](Self::canonical) texts are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// The tables; `None` for all.
    tables: Option<BTreeSet<ByteString>>,
    /// What rows of a table must fulfil, all of it; tables without conditions are absent.
    conditions: BTreeMap<ByteString, BTreeMap<ByteString, Vec<Condition>>>,
}

/// A condition on a column, in the order in which they are written canonically.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Condition {
    Compare(Op, Operand<'static>),
    /// Sorted, each once.
    In(Vec<Operand<'static>>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Op {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Op {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Eq, "eq"),
        (Self::Ne, "ne"),
        (Self::Lt, "lt"),
        (Self::Lte, "lte"),
        (Self::Gt, "gt"),
        (Self::Gte, "gte"),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(op, _)| *op == self).map_or("eq", |(_, name)| name)
    }
}

impl Condition {
    /// Whether a value fulfils it.
    ///
    /// `eq` and `in` mean the same value, null included; `ne` is the opposite of `eq`, so a null differs from everything
    /// but null. The others hold between two numbers or two texts only.
    fn holds(&self, value: &Operand<'_>) -> bool {
        match self {
            Self::In(operands) => operands.binary_search(value).is_ok(),
            Self::Compare(Op::Eq, operand) => value == operand,
            Self::Compare(Op::Ne, operand) => value != operand,
            Self::Compare(op, operand) => value.compare(operand).is_some_and(|order| match op {
                Op::Lt => order.is_lt(),
                Op::Lte => order.is_le(),
                Op::Gt => order.is_gt(),
                _ => order.is_ge(),
            }),
        }
    }
}

/// Whether two wire values mean the same, however they are written and whatever their kinds: a client that passes an entry on
/// writes it anew.
#[must_use]
pub fn same_value(a: &[u8], b: &[u8]) -> bool {
    a == b || Operand::same_bytes(a, b) || Operand::of_wire(Some(a)) == Operand::of_wire(Some(b))
}

impl Filter {
    /// Reads `{"tables":[…],"where":{…}}`, which is what [`Filter::canonical`] writes. The text itself may have any size.
    ///
    /// # Errors
    ///
    /// A sentence for people, of a filter that would be refused with [`crate::Code::BadFilter`].
    pub fn parse(text: &Bytes) -> Result<Self, String> {
        parse::object(text)
    }

    pub(super) fn read(tables: Option<&str>, conditions: Option<&str>) -> Result<Self, String> {
        if [tables, conditions].into_iter().flatten().any(|part| part.len() > MAX_FILTER_BYTES) {
            return Err(format!("tables or where is larger than {MAX_FILTER_BYTES} bytes"));
        }
        parse::filter(tables, conditions)
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.tables.is_none() && self.conditions.is_empty()
    }

    /// Whether rows of this table can match at all.
    #[must_use]
    pub fn names_table(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.contains(table))
    }

    /// The columns that decide about rows of a table, each once.
    pub fn columns(&self, table: &str) -> impl Iterator<Item = &str> {
        self.conditions.get(table).into_iter().flatten().map(|(column, _)| &**column)
    }

    /// Whether a row of `table` matches; `value` yields the wire bytes of a column, `None` where the row has none, which
    /// counts as null.
    pub fn matches<'a>(&self, table: &str, mut value: impl FnMut(&str) -> Option<&'a [u8]>) -> bool {
        self.names_table(table)
            && self.conditions.get(table).into_iter().flatten().all(|(column, conditions)| {
                let value = Operand::of_wire(value(column));
                conditions.iter().all(|condition| condition.holds(&value))
            })
    }

    /// The filter as one text, the same for all that say the same up to the order of keys, tables and conditions, the
    /// spelling of texts and numbers, and `"a":1` for `"a":{"eq":1}`.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = Vec::new();
        out.push(b'{');
        if let Some(tables) = &self.tables {
            out.extend_from_slice(br#""tables":"#);
            write_list(&mut out, b"[]", tables, |out, table| json::write_string(out, table));
        }
        if !self.conditions.is_empty() {
            if self.tables.is_some() {
                out.push(b',');
            }
            out.extend_from_slice(br#""where":"#);
            write_list(&mut out, b"{}", &self.conditions, |out, (table, columns)| {
                json::write_string(out, table);
                out.push(b':');
                write_list(out, b"{}", columns, |out, (column, conditions)| {
                    json::write_string(out, column);
                    out.push(b':');
                    write_list(out, b"{}", conditions, |out, condition| condition.write(out));
                });
            });
        }
        out.push(b'}');
        // All that was written was text.
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Condition {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Compare(op, operand) => {
                json::write_string(out, op.as_str());
                out.push(b':');
                operand.write(out);
            }
            Self::In(operands) => {
                out.extend_from_slice(br#""in":"#);
                write_list(out, b"[]", operands, |out, operand| operand.write(out));
            }
        }
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(brackets[0]);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(brackets[1]);
}
