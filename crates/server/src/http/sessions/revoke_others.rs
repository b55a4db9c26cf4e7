//! `DELETE /auth/sessions/others`: ends all of one's sessions but this one, and closes their sockets, 204.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN]);

/// Ends all other sessions.
#[utoipa::path(
    delete,
    path = "/auth/sessions/others",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204, description = "They are over."), Problems)
)]
pub(in crate::http) async fn revoke_other_sessions(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<StatusCode, Problem> {
    state.auth.revoke_sessions(caller.user, Some(caller.session)).await?;
    state.spaces.hints().user_changed(caller.user);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn all_end_but_the_one_that_asks() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let others = [bench.log_in("ann").await, bench.log_in("ann").await];
        bench.hints.take();
        bench.ask(&ann, "DELETE", "/auth/sessions/others", &Value::Null).await.is(204);
        assert_eq!(bench.hints.take(), [format!("user {}", ann.id)]);
        for other in &others {
            bench.get("/profile", Some(&other.token)).await.is_problem(401, "session_revoked");
        }
        for token in [&ann.token, &bob.token] {
            bench.get("/profile", Some(token)).await.is(200);
        }
    }
}
