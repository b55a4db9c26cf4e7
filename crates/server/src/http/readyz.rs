//! `GET /readyz`: whether requests can be served now. Whoever asks sends clients elsewhere while they cannot.
//!
//! Refusal: `not_ready` (503).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use lattice_store::accounts::UserId;

use super::healthz::Health;
use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;

/// How long the database may take: less than those who ask commonly wait.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(2);

problems!(Problems, [], 503 "not_ready");

/// Says whether requests can be served.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    responses((status = 200, description = "They can.", body = Health), Problems)
)]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<Json<Health>, Problem> {
    let answer = tokio::time::timeout(MAX_ANSWER_TIME, state.accounts.user_by_id(UserId([0; 16]))).await;
    match answer {
        Ok(Ok(_)) => Ok(Json(Health::OK)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            Err(not_ready())
        }
        Err(_) => {
            tracing::warn!("not ready: the database takes too long");
            Err(not_ready())
        }
    }
}

fn not_ready() -> Problem {
    Problem::unavailable("not_ready", "The database does not answer.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn it_is_ready_once_the_store_answers() {
        let bench = Bench::new();
        assert_eq!(bench.get("/readyz", None).await.is(200), json!({"status": "ok"}));
    }

    #[tokio::test]
    async fn it_is_not_ready_while_the_database_fails() {
        let bench = Bench::new();
        let rename =
            |sql: &'static str| bench.sqlite.write(move |transaction| Ok(transaction.execute_batch(sql)?));
        rename("ALTER TABLE users RENAME TO gone").await.expect("renamed");
        let answer = bench.get("/readyz", None).await;
        answer.is_problem(503, "not_ready");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(!answer.body.to_string().contains("users"));
        rename("ALTER TABLE gone RENAME TO users").await.expect("renamed");
        bench.get("/readyz", None).await.is(200);
    }
}
