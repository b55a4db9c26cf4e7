//! Web pages of other origins: which may call the API (CORS), and which may open a sync socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::cors::CorsLayer;

use super::problem::Problem;
use super::request_log::X_REQUEST_ID;

/// How long a browser may remember that it may call.
const MAX_PREFLIGHT_AGE: Duration = Duration::from_secs(3_600);

/// Lets pages of these origins call the API. Where any are named, a WebSocket that a page of another one opens is refused;
/// who sends no `Origin` is no page. Credentials are never sent by browsers on their own account: there are no cookies that
/// sign in.
pub fn restrict(router: Router, origins: &[HeaderValue]) -> Router {
    if origins.is_empty() {
        return router;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, X_REQUEST_ID])
        .expose_headers([header::RETRY_AFTER, X_REQUEST_ID])
        .max_age(MAX_PREFLIGHT_AGE);
    router
        .layer(middleware::from_fn_with_state(Arc::<[HeaderValue]>::from(origins), check_socket))
        .layer(cors)
}

async fn check_socket(State(origins): State<Arc<[HeaderValue]>>, request: Request, next: Next) -> Response {
    let opens_socket = request.headers().contains_key(header::SEC_WEBSOCKET_KEY);
    match request.headers().get(header::ORIGIN) {
        Some(origin) if opens_socket && !origins.contains(origin) => Problem::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "Pages of this origin may not open a socket here; ALLOWED_ORIGINS names those that may.",
        )
        .into_response(),
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    fn router(origins: &[&'static str]) -> Router {
        let origins: Vec<_> = origins.iter().map(|origin| HeaderValue::from_static(origin)).collect();
        restrict(Router::new().route("/sync", get(|| async { "served" })), &origins)
    }

    async fn answer(router: &Router, method: &str, headers: &[(&str, &str)]) -> (u16, Option<String>) {
        let mut request = Request::builder().method(method).uri("/sync");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        (response.status().as_u16(), allowed.map(|value| value.to_str().expect("text").to_owned()))
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    #[tokio::test]
    async fn pages_of_named_origins_may_call_and_others_may_not() {
        let router = router(&["https://app.example.com"]);
        let preflight = ("access-control-request-method", "POST");
        let named = ("origin", "https://app.example.com");
        let allowed = Some("https://app.example.com".to_owned());
        assert_eq!(answer(&router, "OPTIONS", &[named, preflight]).await, (200, allowed.clone()));
        assert_eq!(answer(&router, "GET", &[named]).await, (200, allowed.clone()));
        assert_eq!(answer(&router, "GET", &[named, KEY]).await, (200, allowed));
        for other in [
            "https://app.example.com.evil.example",
            "http://app.example.com",
            "null",
            "https://APP.example.com",
        ] {
            let other = ("origin", other);
            assert_eq!(answer(&router, "OPTIONS", &[other, preflight]).await, (200, None));
            assert_eq!(
                answer(&router, "GET", &[other]).await,
                (200, None),
                "the browser keeps the answer from it"
            );
            assert_eq!(answer(&router, "GET", &[other, KEY]).await.0, 403);
        }
        assert_eq!(answer(&router, "GET", &[KEY]).await.0, 200, "no page at all");
    }

    #[tokio::test]
    async fn without_any_no_page_may_call() {
        let router = router(&[]);
        let origin = ("origin", "https://app.example.com");
        assert_eq!(answer(&router, "GET", &[origin]).await, (200, None));
        assert_eq!(answer(&router, "GET", &[origin, KEY]).await, (200, None));
    }
}
