//! `GET /auth/email/change?token=`: a page that asks whether to change the e-mail address of one's account. `POST /auth/email/change {token}` does it, 204.
//!
//! Refusals: `link_invalid` (422): used, expired, voided by a newer one, or never sent.

use axum::extract::{Query, State};
use axum::response::Response;

use super::page::{self, Link, LinkQuery, Sent};
use crate::http::client::FromAddress;
use crate::http::openapi::problems;
use crate::http::state::AppState;

problems!(Problems, [BODY], 422 "link_invalid", 409 "email_taken", 429 "rate_limited", 503 "busy");

/// Shows the page of the link.
#[utoipa::path(
    get,
    path = "/auth/email/change",
    operation_id = "show_change_email",
    tag = "accounts",
    params(LinkQuery),
    responses((status = 200, description = "A page with a button.", content_type = "text/html", body = String))
)]
pub(in crate::http) async fn show(Query(LinkQuery { token }): Query<LinkQuery>) -> Response {
    page::ask(&token, "Change your e-mail address", "Use this address", false)
}

/// Takes the link.
#[utoipa::path(
    post,
    path = "/auth/email/change",
    operation_id = "change_email",
    tag = "accounts",
    request_body = Link,
    responses((status = 204, description = "It is done."), Problems)
)]
pub(in crate::http) async fn take(
    State(state): State<AppState>,
    FromAddress(address): FromAddress,
    sent: Sent,
) -> Response {
    page::take(state, address, sent, "Your account has this e-mail address now.", |auth, link| async move {
        auth.confirm_email_change(&link.token).await
    })
    .await
}
