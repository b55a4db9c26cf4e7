//! `GET /profile/passkeys`: one's passkeys.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::factors::StoredPasskey;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::spaces::seconds;
use crate::http::state::AppState;

/// A passkey as its owner sees it. Times are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Passkey)]
pub(in crate::http) struct PasskeyView {
    #[schema(format = "uuid")]
    id: String,
    name: String,
    /// Whether it is asked for where one signs in otherwise.
    second_factor: bool,
    created_at: f64,
    #[schema(required)]
    last_used_at: Option<f64>,
}

impl From<StoredPasskey> for PasskeyView {
    fn from(passkey: StoredPasskey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name,
            second_factor: passkey.second_factor,
            created_at: seconds(passkey.created_us),
            last_used_at: passkey.last_used_us.map(seconds),
        }
    }
}

/// Passkeys.
#[derive(Serialize, ToSchema)]
#[schema(as = Passkeys)]
pub(in crate::http) struct Passkeys {
    passkeys: Vec<PasskeyView>,
}

problems!(Problems, [TOKEN]);

/// Lists one's passkeys.
#[utoipa::path(
    get,
    path = "/profile/passkeys",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "They, the oldest first.", body = Passkeys), Problems)
)]
pub(in crate::http) async fn list_passkeys(
    State(state): State<AppState>,
    Caller(user): Caller,
) -> Result<Response, Problem> {
    let passkeys = state.auth.passkeys(user).await?.into_iter().map(PasskeyView::from).collect();
    Ok(answer::private(StatusCode::OK, &Passkeys { passkeys }))
}
