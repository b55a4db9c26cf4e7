//! What people may be sent and may write, said once more in other words than the engine's, and what they were sent and
//! wrote, held against it.

use std::collections::BTreeSet;

use lattice_engine::{Effects, Permission, Policy, Role, Row, RowRef, Unlisted, Verdict};
use lattice_protocol::native::AckId;
use lattice_protocol::{Change, Code, Incoming, Operation, value};
use lattice_store::StoreError;
use lattice_store::directory::AccessRecord;
use lattice_store::sqlite::{Snapshot, directory, spaces};
use rusqlite::Connection;

use crate::driver::SeenEntry;
use crate::people::User;

/// Every row of a space.
pub(crate) fn rows(db: &Connection, recent: &Snapshot, space: u32) -> Result<Vec<Row>, StoreError> {
    let everything = lattice_engine::PullRequest::page(0, usize::MAX, usize::MAX);
    Ok(spaces::pull(db, recent, space, &everything)?.rows)
}

fn table<'a>(policy: &'a Policy, table: &str) -> Option<&'a lattice_engine::TablePolicy> {
    match policy.tables.get(table) {
        Some(named) => Some(named),
        None if policy.unlisted_tables == Unlisted::Deny => None,
        None => Some(&policy.default),
    }
}

/// Whether somebody may be sent rows of a table that are their own, or not.
fn may_read_of(access: &AccessRecord, name: &str, own: bool) -> bool {
    let Some(table) = table(&access.policy, name) else { return false };
    let has = |least: Option<Role>| least.is_some_and(|least| access.role >= least);
    has(table.read.any) || (has(table.read.own) && (access.private || own))
}

/// Whether somebody may be sent a row: a link only with the item and the note that it names. One of these that nobody has made yet might
/// become their own, or, where links may lead to any table, anybody's. `rows` are all of the space.
pub(crate) fn may_read(access: &AccessRecord, user: User, row: &Row, rows: &[Row]) -> bool {
    let goes_with = |(column, table): (&str, &str)| {
        if row.field(column).is_none() {
            return true;
        }
        let maker = maker_of(row, column, table, rows);
        let anything = maker.is_none() && column == "rhs" && *row.table == *"_Item_Note_any";
        anything || may_read_of(access, table, maker.is_none_or(|maker| maker == user))
    };
    may_read_of(access, &row.table, row.creator == Some(user)) && ENDS.into_iter().all(goes_with)
}

/// What links name, by column.
const ENDS: [(&str, &str); 2] = [("lhs", "Item"), ("rhs", "Note")];

/// Who made the row that a link names, if anybody has.
fn maker_of(link: &Row, column: &str, table: &str, rows: &[Row]) -> Option<User> {
    let id = link.field(column).and_then(|field| value::string_value(&field.value))?;
    let is_it = |other: &&Row| *other.table == *table && other.id.to_text().eq_ignore_ascii_case(&id);
    rows.iter().find(is_it).and_then(|other| other.creator)
}

/// Whether somebody has made both rows that a link names.
fn names_made(link: &Row, rows: &[Row]) -> bool {
    ENDS.into_iter().all(|(column, table)| maker_of(link, column, table, rows).is_some())
}

/// How a permission stands to somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Never,
    Own,
    Always,
}

fn right(permission: Permission, role: Role) -> Right {
    match permission {
        Permission { any: Some(least), .. } if role >= least => Right::Always,
        Permission { own: Some(least), .. } if role >= least => Right::Own,
        _ => Right::Never,
    }
}

/// A space, as of a snapshot.
type At<'a> = (&'a Connection, &'a Snapshot, u32);

/// What was seen.
#[derive(Debug)]
pub struct Witness {
    people: Vec<User>,
    /// By space and user, rows that they might read at some time, or wrote: their ids are no secret to them.
    met: BTreeSet<(u32, User, RowRef)>,
    /// By space, links that were there before a row that they name. From when on a view was shown is not remembered: they may be taken back
    /// from people who could not see them yet.
    early: BTreeSet<(u32, RowRef)>,
}

impl Witness {
    /// Knows nothing of these people.
    pub(crate) fn new(people: Vec<User>) -> Self {
        Self { people, met: BTreeSet::new(), early: BTreeSet::new() }
    }

    /// What people may read is about to change: what they could read so far is no secret to them.
    pub(crate) fn closes(&mut self, (db, recent, space): At<'_>) -> Result<(), StoreError> {
        let rows = rows(db, recent, space)?;
        for user in &self.people {
            if let Some(access) = directory::access_in(db, space, *user)? {
                let readable = rows.iter().filter(|row| may_read(&access, *user, row, &rows));
                self.met.extend(readable.map(|row| (space, *user, row.reference())));
            }
        }
        Ok(())
    }

