//! `GET /readyz`: whether requests can be served now. Whoever asks sends clients elsewhere while they cannot.
//!
//! Refusal: `not_ready` (503).

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::problems;
use super::problem::Problem;
use super::state::AppState;
use crate::readiness::{NotReady, Ready};

problems!(Problems, [], 503 "not_ready");

/// That requests can be served.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ok`; `degraded` while the instance is cut off from the others, whose changes then arrive some seconds late.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Says whether requests can be served.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    responses((status = 200, description = "They can.", body = Readiness), Problems)
)]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<Json<Readiness>, Problem> {
    match state.readiness.look().await {
        Ok(Ready::Well) => Ok(Json(Readiness { status: "ok" })),
        Ok(Ready::WithoutBus) => Ok(Json(Readiness { status: "degraded" })),
        Err(reason) => {
            let problem = Problem::unavailable("not_ready", sentence(&reason));
            Err(problem.because(reason.to_string()))
        }
    }
}

/// What others may know of the reason.
fn sentence(reason: &NotReady) -> &'static str {
    match reason {
        NotReady::Closing => "The server is closing.",
        NotReady::Failed(_) | NotReady::Slow => "The database does not answer.",
        NotReady::Uploads(_) => "Uploads are not being stored.",
        NotReady::Pulls(_) | NotReady::Looks(_) => "Changes are not being delivered.",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn it_is_ready_once_the_store_answers() {
        let bench = Bench::new();
        assert_eq!(bench.get("/readyz", None).await.is(200), json!({"status": "ok"}));
    }

    #[tokio::test]
    async fn it_is_not_ready_once_it_is_about_to_close() {
        let bench = Bench::new();
        bench.readiness.close();
        bench.get("/readyz", None).await.is_problem(503, "not_ready");
        bench.get("/healthz", None).await.is(200);
    }

    #[tokio::test]
    async fn it_is_not_ready_while_work_is_stuck() {
        let bench = Bench::new();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(31)).expect("a time");
        for work in [&bench.readiness.uploads, &bench.readiness.pulls] {
            let _fresh = work.begin();
            bench.get("/readyz", None).await.is(200);
        }
        for work in [&bench.readiness.uploads, &bench.readiness.pulls] {
            let piece = work.begin_at(long_ago);
            bench.get("/readyz", None).await.is_problem(503, "not_ready");
            drop(piece);
            bench.get("/readyz", None).await.is(200);
        }
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
