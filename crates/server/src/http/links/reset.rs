//! `GET /auth/password/reset?token=`: a page that asks whether to set a new password. `POST /auth/password/reset {token}` does it, 204.
//!
//! Refusals: `link_invalid` (422): used, expired, voided by a newer one, or never sent. `weak_password`,
//! `common_password` (422): the link stays good.

use axum::extract::{Query, State};
use axum::response::Response;

use super::page::{self, Link, LinkQuery, Sent};
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::state::AppState;

problems!(Problems, [BODY], 422 "link_invalid", 422 "weak_password", 422 "common_password", 429 "rate_limited", 503 "busy");

/// Shows the page of the link.
#[utoipa::path(
    get,
    path = "/auth/password/reset",
    operation_id = "show_reset",
    tag = "accounts",
    params(LinkQuery),
    responses((status = 200, description = "A page with a button.", content_type = "text/html", body = String))
)]
pub(in crate::http) async fn show(Query(LinkQuery { token }): Query<LinkQuery>) -> Response {
    page::ask(&token, "Set a new password", "Set it", true)
}

/// Takes the link.
#[utoipa::path(
    post,
    path = "/auth/password/reset",
    operation_id = "reset",
    tag = "accounts",
    request_body = Link,
    responses((status = 204, description = "It is done."), Problems)
)]
pub(in crate::http) async fn take(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    sent: Sent,
) -> Response {
    page::take(
        state,
        address,
        sent,
        "Your password is changed, and all devices are signed out.",
        |auth, link| async move { auth.reset_password(&link.token, link.password.unwrap_or_default()).await },
    )
    .await
}
