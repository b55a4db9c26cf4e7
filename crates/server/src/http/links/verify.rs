//! `GET /auth/email/verify?token=`: a page that asks whether to verify one's e-mail address. `POST /auth/email/verify {token}` does it, 204.
//!
//! Refusals: `link_invalid` (422): used, expired, voided by a newer one, or never sent.

use axum::extract::{Query, State};
use axum::response::Response;

use super::page::{self, Link, LinkQuery, Sent};
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::state::AppState;

problems!(Problems, [BODY], 422 "link_invalid", 429 "rate_limited", 503 "busy");

/// Shows the page of the link.
#[utoipa::path(
    get,
    path = "/auth/email/verify",
    operation_id = "show_verify",
    tag = "accounts",
    params(LinkQuery),
    responses((status = 200, description = "A page with a button.", content_type = "text/html", body = String))
)]
pub(in crate::http) async fn show(Query(LinkQuery { token }): Query<LinkQuery>) -> Response {
    page::ask(&token, "Verify your e-mail address", "This address is mine", false)
}

/// Takes the link.
#[utoipa::path(
    post,
    path = "/auth/email/verify",
    operation_id = "verify",
    tag = "accounts",
    request_body = Link,
    responses((status = 204, description = "It is done."), Problems)
)]
pub(in crate::http) async fn take(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    sent: Sent,
) -> Response {
    page::take(state, address, sent, "Your e-mail address is verified.", |auth, link| async move {
        auth.verify_email(&link.token).await
    })
    .await
}
