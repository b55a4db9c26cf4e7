//! What is answered where nobody may sign in at this server itself: 403 `sign_in_disabled`.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use super::headers;
use super::problem::Problem;

/// Refuses whatever signs somebody up or in by this server's own means. Sessions can still be looked at and ended.
pub fn refused(router: Router) -> Router {
    router.layer(from_fn(refuse))
}

async fn refuse(request: Request, next: Next) -> Response {
    if signs_in(request.uri().path()) {
        let detail = "People do not sign in here; use a token of the app's own accounts.";
        let refused = Problem::new(StatusCode::FORBIDDEN, "sign_in_disabled", detail);
        return headers::harden(refused.into_response()).await;
    }
    next.run(request).await
}

/// Everything below `/auth`, so that a way to sign in that is added later is closed as well, but for what ends sessions.
fn signs_in(path: &str) -> bool {
    match path.strip_prefix("/auth/") {
        Some(rest) => !matches!(rest.split('/').next(), Some("logout" | "sessions")),
        None => matches!(path, "/register" | "/login"),
    }
}

#[cfg(test)]
mod tests {
    use super::signs_in;

    #[test]
    fn all_ways_in_are_closed() {
        for path in
            ["/auth/signup", "/auth/login", "/auth/refresh", "/auth/google/start", "/register", "/login"]
        {
            assert!(signs_in(path), "{path}");
        }
        for path in
            ["/auth/logout", "/auth/sessions", "/auth/sessions/1", "/profile", "/sync", "/healthz", "/"]
        {
            assert!(!signs_in(path), "{path}");
        }
    }
}
