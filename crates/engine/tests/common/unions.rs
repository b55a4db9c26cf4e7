//! A union table as clients have it: one row for each value of an enum with three cases, one of them without values.

use bytes::Bytes;
use lattice_protocol::Operation;
use lattice_protocol::names::UNION_CASE;
use lattice_protocol::value::{integer, null, text};

use super::draw::Rng;
use super::history::Values;

/// Each case and its columns.
pub(crate) const CASES: [(&str, &[&str]); 3] =
    [("text", &["text"]), ("photo", &["photo__width", "photo__height"]), ("none", &[])];

/// Another value, set the way that clients set it: all columns. What is uploaded are those that changed.
pub(crate) fn edit(rng: &mut Rng, held: Option<&Values>) -> (Operation, Vec<(&'static str, Bytes)>) {
    if held.is_some() && rng.chance(15) {
        return (Operation::Delete, Vec::new());
    }
    // As often as not a value of the same case, which the upload then does not name.
    let same = held.and_then(|held| CASES.iter().find(|(case, _)| held.get(UNION_CASE) == Some(&text(case))));
    let (case, columns) = *same.filter(|_| rng.chance(50)).unwrap_or(rng.pick(&CASES));
    let mut values = vec![(UNION_CASE, text(case))];
    for column in CASES.iter().flat_map(|(_, columns)| *columns) {
        let value = if columns.contains(column) { integer(rng.below(3) as i64) } else { null() };
        values.push((column, value));
    }
    let Some(held) = held else { return (Operation::Insert, values) };
    values.retain(|(column, value)| held.get(*column).unwrap_or(&null()) != value);
    (Operation::Update, values)
}

/// What clients check: exactly the columns of the case are not null.
pub(crate) fn check(values: &Values) -> bool {
    let is_set = |column: &str| values.get(column).is_some_and(|value| *value != null());
    CASES.iter().any(|(case, own)| {
        values.get(UNION_CASE) == Some(&text(case))
            && CASES
                .iter()
                .flat_map(|(_, columns)| *columns)
                .all(|column| is_set(column) == own.contains(column))
    })
}
