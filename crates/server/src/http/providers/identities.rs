//! `GET /profile/identities`: the accounts elsewhere that sign in to one's own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_auth::KnownIdentity;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::spaces::seconds;
use crate::http::state::AppState;

/// An account elsewhere that signs in to this one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Identity)]
pub(in crate::http) struct IdentityView {
    #[schema(format = "uuid")]
    id: String,
    /// What the provider is called here.
    provider: String,
    /// Its `iss`.
    issuer: String,
    /// How it calls the account.
    subject: String,
    /// The address that it vouched for when it was linked.
    #[schema(required)]
    email: Option<String>,
    /// Seconds since 1970.
    linked_at: f64,
}

impl From<KnownIdentity> for IdentityView {
    fn from(KnownIdentity { identity, provider }: KnownIdentity) -> Self {
        Self {
            id: identity.id.to_string(),
            provider,
            issuer: identity.issuer,
            subject: identity.subject,
            email: identity.email,
            linked_at: seconds(identity.created_us),
        }
    }
}

/// Identities.
#[derive(Serialize, ToSchema)]
#[schema(as = Identities)]
pub(in crate::http) struct Identities {
    identities: Vec<IdentityView>,
}

problems!(Problems, [TOKEN]);

/// Lists the accounts elsewhere that sign in to one's own.
#[utoipa::path(
    get,
    path = "/profile/identities",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "They, the oldest first.", body = Identities), Problems)
)]
pub(in crate::http) async fn list_identities(
    State(state): State<AppState>,
    Caller(user): Caller,
) -> Result<Response, Problem> {
    let identities = state.auth.identities(user).await?.into_iter().map(IdentityView::from).collect();
    Ok(answer::private(StatusCode::OK, &Identities { identities }))
}
