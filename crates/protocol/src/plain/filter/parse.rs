//! Reads filters.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use bytes::Bytes;
use bytestring::ByteString;

use super::{Condition, Filter, Op, Operand};
use crate::{
    json::{self, Elements, Members},
    limits::{MAX_FILTER_CONDITIONS, MAX_FILTER_OPERANDS, MAX_FILTER_TABLES},
    names,
};

/// Reads a filter in one object, of which nothing is known yet.
pub(super) fn object(text: &Bytes) -> Result<Filter, String> {
    let text = core::str::from_utf8(text).map_err(|_| "the filter is not UTF-8")?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| "the filter is not JSON")?;
    let members = Members::of(text.trim_ascii()).ok_or("the filter is not an object")?;
    let (mut tables, mut conditions) = (None, None);
    for (key, raw) in members {
        let given = (raw != "null").then_some(raw);
        match json::decode_string(key).as_deref() {
            Some("tables") => tables = given,
            Some("where") => conditions = given,
            _ => {}
        }
    }
    filter(tables, conditions)
}

/// Reads a filter from its two parts, which are well-formed JSON.
pub(super) fn filter(tables: Option<&str>, conditions: Option<&str>) -> Result<Filter, String> {
    let mut reader = Reader { operands: 0, conditions: 0 };
    let tables = tables.map(read_tables).transpose()?;
    let conditions = conditions.map(|raw| reader.read_where(raw)).transpose()?.unwrap_or_default();
    if let Some(tables) = &tables
        && conditions.keys().any(|table| !tables.contains(table))
    {
        return Err("where names a table that tables does not".into());
    }
    Ok(Filter { tables, conditions })
}

fn read_tables(raw: &str) -> Result<BTreeSet<ByteString>, String> {
    let mut tables = BTreeSet::new();
    for (at, name) in Elements::of(raw).ok_or("tables is not an array")?.enumerate() {
        if at == MAX_FILTER_TABLES {
            return Err(format!("more than {MAX_FILTER_TABLES} tables"));
        }
        tables.insert(read_table(name)?);
    }
    // A subscription to nothing is a mistake, and easily taken for one to everything.
    if tables.is_empty() { Err("tables names no table".into()) } else { Ok(tables) }
}

fn read_table(raw: &str) -> Result<ByteString, String> {
    let name = json::decode_string(raw).filter(|name| names::is_valid_table(name));
    name.map(|name| ByteString::from(&*name)).ok_or_else(|| "a table's name is not a valid name".into())
}

struct Reader {
    conditions: usize,
    operands: usize,
}

impl Reader {
    fn read_where(
        &mut self,
        raw: &str,
    ) -> Result<BTreeMap<ByteString, BTreeMap<ByteString, Vec<Condition>>>, String> {
        let mut tables = BTreeMap::new();
        for (at, (table, columns)) in Members::of(raw).ok_or("where is not an object")?.enumerate() {
            if at == MAX_FILTER_TABLES {
                return Err(format!("conditions on more than {MAX_FILTER_TABLES} tables"));
            }
            let table = read_table(table)?;
            let columns = self.read_columns(columns)?;
            // Of a key that is written twice the last one counts, here and below.
            if columns.is_empty() {
                tables.remove(&table);
            } else {
                tables.insert(table, columns);
            }
        }
        Ok(tables)
    }

    fn read_columns(&mut self, raw: &str) -> Result<BTreeMap<ByteString, Vec<Condition>>, String> {
        let mut columns = BTreeMap::new();
        for (column, raw) in Members::of(raw).ok_or("the conditions of a table are not an object")? {
            let name = json::decode_string(column).filter(|name| names::is_valid_column(name));
            let name = name.ok_or("a column's name is not a valid name")?;
            let conditions = self.read_conditions(raw)?;
            if conditions.is_empty() {
                return Err(format!("no condition on {name}"));
            }
            columns.insert(ByteString::from(&*name), conditions);
        }
        Ok(columns)
    }

    /// The conditions on one column: an object of operators, or a value that it must equal.
    fn read_conditions(&mut self, raw: &str) -> Result<Vec<Condition>, String> {
        let is_value = |raw: &str| !raw.starts_with('{') || Operand::parse(raw).is_some();
        if is_value(raw) {
            let operand = self.read_operand(raw)?;
            self.count_condition()?;
            return Ok([Condition::Compare(Op::Eq, operand)].into());
        }
        let mut conditions = BTreeMap::new();
        for (key, raw) in Members::of(raw).into_iter().flatten() {
            self.count_condition()?;
            let key = json::decode_string(key).unwrap_or_default();
            let condition = if key == "in" {
                Condition::In(self.read_list(raw)?)
            } else {
                let known = Op::ALL.iter().find(|(_, name)| *name == key);
                let (op, _) = known.ok_or("an operator is none of eq, ne, lt, lte, gt, gte, in")?;
                Condition::Compare(*op, self.read_operand(raw)?)
            };
            conditions.insert(String::from(key), condition);
        }
        let mut conditions: Vec<Condition> = conditions.into_values().collect();
        conditions.sort_unstable();
        Ok(conditions)
    }

    fn read_list(&mut self, raw: &str) -> Result<Vec<Operand<'static>>, String> {
        let elements = Elements::of(raw).ok_or("the operand of in is not an array")?;
        let mut operands = elements.map(|raw| self.read_operand(raw)).collect::<Result<Vec<_>, _>>()?;
        operands.sort_unstable();
        operands.dedup();
        Ok(operands)
    }

    fn read_operand(&mut self, raw: &str) -> Result<Operand<'static>, String> {
        self.operands += 1;
        if self.operands > MAX_FILTER_OPERANDS {
            return Err(format!("more than {MAX_FILTER_OPERANDS} operands"));
        }
        Operand::parse(raw)
            .map(Operand::into_owned)
            .ok_or_else(|| "an operand is none of string, number, boolean, null".into())
    }

    fn count_condition(&mut self) -> Result<(), String> {
        self.conditions += 1;
        if self.conditions > MAX_FILTER_CONDITIONS {
            return Err(format!("more than {MAX_FILTER_CONDITIONS} conditions"));
        }
        Ok(())
    }
}
