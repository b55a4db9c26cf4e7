//! Union rows: one row for each value of an enum whose cases hold values. The column `"case"` says which case it is, and clients
//! check that exactly the columns of that case are not null: `text`, or `photo__width` and `photo__height`. What two people made
//! of different cases must not be mixed, since no client stores a mixture. So a union row merges by row, and what names the case
//! says all of it.
//!
//! Clients upload the columns that changed. Another case names `"case"`, the columns of that case, and those of the case before,
//! as null. Another value of the same case names its columns alone: it says nothing unless the row is of that case still.

use alloc::string::String;

use lattice_protocol::names::UNION_CASE;
use lattice_protocol::{Change, Field, value};

use crate::merge::Moment;
use crate::mutation::Mutation;
use crate::rows::Row;
use crate::rules::Rule;

/// The rule by which a change is merged: by row where the change or the row names a case.
pub(crate) fn rule(row: &Row, change: &Change, rule: Rule) -> Rule {
    let is_union = row.field(UNION_CASE).is_some() || names_case(change);
    if is_union && !Mutation::MixedUnions.is_active() { Rule::Row } else { rule }
}

fn names_case(change: &Change) -> bool {
    change.fields.iter().any(|field| field.name == UNION_CASE)
}

/// Whether what a change says is of the case that the row has.
pub(crate) fn fits(row: &Row, change: &Change) -> bool {
    let Some(case) = row.field(UNION_CASE).filter(|_| row.exists) else { return true };
    if names_case(change) || Mutation::MisfitUnions.is_active() {
        return true;
    }
    let case = value::string_value(&case.value);
    // Where columns are named in another way, a value takes the place of another one.
    let replaces = |field: &Field| row.field(&field.name).is_some_and(|held| !is_nothing(&held.value));
    let fits = |field: &Field| {
        !value::is_null(&field.value) && (is_of(case.as_ref(), &field.name) || replaces(field))
    };
    change.fields.iter().all(fits)
}

/// Sets what is not of the row's case to null, once a change has been applied. Returns whether anything was. `existed`: the row was
/// there before the change, and not only fields of UPDATEs that came before its INSERT.
pub(crate) fn clear_other_cases(row: &mut Row, existed: bool, now: Moment) -> bool {
    let Some(held) = row.field(UNION_CASE) else { return false };
    if Mutation::MixedUnions.is_active() {
        return false;
    }
    let (case, sets_case) = (value::string_value(&held.value), held.stamp.seq == now.seq);
    let mut cleared = false;
    for field in row.fields.iter_mut().filter(|field| field.name != UNION_CASE) {
        let set = field.stamp.seq == now.seq;
        let keeps = match existed {
            true => set || !sets_case,
            false => set == sets_case || is_of(case.as_ref(), &field.name),
        };
        if !keeps && !value::is_null(&field.value) {
            field.value = value::null();
            field.stamp = now.stamp();
            field.shared = true;
            cleared = true;
        }
    }
    cleared
}

/// Whether a column is one of a case's, by its name.
fn is_of(case: Option<&String>, column: &str) -> bool {
    case.and_then(|case| column.strip_prefix(case.as_str()))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
}

/// Whether a column holds nothing: clients write a binary column that is null as an empty text.
fn is_nothing(wire: &[u8]) -> bool {
    value::is_null(wire) || value::string_value(wire).is_some_and(|text| text.is_empty())
}
