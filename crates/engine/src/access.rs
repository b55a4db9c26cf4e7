//! Who may do what in a space: roles, and the policy that says what a role may do to the rows of a table.
//!
//! A policy is data, kept with its space. Whether a change is permitted is asked change by change, inside the transaction
//! that stores it ([`Access::refusal`]); what a connection may be sent is asked row by row ([`crate::View`]).

use alloc::collections::BTreeMap;
use alloc::string::String;

use lattice_protocol::{Code, Operation};
use serde::{Deserialize, Serialize};

use crate::rows::Row;
use crate::rules::Rule;

/// Most tables that a policy may name.
pub const MAX_POLICY_TABLES: usize = 1_000;

/// What a member is in a space. Each role may do what the ones before it may, unless a policy says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Editor,
    /// Reads and writes, and decides who else may.
    Owner,
}

impl Role {
    /// The role's name on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "viewer" => Some(Self::Viewer),
            "editor" => Some(Self::Editor),
            "owner" => Some(Self::Owner),
            _ => None,
        }
    }
}

/// Least roles for one kind of act on the rows of a table.
///
/// As JSON: a role, which holds for all rows; `"nobody"`; or `{"any": ROLE, "own": ROLE}`, where what is absent is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "PermissionForm", into = "PermissionForm")]
pub struct Permission {
    /// From which role on it may be done to every row; `None`: by nobody.
    pub any: Option<Role>,
    /// From which role on it may be done to rows that one created oneself; `None`: by nobody, unless `any` permits it.
    pub own: Option<Role>,
}

impl Permission {
    /// From this role on, to every row.
    #[must_use]
    pub const fn from(role: Role) -> Self {
        Self { any: Some(role), own: None }
    }

    /// By nobody.
    pub const NOBODY: Self = Self { any: None, own: None };

    /// How much of the table `role` may do it to.
    #[must_use]
    pub fn reach(self, role: Role) -> Reach {
        let covers = |least: Option<Role>| least.is_some_and(|least| role >= least);
        if covers(self.any) {
            Reach::All
        } else if covers(self.own) {
            Reach::Own
        } else {
            Reach::Nothing
        }
    }
}

/// How much of a table an act may concern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// No row.
    Nothing,
    /// Rows that one created oneself.
    Own,
    /// Every row.
    All,
}

/// A permission as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PermissionForm {
    Plain(PlainPermission),
    Split(SplitPermission),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlainPermission {
    Nobody,
    Viewer,
    Editor,
    Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitPermission {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<Role>,
}

impl core::convert::From<PermissionForm> for Permission {
    fn from(form: PermissionForm) -> Self {
        match form {
            PermissionForm::Plain(PlainPermission::Nobody) => Self::NOBODY,
            PermissionForm::Plain(PlainPermission::Viewer) => Self::from(Role::Viewer),
            PermissionForm::Plain(PlainPermission::Editor) => Self::from(Role::Editor),
            PermissionForm::Plain(PlainPermission::Owner) => Self::from(Role::Owner),
            PermissionForm::Split(SplitPermission { any, own }) => Self { any, own },
        }
    }
}

impl core::convert::From<Permission> for PermissionForm {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission { any: None, own: None } => Self::Plain(PlainPermission::Nobody),
            Permission { any: Some(Role::Viewer), own: None } => Self::Plain(PlainPermission::Viewer),
            Permission { any: Some(Role::Editor), own: None } => Self::Plain(PlainPermission::Editor),
            Permission { any: Some(Role::Owner), own: None } => Self::Plain(PlainPermission::Owner),
            Permission { any, own } => Self::Split(SplitPermission { any, own }),
        }
    }
}

/// What may be done to the rows of one table. What is absent in JSON is as in the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TablePolicy {
    /// Being sent rows.
    pub read: Permission,
    /// Creating rows, and reviving deleted ones.
    pub insert: Permission,
    /// Setting fields of rows that exist.
    pub update: Permission,
    /// Deleting rows.
    pub delete: Permission,
    /// How concurrent changes of a row are merged; `None`: as the space was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Rule>,
}

