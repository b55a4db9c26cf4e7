//! `DELETE /auth/sessions`: ends all of one's sessions, this one as well, and closes their sockets, 204.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN]);

/// Ends all sessions.
#[utoipa::path(
    delete,
    path = "/auth/sessions",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204, description = "They are over."), Problems)
)]
pub(in crate::http) async fn revoke_sessions(
    State(state): State<AppState>,
    Caller(user): Caller,
) -> Result<StatusCode, Problem> {
    state.auth.revoke_sessions(user, None).await?;
    state.spaces.hints().user_changed(user);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn all_end_and_those_of_others_go_on() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let other = bench.log_in("ann").await;
        bench.hints.take();
        bench.ask(&ann, "DELETE", "/auth/sessions", &Value::Null).await.is(204);
        assert_eq!(bench.hints.take(), [format!("user {}", ann.id)]);
        for token in [&ann.token, &other.token] {
            bench.get("/profile", Some(token)).await.is_problem(401, "session_revoked");
        }
        bench.get("/profile", Some(&bob.token)).await.is(200);
        bench.log_in("ann").await;
    }
}
