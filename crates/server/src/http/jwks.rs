//! `GET /.well-known/jwks.json`: the public keys that access tokens can be verified with (RFC 7517). Empty when they are
//! signed with a shared secret.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use lattice_auth::JWKS_MAX_AGE_S;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::state::AppState;

/// How long others may keep the answer: by the time that a new key signs, everybody has fetched it.
fn cache() -> String {
    format!("public, max-age={JWKS_MAX_AGE_S}")
}

/// A JSON Web Key Set.
#[derive(Serialize, ToSchema)]
struct KeySet {
    /// JSON Web Keys.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
}

/// Shows the public keys.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "server",
    responses((status = 200, description = "The keys.", body = KeySet))
)]
pub(super) async fn jwks(State(state): State<AppState>) -> ([(HeaderName, String); 1], Json<Value>) {
    ([(header::CACHE_CONTROL, cache())], Json(state.auth.jwks()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn the_public_keys_are_there_for_everyone() {
        let bench = Bench::new();
        let answer = bench.get("/.well-known/jwks.json", None).await;
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        let keys = answer.is(200);
        let mut names: Vec<_> = keys["keys"][0].as_object().expect("a key").keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"], "and nothing private among them");
        assert_eq!(keys["keys"][0]["alg"], json!("EdDSA"));
    }
}
