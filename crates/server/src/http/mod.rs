//! The HTTP API. One endpoint per file: what it takes, what it answers, its tests. What is refused is a problem document
//! ([`problem::Problem`]) with a stable `code`, whoever refused it.

mod answer;
pub mod bearer;
mod client;
mod healthz;
mod json;
mod jwks;
mod login;
mod login_device;
mod logout;
pub mod problem;
mod profile;
mod readyz;
mod refresh;
mod register_device;
mod signup;
pub mod state;
#[cfg(test)]
mod testing;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};

use problem::Problem;
use state::AppState;

/// Largest body of a request, in bytes. Everything here takes a few short strings.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// Every route. `sync` is the sync socket's, which has a state of its own.
pub fn router(state: AppState, sync: Router) -> Router {
    Router::new()
        .route("/auth/signup", post(signup::signup))
        .route("/auth/login", post(login::login))
        .route("/auth/refresh", post(refresh::refresh))
        .route("/auth/logout", post(logout::logout))
        .route("/register", post(register_device::register))
        .route("/login", post(login_device::login))
        .route("/profile", get(profile::profile))
        .route("/.well-known/jwks.json", get(jwks::jwks))
        .route("/healthz", get(healthz::healthz))
        .route("/readyz", get(readyz::readyz))
        .with_state(state)
        .merge(sync)
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not take this method.",
    )
}

#[cfg(test)]
mod tests {
    use super::testing::Bench;

    #[tokio::test]
    async fn unknown_routes_and_wrong_methods_are_problems() {
        let bench = Bench::new();
        for path in ["/", "/auth", "/auth/signup/", "/profile/x", "/.well-known/"] {
            let answer = bench.get(path, None).await;
            answer.is_problem(404, "not_found");
        }
        for (method, path, allowed) in [
            ("GET", "/auth/login", "POST"),
            ("DELETE", "/register", "POST"),
            ("POST", "/profile", "GET,HEAD"),
            ("PUT", "/healthz", "GET,HEAD"),
        ] {
            let answer = bench.call(method, path, &[], "").await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        }
    }
}
