//! What logins answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::{DeviceToken, SessionTokens};
use lattice_store::accounts::User;
use secrecy::ExposeSecret;
use serde::Serialize;

/// A user as their own clients see them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublicUser<'a> {
    id: String,
    email: &'a str,
    full_name: Option<&'a str>,
    /// How the user may log in. Native clients cannot read a user without it.
    providers: &'static [&'static str],
}

impl<'a> PublicUser<'a> {
    pub(super) fn new(user: &'a User) -> Self {
        Self {
            id: user.id.to_string(),
            email: &user.email,
            full_name: user.full_name.as_deref(),
            providers: if user.password_hash.is_some() { &["email"] } else { &[] },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionAnswer<'a> {
    /// The access token once more, under the name that upstream's clients look for.
    token: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    user: PublicUser<'a>,
}

#[derive(Serialize)]
struct DeviceAnswer<'a> {
    token: &'a str,
    user: PublicUser<'a>,
    /// Upstream's `/register` answers the bare user; with its keys here too, clients of either reading are served.
    #[serde(flatten)]
    bare_user: Option<PublicUser<'a>>,
}

/// `{token, accessToken, refreshToken, tokenType, expiresIn, user}`.
pub(super) fn session(status: StatusCode, tokens: &SessionTokens) -> Response {
    let access = tokens.access.expose_secret();
    let answer = SessionAnswer {
        token: access,
        access_token: access,
        refresh_token: tokens.refresh.expose_secret(),
        token_type: "Bearer",
        expires_in: tokens.expires_in_s,
        user: PublicUser::new(&tokens.user),
    };
    private(status, &answer)
}

/// `{token, user}`; for a registration with the user's own keys beside them.
pub(super) fn device(login: &DeviceToken, is_registration: bool) -> Response {
    let answer = DeviceAnswer {
        token: login.token.expose_secret(),
        user: PublicUser::new(&login.user),
        bare_user: is_registration.then(|| PublicUser::new(&login.user)),
    };
    private(StatusCode::OK, &answer)
}

/// JSON that nobody on the way may keep.
pub(super) fn private(status: StatusCode, answer: &impl Serialize) -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, axum::Json(answer)).into_response()
}