impl Default for TablePolicy {
    /// Everybody reads, editors write.
    fn default() -> Self {
        Self {
            read: Permission::from(Role::Viewer),
            insert: Permission::from(Role::Editor),
            update: Permission::from(Role::Editor),
            delete: Permission::from(Role::Editor),
            merge: None,
        }
    }
}

/// What a space lets its members do. The default lets everybody read and editors write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// For tables that are not named in `tables`.
    pub default: TablePolicy,
    /// By table name.
    pub tables: BTreeMap<String, TablePolicy>,
    /// Whether tables that are not named in `tables` may be written at all.
    pub unlisted_tables: Unlisted,
    /// Most DELETEs of one frame; a frame with more has all of them refused. `None`: no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deletes_per_frame: Option<u32>,
}

/// What happens to tables that a policy does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// The default permissions hold.
    #[default]
    Allow,
    /// Nobody writes or is sent them.
    Deny,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default: TablePolicy::default(),
            tables: BTreeMap::new(),
            unlisted_tables: Unlisted::Allow,
            max_deletes_per_frame: None,
        }
    }
}

impl Policy {
    /// What holds for a table; `None` when it is not named and unlisted tables are denied.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<&TablePolicy> {
        self.tables.get(table).or(match self.unlisted_tables {
            Unlisted::Allow => Some(&self.default),
            Unlisted::Deny => None,
        })
    }

    /// How concurrent changes of a table's rows are merged, where the policy says so.
    #[must_use]
    pub fn merge_of(&self, table: &str) -> Option<Rule> {
        self.tables.get(table).unwrap_or(&self.default).merge
    }

    /// What is wrong with the policy: too many tables, or a name that no table can have.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        if self.tables.len() > MAX_POLICY_TABLES {
            return Some("a policy names at most 1000 tables");
        }
        let valid = |name: &String| lattice_protocol::names::is_valid_table(name);
        (!self.tables.keys().all(valid)).then_some("a policy names a table that cannot be synced")
    }
}

/// What one user may do in one space, as it stands at the moment of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The user.
    pub user: [u8; 16],
    /// Their role.
    pub role: Role,
    /// The space's policy.
    pub policy: &'a Policy,
    /// The space takes no changes any more.
    pub archived: bool,
    /// Every row of the space is the user's own: it is their private one.
    pub private: bool,
}

impl Access<'_> {
    /// Why a change is not permitted, if so. `row` is the state that it meets.
    #[must_use]
    pub fn refusal(&self, table: &str, operation: Operation, row: Option<&Row>) -> Option<Code> {
        if self.archived {
            return Some(Code::SpaceArchived);
        }
        let Some(policy) = self.policy.of(table) else { return Some(Code::TableNotAllowed) };
        let exists = row.is_some_and(|row| row.exists && !row.deleted);
        let permission = match operation {
            // An INSERT over a live row sets its fields.
            Operation::Insert if exists => policy.update,
            Operation::Insert => policy.insert,
            Operation::Update => policy.update,
            Operation::Delete => policy.delete,
        };
        // A row that nobody has created yet is created by its INSERT; nothing else may count as done to one's own.
        let unborn = operation == Operation::Insert && row.is_none_or(|row| row.creator.is_none());
        match permission.reach(self.role) {
            Reach::All => None,
            Reach::Own if unborn || row.is_some_and(|row| self.owns(row)) => None,
            Reach::Own => Some(Code::NotCreator),
            Reach::Nothing => Some(Code::Forbidden),
        }
    }

    /// Whether the user created the row.
    #[must_use]
    pub fn owns(&self, row: &Row) -> bool {
        self.private || row.creator == Some(self.user)
    }
}

/// Which versions of an app's schema may sync a space. As JSON `{"exact":N}` or `{"minimum":N}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaRule {
    /// This version alone.
    Exact(u64),
    /// This version and later ones.
    Minimum(u64),
}

impl SchemaRule {
    /// Whether a client of this version may sync.
    #[must_use]
    pub const fn admits(self, version: u64) -> bool {
        match self {
            Self::Exact(wanted) => version == wanted,
            Self::Minimum(least) => version >= least,
        }
    }
}
