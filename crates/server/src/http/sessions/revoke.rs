//! `DELETE /auth/sessions/{session}`: ends one of one's sessions and closes its sockets, 204.
//!
//! Refusals: `session_not_found` (404), also for sessions of others and for those that have ended.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::path::OfSession;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 404 "session_not_found");

/// Ends one session.
#[utoipa::path(
    delete,
    path = "/auth/sessions/{session}",
    tag = "accounts",
    security(("bearer" = [])),
    params(("session" = String, Path, description = "The id of the session.")),
    responses((status = 204, description = "It is over."), Problems)
)]
pub(in crate::http) async fn revoke_session(
    State(state): State<AppState>,
    Caller(user): Caller,
    OfSession(session): OfSession,
) -> Result<StatusCode, Problem> {
    state.auth.revoke_session(user, session).await?;
    state.spaces.hints().user_changed(user);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn one_s_own_session_ends_and_nobody_else_s() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let other = bench.log_in("ann").await;
        let list = bench.get("/auth/sessions", Some(&ann.token)).await.is(200);
        let sessions = list["sessions"].as_array().expect("sessions");
        let id = |current: bool| {
            let found = sessions.iter().find(|session| session["current"] == current).expect("a session");
            format!("/auth/sessions/{}", found["id"].as_str().expect("an id"))
        };
        bench.hints.take();
        for path in [id(false), "/auth/sessions/x".into(), format!("/auth/sessions/{}", bob.id)] {
            let refused = bench.ask(&bob, "DELETE", &path, &Value::Null).await;
            refused.is_problem(404, "session_not_found");
        }
        assert!(bench.hints.take().is_empty());
        bench.ask(&ann, "DELETE", &id(false), &Value::Null).await.is(204);
        assert_eq!(bench.hints.take(), [format!("user {}", ann.id)]);
        bench.get("/profile", Some(&other.token)).await.is_problem(401, "session_revoked");
        bench.ask(&ann, "DELETE", &id(false), &Value::Null).await.is_problem(404, "session_not_found");
        bench.ask(&ann, "DELETE", &id(true), &Value::Null).await.is(204);
        bench.get("/profile", Some(&ann.token)).await.is_problem(401, "session_revoked");
        bench.get("/profile", Some(&bob.token)).await.is(200);
    }
}
