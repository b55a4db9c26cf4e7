//! `GET /healthz`: whether the process answers at all. Whoever asks restarts it when it does not, so it asks nobody else.

use axum::Json;
use serde_json::{Value, json};

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn it_answers_even_when_the_store_is_gone() {
        let bench = Bench::new();
        bench.sqlite.close().await;
        assert_eq!(bench.get("/healthz", None).await.is(200), json!({"status": "ok"}));
    }
}
