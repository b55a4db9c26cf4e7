//! What people may be sent and may write, said once more in other words than the engine's, and what they were sent and
//! wrote, held against it.

use std::collections::BTreeSet;

use lattice_engine::{Effects, Permission, Policy, Role, Row, RowRef, Unlisted, Verdict};
use lattice_protocol::native::AckId;
use lattice_protocol::{Change, Code, Incoming, Operation, Outgoing};
use lattice_store::StoreError;
use lattice_store::directory::AccessRecord;
use lattice_store::sqlite::{View, directory, spaces};
use rusqlite::Connection;

use crate::people::User;

/// Every row of a space.
pub(crate) fn rows(db: &Connection, recent: &View, space: u32) -> Result<Vec<Row>, StoreError> {
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

/// Whether somebody may be sent a row.
pub(crate) fn may_read(access: &AccessRecord, user: User, row: &Row) -> bool {
    let Some(table) = table(&access.policy, &row.table) else { return false };
    let has = |least: Option<Role>| least.is_some_and(|least| access.role >= least);
    has(table.read.any) || (has(table.read.own) && (access.private || row.creator == Some(user)))
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
type At<'a> = (&'a Connection, &'a View, u32);

/// What was seen.
#[derive(Debug)]
pub struct Witness {
    people: Vec<User>,
    /// By space and user, rows that they might read at some time, or wrote: their ids are no secret to them.
    met: BTreeSet<(u32, User, RowRef)>,
}

impl Witness {
    /// Knows nothing of these people.
    pub(crate) fn new(people: Vec<User>) -> Self {
        Self { people, met: BTreeSet::new() }
    }

    /// What people may read is about to change: what they could read so far is no secret to them.
    pub(crate) fn closes(&mut self, (db, recent, space): At<'_>) -> Result<(), StoreError> {
        let rows = rows(db, recent, space)?;
        for user in &self.people {
            if let Some(access) = directory::access_in(db, space, *user)? {
                let readable = rows.iter().filter(|row| may_read(&access, *user, row));
                self.met.extend(readable.map(|row| (space, *user, row.reference())));
            }
        }
        Ok(())
    }

    /// Something is about to be sent to a user.
    pub(crate) fn sent<'a>(
        &self,
        (db, recent, space): At<'_>,
        user: User,
        entries: impl IntoIterator<Item = &'a Outgoing>,
    ) -> Result<Option<String>, StoreError> {
        let access = directory::access_in(db, space, user)?;
        for entry in entries {
            let Some(access) = &access else {
                return Ok(Some(format!("{} was sent to somebody without access", entry.id)));
            };
            let reference = RowRef { table: entry.table.clone(), key: entry.row.key.clone() };
            let row = spaces::row(db, recent, space, &reference)?;
            let readable = row.is_some_and(|row| may_read(access, user, &row));
            let known = || {
                entry.operation == Operation::Delete && self.met.contains(&(space, user, reference.clone()))
            };
            if !readable && !known() {
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
