//! `GET /profile/second-factors`: what one is asked for at a sign-in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Second factors.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactors)]
pub(in crate::http) struct SecondFactorsView {
    /// Whether codes of an authenticator app are asked for.
    totp: bool,
    /// Whether a passkey is.
    passkey: bool,
    /// Recovery codes that are left.
    recovery_codes: u32,
}

problems!(Problems, [TOKEN]);

/// Tells which second factors one has.
#[utoipa::path(
    get,
    path = "/profile/second-factors",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "They.", body = SecondFactorsView), Problems)
)]
pub(in crate::http) async fn show_second_factors(
    State(state): State<AppState>,
    Caller(user): Caller,
) -> Result<Response, Problem> {
    let factors = state.auth.second_factors(user).await?;
    let view = SecondFactorsView {
        totp: factors.totp,
        passkey: factors.passkey,
        recovery_codes: factors.recovery_codes,
    };
    Ok(answer::private(StatusCode::OK, &view))
}
