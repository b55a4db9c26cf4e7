//! `GET /healthz`: whether the process answers at all. Whoever asks restarts it when it does not, so it asks nobody else.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// That all is well.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

impl Health {
    pub(super) const OK: Self = Self { status: "ok" };
}

/// Says that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "server",
    responses((status = 200, description = "It lives.", body = Health))
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health::OK)
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
