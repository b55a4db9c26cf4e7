//! `GET /spaces/{space}/policy`: what members may do, and which versions of an app's schema may sync. For everyone who sees
//! the space: it says what they may do themselves.
//!
//! Refusals: `space_not_found` (404).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_engine::Policy;
use lattice_store::directory::SchemaRule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// What members may do, and which versions of an app's schema may sync.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct SpacePolicy {
    #[schema(value_type = PolicyForm)]
    pub(super) policy: Policy,
    /// Null: every version, and clients that name none.
    #[serde(default)]
    #[schema(value_type = Option<SchemaVersion>)]
    pub(super) schema_version: Option<SchemaRule>,
}

/// What members may do to the rows of tables.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Policy)]
struct PolicyForm {
    /// For tables that are not named; what is absent is as it is without a policy.
    #[schema(required = false)]
    default: TablePolicyForm,
    /// By table, at most 1000 of them.
    #[schema(required = false)]
    tables: BTreeMap<String, TablePolicyForm>,
    /// Whether tables that are not named may be synced.
    #[schema(required = false)]
    unlisted_tables: UnlistedForm,
    /// Most DELETEs of one frame; a frame with more has all of them refused.
    max_deletes_per_frame: Option<u32>,
}

/// What may be done to the rows of one table. Without a policy everybody reads and editors write.
#[derive(Serialize, ToSchema)]
#[schema(as = TablePolicy)]
struct TablePolicyForm {
    /// Being sent rows.
    #[schema(required = false)]
    read: PermissionForm,
    /// Creating rows, and reviving deleted ones.
    #[schema(required = false)]
    insert: PermissionForm,
    /// Setting fields of rows that exist.
    #[schema(required = false)]
    update: PermissionForm,
    /// Deleting rows.
    #[schema(required = false)]
    delete: PermissionForm,
    /// How concurrent changes of a row are merged: the newest change of a field wins, or that of the row. Absent: as the server is
    /// set up (`MERGE_RULE`).
    merge: Option<MergeRule>,
}

/// Whether the newest change of a field wins, or the newest of the whole row.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents what the engine reads and writes")]
enum MergeRule {
    Field,
    Row,
}

/// From which role on: for all rows, or apart for all rows and for those that one created oneself.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Permission)]
#[expect(dead_code, reason = "documents what the engine reads and writes")]
enum PermissionForm {
    All(LeastRole),
    Split(SplitPermission),
}

/// From which role on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents what the engine reads and writes")]
enum LeastRole {
    Nobody,
    Viewer,
    Editor,
    Owner,
}

/// What is absent is nobody.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SplitPermission {
    /// For every row.
    any: Option<super::RoleName>,
    /// For rows that one created oneself.
    own: Option<super::RoleName>,
}

/// What happens to tables that a policy does not name.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = UnlistedTables)]
#[expect(dead_code, reason = "documents what the engine reads and writes")]
enum UnlistedForm {
    Allow,
    Deny,
}

/// This version alone, or it and later ones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents what the store reads and writes")]
enum SchemaVersion {
    Exact(u64),
    Minimum(u64),
}

problems!(Problems, [TOKEN, SPACE]);

/// Shows a space's policy.
#[utoipa::path(
    get,
    path = "/spaces/{space}/policy",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    responses((status = 200, description = "The policy.", body = SpacePolicy), Problems)
)]
pub(in crate::http) async fn show_policy(
    State(state): State<AppState>,
    Caller(user): Caller,
    InSpace(space): InSpace,
) -> Result<Response, Problem> {
    let access = state.spaces.access(user, space).await?;
    let answer = SpacePolicy { policy: (*access.policy).clone(), schema_version: access.schema };
    Ok(answer::private(StatusCode::OK, &answer))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn everyone_who_sees_a_space_sees_its_policy() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let (shared, public) = (bench.space(&ann, "shared").await, bench.space(&ann, "public").await);
        let everybody_reads =
            json!({"read": "viewer", "insert": "editor", "update": "editor", "delete": "editor"});
        let default = json!({
            "policy": {"default": everybody_reads, "tables": {}, "unlistedTables": "allow"},
            "schemaVersion": null
        });
        for path in [format!("{shared}/policy"), "/spaces/me/policy".to_owned()] {
            assert_eq!(bench.get(&path, Some(&ann.token)).await.is(200), default);
        }
        assert_eq!(bench.get(&format!("{public}/policy"), Some(&bob.token)).await.is(200), default);
        bench.is_hidden("GET", &shared, "/policy", &bob, &Value::Null).await;
    }
}