    /// An upload is about to be merged. It may create the end of a link, and close the link to people who could read it so far.
    pub(crate) fn merges(&mut self, at: At<'_>) -> Result<(), StoreError> {
        let (db, recent, space) = at;
        let all = rows(db, recent, space)?;
        let is_early = |row: &&Row| row.pair.is_some() && row.is_live() && !names_made(row, &all);
        self.early.extend(all.iter().filter(is_early).map(|row| (space, row.reference())));
        if self.early.is_empty() { Ok(()) } else { self.closes(at) }
    }

    /// Something is about to be sent to a user.
    pub(crate) fn sent(
        &self,
        (db, recent, space): At<'_>,
        user: User,
        entries: &[SeenEntry],
    ) -> Result<Option<String>, StoreError> {
        let access = directory::access_in(db, space, user)?;
        let links = entries.iter().any(|entry| entry.row.table.starts_with('_'));
        let all = if links { rows(db, recent, space)? } else { Vec::new() };
        for entry in entries {
            let Some(access) = &access else {
                return Ok(Some(format!("{} was sent to somebody without access", entry.id)));
            };
            let row = spaces::row(db, recent, space, &entry.row)?;
            let deletes = entry.operation == Operation::Delete;
            let harmless = match &row {
                Some(row) => may_read(access, user, row, &all),
                // There has never been such a row.
                None => deletes,
            };
            let met = self.met.contains(&(space, user, entry.row.clone()));
            // What is sent was read a moment ago: then the end of such a link may not have been there.
            let early = self.early.contains(&(space, entry.row.clone()));
            let known = || if deletes { met || early } else { met && early };
            if !harmless && !known() {
                return Ok(Some(format!("{entry:?} was sent to somebody who may not see it")));
            }
        }
        Ok(None)
    }

    /// An upload was merged, in the transaction that is under way.
    pub(crate) fn merged(
        &mut self,
        (db, recent, space): At<'_>,
        user: User,
        incoming: &[Incoming],
        effects: &Effects,
    ) -> Result<Option<String>, StoreError> {
        for incoming in incoming {
            let reference = match incoming {
                Incoming::Change(change) => {
                    Some(RowRef { table: change.table.clone(), key: change.row.key.clone() })
                }
                Incoming::Refused(refused) => refused
                    .target
                    .as_ref()
                    .map(|(table, row)| RowRef { table: table.clone(), key: row.key.clone() }),
            };
            self.met.extend(reference.map(|reference| (space, user, reference)));
        }
        let Some(access) = directory::access_in(db, space, user)? else {
            return Ok(Some("an upload of somebody without access was merged".to_owned()));
        };
        let deletes = |counted: &dyn Fn(&Change) -> bool| {
            let all = incoming.iter().filter_map(|incoming| match incoming {
                Incoming::Change(change) => Some(change),
                Incoming::Refused(_) => None,
            });
            all.filter(|change| change.operation == Operation::Delete && !change.filter_removal)
                .filter(|change| counted(change))
                .count()
        };
        let most = access.policy.max_deletes_per_frame.map_or(usize::MAX, |most| most as usize);
        let logged = |change: &Change| effects.log.iter().any(|record| record.id == change.id);
        let all_new = incoming.len() == effects.log.len();
        for (incoming, outcome) in incoming.iter().zip(&effects.outcomes) {
            let Incoming::Change(change) = incoming else { continue };
            if outcome.ack.as_ref().is_some_and(|ack| *ack != AckId::Uuid(change.id, change.id_spelling)) {
                return Ok(Some(format!("{} was answered as {:?}", change.id, outcome.ack)));
            }
            let reference = RowRef { table: change.table.clone(), key: change.row.key.clone() };
            let row = spaces::row(db, recent, space, &reference)?;
            let own = access.private || row.is_some_and(|row| row.creator == Some(user));
            let table = table(&access.policy, &change.table);
            let rights: Vec<Right> = match (table, change.operation) {
                (None, _) => vec![Right::Never],
                (Some(table), Operation::Insert) => {
                    vec![right(table.insert, access.role), right(table.update, access.role)]
                }
                (Some(table), Operation::Update) => vec![right(table.update, access.role)],
                (Some(table), Operation::Delete) => vec![right(table.delete, access.role)],
            };
            let problem = match outcome.verdict {
                Verdict::Applied | Verdict::Merged => {
                    let permitted = !access.archived
                        && rights
                            .iter()
                            .any(|right| *right == Right::Always || (*right == Right::Own && own))
                        && !(change.operation == Operation::Delete && deletes(&logged) > most);
                    (!permitted).then_some("is not permitted and was taken")
                }
                Verdict::Rejected(
                    Code::Forbidden
                    | Code::NotCreator
                    | Code::TableNotAllowed
                    | Code::TooManyDeletes
                    | Code::SpaceArchived,
                ) => {
                    let permitted = !access.archived
                        && rights.iter().all(|right| *right == Right::Always)
                        && deletes(&|_| true) <= most;
                    permitted.then_some("is permitted and was refused")
                }
                _ => None,
            };
            if let (Some(problem), true) = (problem, all_new || logged(change)) {
                return Ok(Some(format!("{change:?} {problem} ({:?}, {access:?})", outcome.verdict)));
            }
        }
        Ok(None)
    }
}
