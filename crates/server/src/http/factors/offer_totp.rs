//! `POST /profile/totp`: a secret for an authenticator app, for sessions that began within the last 15 minutes. Nothing is asked for
//! until a code of it has come to `POST /profile/totp/confirm`.
//!
//! Refusals: `session_not_fresh`, `email_unverified` (403), `totp_on` (409).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// A secret for an authenticator app.
#[derive(Serialize, ToSchema)]
#[schema(as = TotpOffer)]
pub(in crate::http) struct Offer<'a> {
    /// In base32.
    secret: &'a str,
    /// The same as `otpauth://…`, to be shown as a QR code.
    uri: &'a str,
}

problems!(Problems, [TOKEN], 403 "session_not_fresh", 403 "email_unverified", 409 "totp_on");

/// Offers a secret for an authenticator app.
#[utoipa::path(
    post,
    path = "/profile/totp",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "The secret.", body = Offer), Problems)
)]
pub(in crate::http) async fn offer_totp(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<Response, Problem> {
    let offer = state.auth.offer_totp(&caller, &state.app_name).await?;
    let (secret, uri) = (offer.secret.expose_secret(), offer.uri.expose_secret());
    Ok(answer::private(StatusCode::OK, &Offer { secret, uri }))
}
