//! People, the spaces that they share, and how what they may do there changes: by the real statements of the directory.

use std::sync::Arc;

use lattice_engine::{MintKey, Minter, Permission, Policy, Role, Rules, SpaceId, TablePolicy, Unlisted};
use lattice_store::StoreError;
use lattice_store::accounts::UserId;
use lattice_store::directory::{Answer, NewSpace, SpaceChange, SpaceKind};
use lattice_store::spaces::Space;
use lattice_store::sqlite::directory::statements;
use rusqlite::{Connection, params};

use crate::rng::Rng;

/// A user's id.
pub type User = [u8; 16];

/// Something that changes what people may do in a space.
#[derive(Clone, Debug)]
pub enum Act {
    /// Another policy.
    Policy(Policy),
    /// Somebody becomes a member.
    Add(User, Role),
    /// A member becomes an editor or a viewer.
    Role(User, Role),
    /// A member is removed.
    Remove(User),
    /// Another member becomes the owner, the owner an editor.
    Transfer(User),
    /// The space takes changes no more, or again.
    Archive(bool),
}

/// Makes an account.
///
/// # Errors
/// What the database says.
pub fn make_user(db: &Connection, user: User) -> Result<(), StoreError> {
    let email = format!("{:032x}@example.org", u128::from_be_bytes(user));
    let sql = "INSERT INTO users (id, email, created_us) VALUES (?1, ?2, 0)";
    db.prepare_cached(sql)?.execute(params![user, email])?;
    Ok(())
}

/// Makes a shared or public space.
///
/// # Errors
/// What the database says.
pub fn make_space(
    db: &Connection,
    rng: &mut Rng,
    owner: User,
    kind: SpaceKind,
    rules: Rules,
) -> Result<Arc<Space>, StoreError> {
    let (id, key) = (SpaceId(rng.uuid()), MintKey(rng.bytes()));
    let new = NewSpace { owner: UserId(owner), kind, name: String::new(), max_owned: u32::MAX, now_us: 0 };
    let made = statements::create_space(db, &new, id.0, "field")?;
    made.map_err(|denied| StoreError::Database(format!("no space was made: {denied:?}")))?;
    let no = db.query_row("SELECT no FROM space WHERE id = ?1", [id.0], |row| row.get(0))?;
    Ok(Arc::new(Space {
        no,
        id,
        private: kind == SpaceKind::Private,
        rules,
        minter: Minter::new(key, id, 1, 0),
    }))
}

/// Who owns a space.
///
/// # Errors
/// What the database says.
pub fn owner(db: &Connection, space: u32) -> Result<User, StoreError> {
    let mut statement = db.prepare_cached("SELECT owner FROM space WHERE no = ?1")?;
    Ok(statement.query_row([space], |row| row.get(0))?)
}

/// Does it, in the transaction that is under way. Some acts make no sense at the moment, and are denied.
///
/// # Errors
/// What the database says.
pub fn perform(db: &Connection, space: &Space, act: &Act) -> Result<bool, StoreError> {
    let (owner, id) = (UserId(owner(db, space.no)?), space_id(db, space.no)?);
    let done = match act {
        Act::Policy(policy) => statements::set_policy(db, owner, id, policy, None)?,
        Act::Add(user, role) => {
            let is_member = "SELECT 1 FROM member WHERE space = ?1 AND user = ?2";
            if db.prepare_cached(is_member)?.exists(params![space.no, user])? {
                return Ok(false);
            }
            Ok(statements::add_member(db, (space.no, id.0), UserId(*user), *role, 0)?)
        }
        Act::Role(user, role) => statements::set_role(db, owner, id, UserId(*user), *role)?,
        Act::Remove(user) => statements::remove_member(db, owner, id, UserId(*user))?,
        Act::Transfer(user) => statements::transfer(db, owner, id, UserId(*user), u32::MAX)?,
        Act::Archive(archived) => {
            let change = SpaceChange { name: None, archived: Some(*archived) };
            let changed: Answer<_> = statements::change_space(db, owner, id, &change, 0)?;
            changed.map(|_| ())
        }
    };
    Ok(done.is_ok())
}

/// The id under which the database has a space. That of a private one is its owner's.
fn space_id(db: &Connection, space: u32) -> Result<SpaceId, StoreError> {
    let mut statement = db.prepare_cached("SELECT id FROM space WHERE no = ?1")?;
    Ok(SpaceId(statement.query_row([space], |row| row.get(0))?))
}

fn permission(rng: &mut Rng, usual: Role) -> Permission {
    match rng.below(10) {
        0 => Permission::NOBODY,
        1 => Permission::from(Role::Owner),
        2 => Permission::from(Role::Editor),
        3 => Permission { any: Some(Role::Owner), own: Some(Role::Viewer) },
        4 => Permission { any: None, own: Some(Role::Viewer) },
        _ => Permission::from(usual),
    }
}

/// A policy that names some of these tables.
pub fn draw_policy(rng: &mut Rng, tables: &[&str]) -> Policy {
    if rng.chance(30) {
        return Policy::default();
    }
    let table = |rng: &mut Rng| TablePolicy {
        read: permission(rng, Role::Viewer),
        insert: permission(rng, Role::Editor),
        update: permission(rng, Role::Editor),
        delete: permission(rng, Role::Editor),
    };
    let mut policy = Policy::default();
    if rng.chance(50) {
        policy.default = table(rng);
    }
    for name in tables {
        if rng.chance(40) {
            policy.tables.insert((*name).to_owned(), table(rng));
        }
    }
    if rng.chance(15) {
        policy.unlisted_tables = Unlisted::Deny;
    }
    if rng.chance(20) {
        policy.max_deletes_per_frame = Some(rng.between(0, 2) as u32);
    }
    policy
}
