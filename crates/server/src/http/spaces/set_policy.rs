//! `PUT /spaces/{space}/policy {policy, schemaVersion?}`: replaces what members may do, and which versions of an app's
//! schema may sync. For the owner.
//!
//! Refusals: `space_not_found` (404), `forbidden` (403), `bad_policy` (422).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::policy::SpacePolicy;
use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::path::InSpace;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN, BODY, SPACE], 403 "forbidden", 422 "bad_policy");

/// Replaces a space's policy.
#[utoipa::path(
    put,
    path = "/spaces/{space}/policy",
    tag = "spaces",
    security(("bearer" = [])),
    params(("space" = String, Path, description = "`me`, or the id of a space.")),
    request_body = SpacePolicy,
    responses((status = 200, description = "The policy, with what was absent.", body = SpacePolicy), Problems)
)]
pub(in crate::http) async fn set_policy(
    State(state): State<AppState>,
    Caller(actor): Caller,
    InSpace(space): InSpace,
    Json(new): Json<SpacePolicy>,
) -> Result<Response, Problem> {
    state.spaces.set_policy(actor, space, new.policy.clone(), new.schema_version).await?;
    Ok(answer::private(StatusCode::OK, &new))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_owner_decides() {
        let bench = Bench::new();
        let (ann, bob, cat) =
            (bench.person("ann").await, bench.person("bob").await, bench.person("cat").await);
        let space = bench.space(&ann, "shared").await;
        bench.join(&space, &ann, &bob, "editor").await;
        let path = format!("{space}/policy");
        let body = json!({
            "policy": {"tables": {"Trip": {"delete": {"own": "editor"}, "insert": "nobody"}}, "unlistedTables": "deny",
                       "maxDeletesPerFrame": 10},
            "schemaVersion": {"minimum": 3}
        });
        bench.ask(&bob, "PUT", &path, &body).await.is_problem(403, "forbidden");
        bench.is_hidden("PUT", &space, "/policy", &cat, &body).await;
        assert!(bench.hints.take().is_empty());
        let set = bench.ask(&ann, "PUT", &path, &body).await.is(200);
        assert_eq!(bench.hints.take(), [space[1..].replace("spaces/", "space ")]);
        let trip = &set["policy"]["tables"]["Trip"];
        assert_eq!(
            trip,
            &json!({"read": "viewer", "insert": "nobody", "update": "editor", "delete": {"own": "editor"}})
        );
        assert_eq!(set["schemaVersion"], json!({"minimum": 3}));
        assert_eq!(bench.get(&path, Some(&bob.token)).await.is(200), set);
        bench
            .ask(&ann, "PUT", "/spaces/me/policy", &json!({"policy": {}, "schemaVersion": {"exact": 1}}))
            .await
            .is(200);
        let without = bench.ask(&ann, "PUT", &path, &json!({"policy": {}})).await.is(200);
        assert_eq!(without["schemaVersion"], Value::Null);
    }

    #[tokio::test]
    async fn refusals_have_codes() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        let path = format!("{}/policy", bench.space(&ann, "shared").await);
        let many: serde_json::Map<String, Value> = (0..1_001).map(|n| (format!("T{n}"), json!({}))).collect();
        // Short as it is sent, and long as it is kept.
        let long: serde_json::Map<String, Value> = (0..999).map(|n| (format!("T{n}"), json!({}))).collect();
        for (body, status, code) in [
            (json!({"policy": {"tables": many}}), 422, "bad_policy"),
            (json!({"policy": {"tables": long}}), 422, "bad_policy"),
            (json!({"policy": {"tables": {"AuditLog": {}}}}), 422, "bad_policy"),
            (json!({"policy": {"tables": {"a b": {}}}}), 422, "bad_policy"),
            (json!({"policy": {"table": {}}}), 400, "bad_request"),
            (json!({"policy": {"default": {"read": "everybody"}}}), 400, "bad_request"),
            (json!({"policy": {}, "schemaVersion": {"exact": -1}}), 400, "bad_request"),
            (json!({"policy": {}, "schemaVersion": {"exact": 1, "minimum": 1}}), 400, "bad_request"),
            (json!({}), 400, "bad_request"),
        ] {
            bench.ask(&ann, "PUT", &path, &body).await.is_problem(status, code);
        }
    }
}
