//! The HTTP API. One endpoint per file: what it takes, what it answers, its tests. What is refused is a problem document
//! ([`problem::Problem`]) with a stable `code`, whoever refused it.

pub(crate) mod access_log;
mod anonymous;
mod answer;
mod attempts;
pub mod bearer;
mod client;
mod delete_profile;
pub mod export;
mod factors;
mod headers;
mod healthz;
mod invites;
mod json;
mod jwks;
mod links;
pub mod local_sign_in;
mod login;
mod login_device;
mod logout;
pub(crate) mod openapi;
pub mod origins;
pub mod page;
mod passkeys;
mod path;
pub mod problem;
mod profile;
mod providers;
mod readyz;
mod refresh;
mod refusals;
mod register_device;
pub mod request_log;
mod sessions;
mod signup;
pub(crate) mod spaces;
pub mod state;
#[cfg(test)]
mod testing;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use problem::Problem;
use state::AppState;

/// Largest body of a request, in bytes. Everything here takes a few short strings.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// Every route. `sync` are those of the sync protocol, which have a state of their own.
pub fn router(state: AppState, sync: OpenApiRouter) -> Router {
    let (router, document) = documented(state, sync).split_for_parts();
    router
        .layer(Extension(openapi::Served::new(&document)))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn(client::note_origin))
        .layer(axum::middleware::map_response(headers::harden))
}

/// Routes with their documentation. Handlers that share an address stand together.
fn documented(state: AppState, sync: OpenApiRouter) -> OpenApiRouter {
    OpenApiRouter::with_openapi(openapi::Base::openapi())
        .merge(accounts())
        .merge(ways_in())
        .merge(shared())
        .routes(routes!(jwks::jwks))
        .routes(routes!(healthz::healthz))
        .routes(routes!(readyz::readyz))
        .routes(routes!(openapi::openapi))
        .with_state(state)
        .merge(sync)
}

/// Accounts, their sessions and what is sent to their address.
fn accounts() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(signup::signup))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(sessions::list::list_sessions, sessions::revoke_all::revoke_sessions))
        .routes(routes!(sessions::revoke_others::revoke_other_sessions))
        .routes(routes!(sessions::revoke::revoke_session))
        .routes(routes!(anonymous::sign_up::sign_up_anonymously, anonymous::delete::delete_anonymous))
        .routes(routes!(anonymous::upgrade::upgrade_account))
        .routes(routes!(links::send_verification::send_verification))
        .routes(routes!(links::verify::show, links::verify::take))
        .routes(routes!(links::send_reset::send_reset))
        .routes(routes!(links::reset::show, links::reset::take))
        .routes(routes!(links::change_password::change_password))
        .routes(routes!(links::send_email_change::send_email_change))
        .routes(routes!(links::change_email::show, links::change_email::take))
        .routes(routes!(register_device::register))
        .routes(routes!(login_device::login))
        .routes(routes!(profile::profile, delete_profile::delete_profile))
        .routes(routes!(access_log::list_own_events))
}

/// Identity providers, second factors and passkeys.
fn ways_in() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(providers::list::list_providers))
        .routes(routes!(providers::sign_in::sign_in_by_id_token))
        .routes(routes!(providers::start::start_sign_in))
        .routes(routes!(providers::callback::come_back, providers::callback::come_back_by_form))
        .routes(routes!(providers::exchange::exchange_code))
        .routes(routes!(providers::identities::list_identities, providers::link::link_identity))
        .routes(routes!(providers::unlink::unlink_identity))
        .routes(routes!(factors::answer::answer_second_factor))
        .routes(routes!(factors::ask_passkey::ask_second_passkey))
        .routes(routes!(factors::show::show_second_factors))
        .routes(routes!(factors::offer_totp::offer_totp, factors::remove_totp::remove_totp))
        .routes(routes!(factors::confirm_totp::confirm_totp))
        .routes(routes!(factors::renew_codes::renew_codes))
        .routes(routes!(passkeys::start_sign_in::start_passkey_sign_in))
        .routes(routes!(passkeys::sign_in::sign_in_by_passkey))
        .routes(routes!(passkeys::start::start_passkey))
        .routes(routes!(passkeys::list::list_passkeys, passkeys::finish::finish_passkey))
        .routes(routes!(passkeys::remove::remove_passkey))
}

/// Spaces, members, invites and refused changes.
fn shared() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(spaces::access_log::list_events))
        .routes(routes!(spaces::list::list_spaces, spaces::create::create_space))
        .routes(routes!(spaces::list_public::list_public_spaces))
        .routes(routes!(spaces::show::show_space, spaces::change::change_space, spaces::delete::delete_space))
        .routes(routes!(spaces::members::list_members))
        .routes(routes!(spaces::set_role::set_member_role, spaces::remove_member::remove_member))
        .routes(routes!(spaces::leave::leave_space))
        .routes(routes!(spaces::transfer::transfer_space))
        .routes(routes!(spaces::invites::list_invites, spaces::create_invite::create_invite))
        .routes(routes!(spaces::revoke_invite::revoke_invite))
        .routes(routes!(spaces::policy::show_policy, spaces::set_policy::set_policy))
        .routes(routes!(spaces::refusals::list_refusals))
        .routes(routes!(invites::mine::list_own_invites))
        .routes(routes!(invites::accept_link::accept_link))
        .routes(routes!(invites::accept::accept_invite))
        .routes(routes!(refusals::list_own_refusals))
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
            ("POST", "/profile", "GET,HEAD,DELETE"),
            ("PUT", "/healthz", "GET,HEAD"),
        ] {
            let answer = bench.call(method, path, &[], "").await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        }
    }
}
