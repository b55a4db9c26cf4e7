//! Records of spaces as they are read for one user.

use std::sync::Arc;

use lattice_engine::{Policy, Role, SpaceId};

use crate::StoreError;
use crate::accounts::UserId;
use crate::directory::{AccessRecord, SchemaRule, SpaceEntry, SpaceKind};
use crate::rules::standing::Standing;

/// A space as one user sees it.
pub(crate) struct Seen {
    pub(crate) id: SpaceId,
    pub(crate) standing: Standing,
    pub(crate) name: String,
    /// Its merge rules as they are stored, see [`super::rules`].
    pub(crate) rules: String,
    /// As JSON; the default is stored as nothing.
    pub(crate) policy: Option<String>,
    /// As JSON.
    pub(crate) schema_rule: Option<String>,
    pub(crate) archived_us: Option<i64>,
    pub(crate) created_us: i64,
}

impl Seen {
    /// As lists show it.
    pub(crate) fn entry(self) -> SpaceEntry {
        SpaceEntry {
            id: self.id,
            kind: self.standing.kind,
            name: self.name,
            role: self.standing.role,
            archived_us: self.archived_us,
            created_us: self.created_us,
        }
    }

    /// What members may do.
    pub(crate) fn policy(&self) -> Result<Arc<Policy>, StoreError> {
        policy(self.id, self.policy.as_deref())
    }

    /// Which versions may sync it.
    pub(crate) fn schema(&self) -> Result<Option<SchemaRule>, StoreError> {
        let rule = self.schema_rule.as_deref().map(serde_json::from_str).transpose();
        rule.map_err(|_| corrupt("space", "schema_rule", self.id))
    }
}

/// Of what a look-up found of one space, what counts: a member of a public space finds it twice.
pub(crate) fn as_member<T>(
    found: impl IntoIterator<Item = T>,
    standing: impl Fn(&T) -> Standing,
) -> Option<T> {
    found.into_iter().max_by_key(|seen| standing(seen).is_member)
}

/// What decides whether a user's changes are taken, from the columns of a space's record.
pub(crate) fn access(
    space: SpaceId,
    standing: Standing,
    policy_json: Option<&str>,
    archived: bool,
) -> Result<AccessRecord, StoreError> {
    Ok(AccessRecord {
        role: standing.role,
        policy: policy(space, policy_json)?,
        archived,
        private: standing.kind == SpaceKind::Private,
    })
}

/// The policy of a space from its JSON; the default when there is none.
fn policy(space: SpaceId, json: Option<&str>) -> Result<Arc<Policy>, StoreError> {
    let policy = json.map(serde_json::from_str).transpose().map_err(|_| corrupt("space", "policy", space))?;
    Ok(Arc::new(policy.unwrap_or_default()))
}

/// The stored form of a policy.
pub(crate) fn policy_json(policy: &Policy) -> Result<Option<String>, StoreError> {
    // The default is stored as nothing, which most spaces then are read with.
    (*policy != Policy::default()).then(|| json(policy)).transpose()
}

/// The stored form of a schema rule.
pub(crate) fn schema_json(rule: Option<SchemaRule>) -> Result<Option<String>, StoreError> {
    rule.as_ref().map(json).transpose()
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.to_string()))
}

/// Reads the kind of a space.
pub(crate) fn kind(name: &str, space: SpaceId) -> Result<SpaceKind, StoreError> {
    SpaceKind::parse(name).ok_or_else(|| corrupt("space", "kind", space))
}

/// Reads a role of a member of a space.
pub(crate) fn role(name: &str, space: SpaceId) -> Result<Role, StoreError> {
    Role::parse(name).ok_or_else(|| corrupt("member", "role", space))
}

/// A stored record of a space that cannot be read.
pub(crate) fn corrupt(table: &'static str, column: &'static str, space: SpaceId) -> StoreError {
    StoreError::Corrupt { table, column, row: UserId(space.0).to_string() }
}
