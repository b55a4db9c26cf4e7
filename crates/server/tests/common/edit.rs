//! Random local edits, and what must hold of their results.

use lattice_protocol::{Field, RowId, RowKey, value};
use lattice_sim::rng::Rng;

use super::device::{CHILD, Device, ITEM, LINK, PARENT, field, row_id, schema};

/// Rows of each table: few, so that clients meet.
const ROWS: usize = 6;

/// A row of one of the tables. Both users use the same ids.
fn some_row(rng: &mut Rng, table: usize) -> RowId {
    row_id(1_000 * table as u64 + rng.below(ROWS) as u64)
}

/// One local edit. Values name the user they belong to.
pub fn edit(device: &mut Device, user: &str) {
    let mut rng = device.rng.clone();
    let table = *rng.pick(&[ITEM, ITEM, PARENT, CHILD]);
    let row = some_row(&mut rng, table);
    let mut text = || value::text(&format!("{user} {}", rng.below(1_000_000)));
    let mut fields: Vec<Field> = vec![field("name", text())];
    if table == ITEM {
        fields.push(field("note", text()));
    }
    let exists = device.row(table, &row).is_some();
    match rng.below(10) {
        0 | 1 if exists => device.delete(table, &row),
        2 | 3 => {
            let (parent, child) = (some_row(&mut rng, PARENT), some_row(&mut rng, CHILD));
            let id = RowId { key: RowKey::Uuid(rng.uuid()), spelling: row.spelling };
            let (lhs, rhs) = (value::text(&parent.to_text()), value::text(&child.to_text()));
            let label = device.label();
            // Does nothing where this pair is linked.
            device.db.insert(label, LINK, id, vec![field("lhs", lhs), field("rhs", rhs)]);
        }
        4 => {
            let link = device.db.rows().keys().find(|(table, _)| *table == LINK).cloned();
            if let Some((_, key)) = link {
                let label = device.label();
                device.db.delete(label, LINK, &key);
            }
        }
        _ if exists => {
            fields.truncate(1 + rng.below(2));
            device.update(table, &row, fields);
        }
        _ => device.insert(table, &row, fields),
    }
    // Ids and choices come from one sequence.
    for _ in 0..4 {
        device.rng.bytes();
    }
}

/// Nothing of one user is in a replica of another.
#[track_caller]
pub fn assert_own(device: &Device, user: &str) {
    for ((table, _), row) in device.db.rows() {
        let name = schema()[*table].columns.iter().position(|column| column == "name");
        let text =
            name.and_then(|name| row.values[name].clone()).and_then(|value| value::string_value(&value));
        if let Some(text) = text.filter(|text| text != "settled") {
            assert!(text.starts_with(user), "{} holds {text:?}", device.name);
        }
    }
}
