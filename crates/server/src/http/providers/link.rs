//! `POST /profile/identities {provider, idToken, nonce?}` or `{code, codeVerifier}`: lets an account elsewhere sign in to one's own.
//! Both are shown: one's own by a session that began within the last 15 minutes, the other by the provider, which must vouch for an
//! e-mail address.
//!
//! Refusals: `session_not_fresh`, `identity_email_unverified` (403), `identity_taken`, `too_many_identities` (409), and those of
//! `POST /auth/{provider}` or `POST /auth/token`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_auth::Proof;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::identities::IdentityView;
use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::json::Json;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// Either `provider` and `idToken`, or `code` and `codeVerifier`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewIdentity)]
pub(in crate::http) struct NewIdentity {
    /// The name of the provider that the ID token is from.
    #[serde(default)]
    provider: Option<String>,
    /// The ID token; `identityToken` is another name for it.
    #[serde(default, alias = "identityToken")]
    #[schema(value_type = Option<String>)]
    id_token: Option<SecretString>,
    /// What the app has chosen as the nonce of the token.
    #[serde(default)]
    nonce: Option<String>,
    /// What a browser has brought back.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<SecretString>,
    /// What `code_challenge` was made of.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code_verifier: Option<SecretString>,
}

problems!(Problems, [TOKEN, BODY], 404 "provider_unknown", 401 "id_token_invalid", 401 "id_token_expired", 401 "id_token_used", 401 "nonce_mismatch", 401 "code_invalid", 403 "session_not_fresh", 403 "email_unverified", 403 "identity_email_unverified", 409 "identity_taken", 409 "too_many_identities", 429 "rate_limited");

/// Links an account elsewhere to one's own.
#[utoipa::path(
    post,
    path = "/profile/identities",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = NewIdentity,
    responses((status = 201, description = "It signs in from now on.", body = IdentityView), Problems)
)]
pub(in crate::http) async fn link_identity(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
    Json(sent): Json<NewIdentity>,
) -> Result<Response, Problem> {
    state.limits.user(Class::SignInAccount, caller.user).await?;
    let proof = match sent {
        NewIdentity { provider: Some(provider), id_token: Some(token), nonce, code: None, .. } => {
            Proof::IdToken { provider, token, nonce, full_name: None }
        }
        NewIdentity { id_token: None, code: Some(code), code_verifier: Some(verifier), .. } => {
            Proof::Code { code, verifier }
        }
        _ => {
            let detail = "Either provider and idToken are needed, or code and codeVerifier.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail));
        }
    };
    let linked = state.auth.link_identity(&caller, proof).await?;
    Ok(answer::private(StatusCode::CREATED, &IdentityView::from(linked)))
}
